"""Sizes out of parameter sets, against what FFmpeg says."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.nal import leading_nals
from ovstream.sources import open_source
from ovstream.sources.picture_size import nals_size, vp8_size
from tests.clips import make_clip
from tests.conftest import Corpus
from tests.sources.support import collect


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("size", [(320, 240), (162, 98), (1280, 720)])
async def test_sizes_of_encoders(tmp_path: Path, codec: str, size: tuple[int, int]) -> None:
    clip = make_clip(tmp_path / "clip.mp4", codec=codec, width=size[0], height=size[1], frames=3)
    unit, *_ = await collect(open_source(clip))
    assert nals_size(leading_nals(unit.data, unit.codec), unit.codec) == size


async def test_sizes_of_vp8(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", codec="libvpx", width=178, height=144, frames=2)
    key, other = await collect(open_source(clip))
    assert vp8_size(key.data) == (178, 144)
    assert vp8_size(other.data) is None
    assert vp8_size(key.data[:9]) is None


async def test_sizes_of_others(corpus: Corpus) -> None:
    """Profiles, scaling lists, fields, cropping: all streams of the conformance suites that FFmpeg opens."""
    compared = 0
    for name in sorted(corpus.root.glob("conformance-h*/*")):
        if name.suffix not in {".264", ".jsv", ".h264", ".avc", ".bit", ".bin"} or "svc" in name.name:
            continue
        codec = "h264" if "h264" in name.parent.name else "h265"
        with name.open("rb") as file:
            head = file.read(200_000)
        with av.open(str(name), format={"h264": "h264", "h265": "hevc"}[codec]) as container:
            expected = (container.streams.video[0].width, container.streams.video[0].height)
        found = nals_size(list(leading_nals(head, codec)), codec)
        if found is not None and expected != (0, 0):  # FFmpeg cannot read some
            assert found == expected, name.name
            compared += 1
    assert compared > 60


@given(st.sampled_from(["h264", "h265"]), st.binary(max_size=60))
def test_any_bytes_are_a_size_or_none(codec: str, noise: bytes) -> None:
    header = b"\x67" if codec == "h264" else b"\x42\x01"
    size = nals_size([header + noise], codec)
    assert size is None or len(size) == 2
    assert nals_size([header], codec) is None
