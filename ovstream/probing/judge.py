"""Judges a report: which properties of a stream help or hinder, and what to change in the camera."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ovstream.probing.report import Finding, ProbeReport
from ovstream.types import EventKind

LONGEST_GOP_SECONDS = 5.0  # a loss costs, on average, half of it
SHORTEST_GOP_PICTURES = 5
SLOWEST_FPS = 5.0
FASTEST_FPS = 30.5
POOREST_QP = {"h264": 38.0, "h265": 38.0, "vp8": 100.0}
MOST_INTRA = 0.3
LATEST_CLOCK_SECONDS = 1.0
WORST_JITTER_MS = 200.0
SMALLEST_PX = 320 * 180
_ORDER = {"problem": 0, "advice": 1, "good": 2}


def judge(
    report: ProbeReport, *, live: bool, told: Sequence[tuple[EventKind, str]] = ()
) -> tuple[Finding, ...]:
    """All findings about a report, problems first.

    Args:
        report: Without findings.
        live: A camera, with a clock and a network.
        told: Events of the source.
    """
    rules = [_codec(report), _gop(report), _b_frames(report), _rate(report), _quality(report), _size(report)]
    if live:
        rules += [_clock(report, told), _loss(report), _pace(report)]
    found = [finding for rule in rules for finding in rule]
    return tuple(sorted(found, key=lambda finding: _ORDER[finding.weight]))


def _codec(report: ProbeReport) -> Iterator[Finding]:
    if report.codec not in POOREST_QP:
        yield Finding(
            "problem",
            "codec",
            f"{report.codec} cannot be read without decoding every picture",
            "set the camera to H.264, H.265 or VP8",
        )
    elif not report.parsed:
        yield Finding(
            "problem",
            "codec",
            f"this {report.codec} stream must be decoded: {report.unparsed_reason}",
            "switch the camera to progressive pictures and the Main or High profile of H.264, or Main of H.265",
        )
    else:
        yield Finding("good", "codec", f"{_name(report.codec)} can be read without decoding")


def _gop(report: ProbeReport) -> Iterator[Finding]:
    interval = "set the keyframe (I-frame) interval to 1 to 4 seconds"
    if report.gop_pictures is None:
        if report.seconds >= LONGEST_GOP_SECONDS:
            text = (
                f"no second keyframe in {report.seconds:.0f} s: after a loss the picture stays away as long"
            )
            yield Finding("advice", "gop", text, interval)
        return
    seconds = report.gop_seconds
    if set(report.gop_structure) == {"I"} or report.gop_pictures <= 1:
        text = "every picture is coded alone (intra only): there is no motion to read"
        yield Finding("problem", "gop", text, interval)
    elif report.gop_pictures < SHORTEST_GOP_PICTURES:
        text = f"a keyframe every {report.gop_pictures:.0f} pictures leaves little motion to read"
        yield Finding("advice", "gop", text, interval)
    elif seconds is not None and seconds > LONGEST_GOP_SECONDS:
        text = f"a keyframe every {seconds:.1f} s only: after a loss the picture stays away as long"
        yield Finding("advice", "gop", text, interval)
    elif report.gop_varies:
        yield Finding(
            "advice",
            "gop",
            "keyframes come irregularly, as 'smart' coding does (H.264+, Zipstream, Smart Codec)",
            "switch smart coding or dynamic GOP off, and set a fixed keyframe interval of 1 to 4 seconds",
        )
    elif seconds is not None:
        yield Finding("good", "gop", f"a keyframe every {seconds:.1f} s")


def _b_frames(report: ProbeReport) -> Iterator[Finding]:
    if report.b_frames:
        late = f", {1000 * report.b_frames / report.fps:.0f} ms" if report.fps else ""
        yield Finding(
            "advice",
            "bframes",
            f"B pictures arrive out of order: results come up to {report.b_frames} pictures{late} later",
            "switch B frames off ('low latency', Baseline profile, or B frames 0)",
        )
    elif report.parsed:
        yield Finding("good", "bframes", "no B pictures: no delay by reordering")


def _rate(report: ProbeReport) -> Iterator[Finding]:
    if report.fps is None:
        return
    if report.fps < SLOWEST_FPS:
        text = f"{report.fps:.1f} pictures a second: things move far between two of them"
        yield Finding("advice", "rate", text, "set 8 to 25 pictures a second")
    elif report.fps > FASTEST_FPS:
        text = f"{report.fps:.0f} pictures a second cost work and hardly tell more than 25"
        yield Finding("advice", "rate", text, "set 8 to 25 pictures a second")
    else:
        yield Finding("good", "rate", f"{report.fps:.1f} pictures a second")


def _quality(report: ProbeReport) -> Iterator[Finding]:
    if report.qp is None:
        return
    if report.qp > POOREST_QP.get(report.codec, 38.0):
        yield Finding(
            "problem",
            "quality",
            f"coarsely quantised (QP {report.qp:.0f}): small changes do not survive",
            "raise the bit rate, or lower the resolution or frame rate",
        )
    elif report.intra_share is not None and report.intra_share > MOST_INTRA:
        text = f"{report.intra_share:.0%} of the blocks are coded anew: the scene changes all over, or the bit rate is scarce"
        yield Finding("advice", "quality", text, "raise the bit rate, if the camera stands still")
    else:
        skipped = f", {report.skip_share:.0%} of the blocks need no look" if report.skip_share else ""
        yield Finding("good", "quality", f"QP {report.qp:.0f}{skipped}")


def _size(report: ProbeReport) -> Iterator[Finding]:
    if 0 < report.width * report.height < SMALLEST_PX:
        text = f"{report.width}x{report.height} is small: few blocks, little detail"
        yield Finding("advice", "size", text, "use a larger sub-stream, or the main stream")


def _clock(report: ProbeReport, told: Iterable[tuple[EventKind, str]]) -> Iterator[Finding]:
    remedy = "switch on NTP in the camera, with the time server of this machine"
    implausible = [detail for kind, detail in told if kind == "fallback" and "its clock is" in detail]
    if implausible:
        wrong = implausible[0].rpartition("its clock is ")[2].partition(";")[0]
        yield Finding("advice", "clock", f"the camera's clock is wrong ({wrong})", remedy)
    elif report.clock_offset_seconds is None:
        text = "the camera does not tell when a picture was taken: times are those of arrival"
        yield Finding(
            "advice", "clock", text, "switch on RTCP sender reports (often 'RTCP' or 'absolute time')"
        )
    elif abs(report.clock_offset_seconds) > LATEST_CLOCK_SECONDS:
        text = f"the camera's clock is {report.clock_offset_seconds:+.1f} s off ours"
        yield Finding("advice", "clock", text, remedy)
    else:
        text = f"capture times by the camera's own clock ({1000 * report.clock_offset_seconds:+.0f} ms)"
        yield Finding("good", "clock", text)


def _loss(report: ProbeReport) -> Iterator[Finding]:
    if report.reconnects:
        text = f"the connection broke {report.reconnects} times in {report.seconds:.0f} s"
        yield Finding("problem", "loss", text, "look at network, power and number of viewers of the camera")
    if report.lost:
        text = f"data was lost {report.lost} times in {report.seconds:.0f} s"
        yield Finding("problem", "loss", text, "use transport tcp; if it is used, the network is too slow")
    elif not report.reconnects:
        yield Finding("good", "loss", "nothing was lost")


def _pace(report: ProbeReport) -> Iterator[Finding]:
    if report.jitter_ms is not None and report.jitter_ms > WORST_JITTER_MS:
        text = f"pictures arrive unevenly ({report.jitter_ms:.0f} ms)"
        yield Finding("advice", "pace", text, "lower the bit rate, or use a cable instead of radio")


def _name(codec: str) -> str:
    return {"h264": "H.264", "h265": "H.265", "vp8": "VP8"}.get(codec, codec)
