"""Session descriptions of cameras."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.sources.rtsp_sdp import control_uri, parse_sdp

CAMERA = """v=0
o=- 1 1 IN IP4 192.168.1.20
s=Media
a=control:*
m=audio 0 RTP/AVP 0
a=control:trackID=2
m=video 0 RTP/AVP 98 96
a=rtpmap:98 JPEG/90000
a=rtpmap:96 H264/90000
a=fmtp:96 profile-level-id=42C01E; packetization-mode=1 ;sprop-parameter-sets=Z0LAHtk=,aM48gA==
a=control:trackID=1
m=application 0 RTP/AVP 107
a=rtpmap:107 vnd.onvif.metadata/90000
""".replace("\n", "\r\n")


def test_a_camera_with_audio_and_metadata() -> None:
    found = parse_sdp(CAMERA)
    (track,) = found.tracks
    assert (found.control, found.others) == ("*", ("JPEG",))
    assert (track.codec, track.payload_type, track.clock_rate_hz, track.control) == (
        "h264",
        96,
        90_000,
        "trackID=1",
    )
    assert track.parameter_sets == (b"\x67\x42\xc0\x1e\xd9", b"\x68\xce\x3c\x80")


def describe(mapping: str, fmtp: str = "") -> str:
    return f"m=video 0 RTP/AVP 96\na=rtpmap:96 {mapping}\na=fmtp:96 {fmtp}\n"


@pytest.mark.parametrize(
    ("mapping", "fmtp", "codec", "sets"),
    [
        ("h264/90000", "sprop-parameter-sets=Z0LAHtk,aM48gA", "h264", 2),  # without padding
        ("H264/90000", "sprop-parameter-sets=!,aM48gA==,", "h264", 1),
        ("H264/90000", "packetization-mode=0", "h264", 0),
        ("H265/90000", "sprop-vps=QAE=;sprop-sps=QgE=;sprop-pps=RAE=;sprop-max-don-diff=0", "h265", 3),
        ("VP8/90000", "max-fr=30", "vp8", 0),
    ],
)
def test_what_can_be_read(mapping: str, fmtp: str, codec: str, sets: int) -> None:
    (track,) = parse_sdp(describe(mapping, fmtp)).tracks
    assert (track.codec, len(track.parameter_sets)) == (codec, sets)


@pytest.mark.parametrize(
    ("mapping", "fmtp", "other"),
    [
        ("JPEG/90000", "", "JPEG"),
        ("H264/90000", "packetization-mode=2", "H264 with packetization-mode=2"),
        ("H265/90000", "sprop-max-don-diff=2", "H265 with sprop-max-don-diff=2"),
        ("H264/0", "", "H264"),
        ("nonsense", "", "payload type 96"),
    ],
)
def test_what_cannot_be_read_is_named(mapping: str, fmtp: str, other: str) -> None:
    found = parse_sdp(describe(mapping, fmtp))
    assert (found.tracks, found.others) == ((), (other,))


@given(st.text(max_size=200) | st.lists(st.sampled_from(CAMERA.split("\r\n")), max_size=20).map("\n".join))
def test_any_text_does_no_harm(text: str) -> None:
    for track in parse_sdp(text).tracks:
        assert track.codec == "h264"


@pytest.mark.parametrize(
    ("base", "control", "expected"),
    [
        ("rtsp://cam/live", "*", "rtsp://cam/live"),
        ("rtsp://cam/live/", "", "rtsp://cam/live/"),
        ("rtsp://cam/live/", "trackID=1", "rtsp://cam/live/trackID=1"),
        ("rtsp://cam/live", "trackID=1", "rtsp://cam/live/trackID=1"),
        ("rtsp://cam/real?channel=1", "trackID=1", "rtsp://cam/real?channel=1/trackID=1"),
        ("rtsp://cam/live", "/trackID=1", "rtsp://cam/live/trackID=1"),
        ("rtsp://cam/live", "RTSP://other/x", "RTSP://other/x"),
    ],
)
def test_where_to_ask(base: str, control: str, expected: str) -> None:
    assert control_uri(base, control) == expected
