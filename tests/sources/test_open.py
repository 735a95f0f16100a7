"""Which URL gives which source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ovstream.config import SourceConfig
from ovstream.errors import ConfigError
from ovstream.sources import open_source


@pytest.mark.parametrize(
    ("url", "kind", "live"),
    [
        ("clip.mp4", "FileSource", False),
        (Path("folder") / "clip.mp4", "FileSource", False),
        ("file:///folder/clip.mp4", "FileSource", False),
        ("odd:name.mp4", "FileSource", False),
        ("synthetic:", "SyntheticSource", False),
        ("synthetic:?fps=5", "SyntheticSource", False),
        ("rtsp://cam/1", "FallbackSource", True),
        ("RTSPS://cam/1", "FallbackSource", True),
        ("http://cam/1.ts", "FFmpegSource", True),
        ("srt://cam:9000", "FFmpegSource", True),
        ("udp://@:1234?pkt_size=1316", "FFmpegSource", True),
        ("rtsp://user:a/b@[fe80::1]:8554/1", "FallbackSource", True),
        ("/dev/video0", "FFmpegSource", True),
        ("whip://127.0.0.1:8080/cam1", "WhipSource", True),
        ("whep+https://host/cam/whep", "WhepSource", True),
    ],
)
def test_the_scheme_chooses(url: str | Path, kind: str, live: bool) -> None:
    source = open_source(url)
    assert (type(source).__name__, source.live) == (kind, live)


PINNED = "ab" * 32


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (SourceConfig(), "FallbackSource"),
        (SourceConfig(backend="native"), "RtspSource"),
        (SourceConfig(backend="ffmpeg"), "FFmpegSource"),
        (SourceConfig(tls_fingerprint=PINNED), "RtspSource"),  # FFmpeg could not check it
    ],
)
def test_the_backend_of_rtsp(config: SourceConfig, kind: str) -> None:
    assert type(open_source("rtsps://cam/1", config=config)).__name__ == kind


def test_ffmpeg_refuses_what_it_cannot_check() -> None:
    with pytest.raises(ConfigError, match="cannot check tls_fingerprint"):
        open_source("rtsps://cam/1", config=SourceConfig(backend="ffmpeg", tls_fingerprint=PINNED))


def test_a_camera_needs_a_host() -> None:
    with pytest.raises(ConfigError, match="names no host"):
        open_source("rtsp:///stream")


def test_the_name_of_a_local_file_is_its_path() -> None:
    for url in ("file:///folder/a b.mp4", "file:///folder/a%20b.mp4", "file://localhost/folder/a b.mp4"):
        assert open_source(url).name == "/folder/a b.mp4"


def test_a_file_may_be_named_like_a_user_at_a_host(tmp_path: Path) -> None:
    path = tmp_path / "door:1@home.mp4"
    path.touch()
    assert open_source(path).name == str(path)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("gopher://cam/1", "gopher:// is not supported; supported: .*rtsp://"),
        ("whip+https://127.0.0.1/cam", "write whip://, and put a proxy in front"),
        ("whep://host/cam", r"write whep\+https:// or whep\+http://"),
        ("whep+https:///cam", "names no host"),
        ("whip://127.0.0.1:99999/cam", "names a port above 65535"),
        ("whip://:9000/cam", "names no host"),
        ("rtps://user:CANARY@cam/1", "rtps:// is not supported"),
        ("rtsp:/user:CANARY@cam/1", "neither a file nor a URL"),
        ("rtsp//user:CANARY@cam/1", "neither a file nor a URL"),
        ("user:CANARY@cam/1", "cam/1 is neither a file nor a URL"),
        ("rtsp://user:CANARY@cam:99999/1", "cam:99999/1: a port is a number from 1 to 65535"),
        ("whep+http://cam:http/1", "a port is a number"),
        ("udp://0.0.0.0:0", "a port is a number"),
        ("rtsp://fe80::1/1", "an IPv6 address stands in brackets"),
    ],
)
def test_other_schemes_list_the_right_ones(url: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        open_source(url)
    assert "CANARY" not in str(caught.value)


def test_the_package_alone_does_not_load_ffmpeg() -> None:
    check = "import sys, ovstream.sources; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
