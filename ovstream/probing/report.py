"""What a probe finds out about a camera."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ovstream.types import ClockQuality

Verdict = Literal["good", "usable", "poor"]
Weight = Literal["good", "advice", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One judgement, in words for whoever sets up the camera.

    Attributes:
        weight: "good" (as it should be), "advice" (works, could be better) or "problem" (analysis suffers).
        topic: One word: "codec", "gop", "bframes", "rate", "quality", "clock", "loss", "size", "pace".
        text: What was found.
        remedy: What to change in the camera or in our options; empty when nothing.
    """

    weight: Weight
    topic: str
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a camera, or a file, sends.

    Attributes:
        name: The URL without secrets.
        seconds: Time observed, of the stream's own clock where it has one.
        pictures: Access units seen.
        open_seconds: From asking to the first picture.
        codec: As in `AccessUnit`.
        profile: As the codec's specification calls it; empty when it says nothing.
        level: Likewise.
        width: Visible luma samples; 0 when nothing could be parsed.
        height: Likewise.
        fps: Pictures per second; None without time stamps.
        bitrate_kbps: Mean; None without time stamps.
        gop_pictures: Median distance of keyframes in pictures; None with fewer than two keyframes.
        gop_seconds: The same in seconds.
        gop_varies: Keyframe distances differ by more than half.
        gop_structure: Kinds of pictures in coding order, such as "IPPP", "IBBP" or "III".
        keyframe_share: Of all bits.
        b_frames: Most B pictures in a row.
        slices_per_picture: Most in one picture.
        qp: Mean luma quantiser of pictures that are not keyframes; None when nothing could be parsed.
        skip_share: Of their blocks, copied without a residual: what we never have to look at.
        intra_share: Of their blocks, coded without a reference.
        motion_px: Mean length of their motion vectors, luma samples.
        parsed: Everything could be read without decoding.
        unparsed_reason: Why not; empty if it could.
        clock: Where capture times come from, see `AccessUnit.clock_quality`.
        clock_offset_seconds: Camera's clock minus ours; None without sender reports.
        jitter_ms: How unevenly pictures arrive: 95th percentile against their own clock; None for files.
        lost: Places where data did not arrive or arrived damaged.
        dropped: Pictures left out because they could not be decoded after a loss, or before the first keyframe.
        reconnects: Connections after the first one.
        findings: What is good, what is not, and what to do about it; problems first.
    """

    name: str
    seconds: float
    pictures: int
    open_seconds: float
    codec: str
    profile: str
    level: str
    width: int
    height: int
    fps: float | None
    bitrate_kbps: float | None
    gop_pictures: float | None
    gop_seconds: float | None
    gop_varies: bool
    gop_structure: str
    keyframe_share: float
    b_frames: int
    slices_per_picture: int
    qp: float | None
    skip_share: float | None
    intra_share: float | None
    motion_px: float | None
    parsed: bool
    unparsed_reason: str
    clock: ClockQuality
    clock_offset_seconds: float | None
    jitter_ms: float | None
    lost: int
    dropped: int
    reconnects: int
    findings: tuple[Finding, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Whether analysis in the compressed domain will work well: as bad as the worst finding."""
        weights = {finding.weight for finding in self.findings}
        return "poor" if "problem" in weights else "usable" if "advice" in weights else "good"

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {"verdict": self.verdict, **asdict(self)}
