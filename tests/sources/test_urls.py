"""Credentials get in however they are written, and never out."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.sources.urls import parse_url, redact_url

USER, PASSWORD = "us er@x", "p@s:s/w?#%&"
NASTY = st.text(alphabet=string.ascii_letters + string.digits + "@:/?#%&+ =[]!$é", min_size=1, max_size=12)


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://us%20er%40x:p%40s%3As%2Fw%3F%23%25%26@10.0.0.7:554/a/b?c=1",
        "rtsp://us er@x:p@s:s/w?#%&@10.0.0.7:554/a/b?c=1",
    ],
)
def test_special_characters_work_encoded_and_plain(url: str) -> None:
    parsed = parse_url(url)
    assert (parsed.host, parsed.location) == ("10.0.0.7", "10.0.0.7:554/a/b?c=1")
    assert f"{parsed.username}:{parsed.password}" == f"{USER}:{PASSWORD}"
    assert redact_url(url) == "rtsp://10.0.0.7:554/a/b?c=***"


@given(NASTY, NASTY)
def test_fields_survive_the_way_through_a_url(user: str, password: str) -> None:
    url = parse_url("rtsp://cam:8554/x@y").text(username=user, password=password)
    parsed = parse_url(url)
    assert (parsed.username, parsed.password, parsed.location) == (user, password, "cam:8554/x@y")
    assert redact_url(url) == "rtsp://***@y"


@given(NASTY)
def test_a_password_is_never_shown(password: str) -> None:
    canary = "CANARY" + password + "CANARY"
    for url in (f"rtsp://user:{canary}@cam.local:554/x", f"rtsp://user:{canary}@[fe80::1]/x"):
        assert "CANARY" not in redact_url(url)
        assert "CANARY" not in repr(parse_url(url))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://cam/stream", "rtsp://cam/stream"),
        ("RTSP://user@cam/stream", "rtsp://cam/stream"),
        ("rtsp://user:12/3@cam/x", "rtsp://***@cam/x"),
        ("rtsp://u:p@cam/at@path", "rtsp://***@path"),
        ("rtsp://u:p@[::1]:554/x", "rtsp://[::1]:554/x"),
        ("rtsp://u:p@", "rtsp://"),
        ("http://cam/video?user=a&password=b&size=1", "http://cam/video?user=***&password=***&size=1"),
        ("rtsp://cam/user=admin_password=tlJwpbo6_channel=1", "rtsp://cam/user=***"),
        ("srt://host:9000?passphrase=abc&mode=caller", "srt://host:9000?passphrase=***&mode=caller"),
        ("srt://h:8890?streamid=read:cam:user:secret", "srt://h:8890?streamid=***"),
        ("rtsp://h/x?jwt=ab.cd&channel=1&subtype=0", "rtsp://h/x?jwt=***&channel=1&subtype=0"),
        ("rtsp://h/x?channel=a%20secret:word;bearer=1", "rtsp://h/x?channel=***;bearer=***"),
        ("whep+http://h:1984/api/webrtc?src=door", "whep+http://h:1984/api/webrtc?src=door"),
        ("/files/a@b.mp4", "/files/a@b.mp4"),
        ("/files/12:30/a@b.mp4", "/files/12:30/a@b.mp4"),
        ("me:se/cret@cam/1", "***@cam/1"),
        ("rtsp//me:se/cret@cam/1", "***@cam/1"),
        ("//me:secret@cam/1", "***@cam/1"),
        ("rtsp://cam/user=admin&password=se@cret&channel=1", "rtsp://***@&channel=1"),
        ("rtsp://cam/user=admin_password=se@cret_channel=1", "rtsp://***@"),
    ],
)
def test_what_is_shown(url: str, shown: str) -> None:
    assert redact_url(url) == shown


def test_hosts() -> None:
    assert parse_url("rtsp://u:p@[fe80::1]:554/x").host == "fe80::1"
    assert parse_url("rtsp://[fe80::1]/x").host == "fe80::1"
    assert parse_url("rtsp://cam.local/x").host == "cam.local"
