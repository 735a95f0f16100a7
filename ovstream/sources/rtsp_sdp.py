"""What a camera offers: the video tracks in its session description (RFC 8866)."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from ovstream.rtp import BUILDERS

MAX_MEDIA = 32
MAX_FORMATS = 128  # payload types are below that
_CODECS = {"H264": "h264", "H265": "h265", "HEVC": "h265", "VP8": "vp8"}
# fmtp parameters that hold parameter sets: RFC 6184 8.1, RFC 7798 7.1.
_SET_PARAMETERS = {"h264": ("sprop-parameter-sets",), "h265": ("sprop-vps", "sprop-sps", "sprop-pps")}
# Streams that need decoding order numbers (RFC 6184 interleaved mode, RFC 7798 4.5).
_NOT_READ = {"h264": ("packetization-mode", "2"), "h265": ("sprop-max-don-diff", None)}


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """One video track that the RTP layer can read.

    Attributes:
        codec: As in `AccessUnit`.
        payload_type: In its RTP packets.
        clock_rate_hz: Of its RTP timestamps.
        control: URI of the track: absolute, relative, or empty.
        parameter_sets: NAL units from the description.
    """

    codec: str
    payload_type: int
    clock_rate_hz: int
    control: str
    parameter_sets: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Description:
    """A session description.

    Attributes:
        control: URI of the session: absolute, relative, "*", or empty.
        tracks: Video tracks that can be read, in order.
        others: Encodings of video tracks that cannot.
    """

    control: str
    tracks: tuple[VideoTrack, ...]
    others: tuple[str, ...]


def parse_sdp(text: str) -> Description:
    """Reads a session description; lines that make no sense are passed over."""
    session, *sections = re.split(r"^m=", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    tracks: list[VideoTrack] = []
    others: list[str] = []
    for section in sections[:MAX_MEDIA]:
        if not section.startswith("video "):
            continue
        for payload_type in _formats(section):
            track, encoding = _track(section, payload_type)
            if track is not None:
                tracks.append(track)
                break
            others.append(encoding)
    return Description(_attribute(session, "control"), tuple(tracks), tuple(others))


def control_uri(base: str, control: str) -> str:
    """The URI to ask for (RFC 2326 C.1.1).

    Relative ones are appended behind a slash, also where `base` has a query: so do servers and other clients.
    """
    if not control or control == "*":
        return base
    if re.match(r"rtsps?://", control, re.IGNORECASE):
        return control
    return base + control if base.endswith("/") or control.startswith("/") else f"{base}/{control}"


def _formats(section: str) -> list[int]:
    """Payload types of a media line, each once."""
    found = re.findall(r" (\d{1,3})(?= |\r?$)", section.partition("\n")[0].partition(" RTP/")[2])
    return [int(text) for text in dict.fromkeys(found)][:MAX_FORMATS]


def _track(section: str, payload_type: int) -> tuple[VideoTrack | None, str]:
    """The track, or None and the name of what cannot be read."""
    mapping = re.search(rf"^a=rtpmap:{payload_type} +([\w.-]+)/(\d{{1,10}})(?!\d)", section, re.MULTILINE)
    encoding = mapping[1].upper() if mapping else f"payload type {payload_type}"
    codec = _CODECS.get(encoding, "")
    if mapping is None or codec not in BUILDERS or not 0 < int(mapping[2]) < 1 << 31:
        return None, encoding
    parameters = _format_parameters(section, payload_type)
    name, value = _NOT_READ.get(codec, ("", None))
    if name in parameters and parameters[name] == (value or parameters[name]) and parameters[name] != "0":
        return None, f"{encoding} with {name}={parameters[name]}"
    sets = tuple(
        nal
        for name in _SET_PARAMETERS.get(codec, ())
        for nal in map(_decode, parameters.get(name, "").split(","))
        if nal
    )
    return VideoTrack(codec, payload_type, int(mapping[2]), _attribute(section, "control"), sets), encoding


def _format_parameters(section: str, payload_type: int) -> dict[str, str]:
    line = re.search(rf"^a=fmtp:{payload_type} +(.*)$", section, re.MULTILINE)
    pairs = (pair.partition("=") for pair in line[1].split(";")) if line else ()
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _attribute(section: str, name: str) -> str:
    line = re.search(rf"^a={name}:(.*)$", section, re.MULTILINE)
    return line[1].strip() if line else ""


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
