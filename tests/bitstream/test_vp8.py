"""VP8 through the binding: what a frame is, levels, damage, and every stream of the corpus.

That modes, vectors and coefficients are right is proven in `native/tests/vp8_reconstruct.rs`, by pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext

from ovstream.bitstream import Level, Parser
from ovstream.errors import BitstreamError, InvalidBitstream, UnsupportedBitstream
from ovstream.sources.scene import Scene
from ovstream.types import AccessUnit, BlockClass, FrameMetadata, IntraMode
from tests.clips import make_clip
from tests.conftest import Corpus, load_corpus

_CORPUS = load_corpus()
STREAMS = sorted(row["file"] for row in _CORPUS.rows if row["file"].startswith("vp8/")) if _CORPUS else []


def packets(path: Path) -> list[bytes]:
    with av.open(str(path), format="ivf" if path.suffix == ".vp8" else None) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def unit(data: bytes, pts: int = 0) -> AccessUnit:
    return AccessUnit("vp8", data, pts=pts, time_base=Fraction(1, 25), keyframe=False)


def parse(frames: list[bytes], level: Level = "full", *, skip_intra: bool = False) -> Iterator[FrameMetadata]:
    parser = Parser("vp8", level=level, skip_intra=skip_intra)
    for pts, data in enumerate(frames):
        yield parser.parse(unit(data, pts))


def attempt(parser: Parser, data: bytes) -> FrameMetadata | BitstreamError:
    try:
        return parser.parse(unit(data))
    except BitstreamError as error:
        return error


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return packets(make_clip(tmp_path_factory.mktemp("vp8") / "a.ivf", codec="libvpx", options={"g": "20"}))


def test_what_a_frame_is(frames: list[bytes]) -> None:
    for number, frame in enumerate(parse(frames)):
        assert (frame.codec, frame.width, frame.height, frame.mb_shape) == ("vp8", 320, 240, (15, 20))
        assert (frame.keyframe, frame.slice_type) == ((True, "I") if number % 20 == 0 else (False, "P"))
        assert (frame.coverage, frame.errors, frame.shown, frame.poc) == (1.0, 0, True, 0)
        assert frame.reference or not frame.keyframe
        assert np.all(frame.block_class != BlockClass.PCM)
        assert np.all(
            (frame.ref_idx[0] >= 0) == (frame.block_class != BlockClass.INTRA).repeat(4, 0).repeat(4, 1)
        )
        assert np.all(frame.ref_idx[1] == -1)
        assert 0 <= frame.qp.min() <= frame.qp.max() <= 127


def test_skipped_blocks_have_no_residual_and_the_others_have(frames: list[bytes]) -> None:
    for frame in parse(frames):
        inter = frame.block_class == BlockClass.INTER
        assert np.all(frame.residual_energy[frame.skip] == 0)
        assert np.all(frame.blocks["coefficients"][inter] > 0)
        assert np.all(frame.residual_energy[inter] > 0)


def test_bit_costs_add_up(frames: list[bytes]) -> None:
    """All but headers (with probability updates, most in the first), and the ends of partitions."""
    for frame, data in zip(parse(frames), frames, strict=True):
        header_bits = 8 * len(data) - int(frame.bit_cost.sum())
        assert 0 < header_bits < (4000 if frame.keyframe else 2000)


def test_intra_modes_are_those_that_made_the_samples() -> None:
    """Without residual a cell is its prediction but for its rim, which the loop filter smooths."""
    context = av.CodecContext.create("libvpx", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = 160, 128, "yuv420p"
    context.time_base, context.bit_rate, context.gop_size = Fraction(1, 25), 30_000, 3
    context.options = {"deadline": "realtime", "cpu-used": "4", "min-q": "60", "max-q": "63"}
    scene = Scene(160, 128, objects=4, noise=30, speed_px=5)
    pictures = [
        av.VideoFrame.from_ndarray(scene.render(i), format="rgb24").reformat(format="yuv420p")
        for i in range(12)
    ]
    for index, picture in enumerate(pictures):
        picture.pts = index
    coded = [bytes(packet) for picture in [*pictures, None] for packet in context.encode(picture)]
    decoder = av.CodecContext.create("vp8", "r")
    decoder.thread_count = 1
    met = set()
    for frame in parse(coded):
        luma = decoder.decode(av.Packet(coded[frame.pts or 0]))[0].to_ndarray()
        for y, x in np.argwhere((frame.intra_size == 16) & (frame.blocks["coefficients"] == 0)):
            inside = luma[16 * y + 4 : 16 * y + 12, 16 * x + 4 : 16 * x + 12]
            mode = IntraMode(frame.intra_mode[y, x])
            met.add(mode)
            if mode in (IntraMode.VERTICAL, IntraMode.DC):
                assert (inside == inside[:1]).all()
            if mode in (IntraMode.HORIZONTAL, IntraMode.DC):
                assert (inside == inside[:, :1]).all()
    assert met >= {IntraMode.DC, IntraMode.VERTICAL, IntraMode.HORIZONTAL}
    left = [frame for frame in parse(coded, skip_intra=True) if frame.unread]
    assert left
    assert all((frame.intra_mode == IntraMode.OTHER).all() for frame in left)


def test_the_cheap_level_has_the_same_motion(frames: list[bytes]) -> None:
    for full, cheap in zip(parse(frames), parse(frames, "motion"), strict=True):
        np.testing.assert_array_equal(full.mv, cheap.mv)
        np.testing.assert_array_equal(full.ref_idx, cheap.ref_idx)
        np.testing.assert_array_equal(full.qp, cheap.qp)
        assert np.all(full.skip >= cheap.skip)
        assert not cheap.residual_energy.any()
        assert np.all(cheap.bit_cost <= full.bit_cost)


def test_key_frames_may_stay_unread(frames: list[bytes]) -> None:
    for whole, frame in zip(parse(frames), parse(frames, skip_intra=True), strict=True):
        if frame.keyframe:
            assert np.all(frame.block_class == BlockClass.INTRA)
        else:
            np.testing.assert_array_equal(whole.blocks, frame.blocks)


def test_motion_follows_the_camera() -> None:
    """A texture that moves by (3, -2) samples a frame has vectors of (-12, 8) quarter samples into the last one."""
    rng = np.random.default_rng(1)
    texture = rng.integers(60, 200, (40, 50)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    context = av.CodecContext.create("libvpx", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt, context.bit_rate = 192, 160, "yuv420p", 4_000_000
    context.time_base, context.options = Fraction(1, 25), {"deadline": "good", "lag-in-frames": "0"}
    data = []
    for index in range(6):
        top, left = 60 + 2 * index, 60 - 3 * index
        window = np.ascontiguousarray(texture[top : top + 160, left : left + 192, None].repeat(3, 2))
        picture = av.VideoFrame.from_ndarray(window, format="rgb24")
        picture.pts, picture.time_base = index, Fraction(1, 25)
        data += [bytes(packet) for packet in context.encode(picture)]
    for frame in list(parse(data))[1:]:
        inner = frame.mv[0, 8:-8, 8:-8].reshape(-1, 2)
        assert np.mean(np.all(inner == (-12, 8), axis=1)) > 0.8


def test_errors_say_where(frames: list[bytes]) -> None:
    parser = Parser("vp8")
    with pytest.raises(InvalidBitstream, match=r"key_frame \(none came before\).*partition 0"):
        parser.parse(unit(frames[1]))
    with pytest.raises(InvalidBitstream, match="frame_tag"):
        parser.parse(unit(b"\x10\x00"))
    with pytest.raises(InvalidBitstream, match="start_code"):
        parser.parse(unit(frames[0][:3] + b"\0" + frames[0][4:]))
    with pytest.raises(UnsupportedBitstream, match="max_pixels"):
        Parser("vp8", max_pixels=320 * 240 - 1).parse(unit(frames[0]))
    assert Parser("vp8", max_pixels=320 * 240).parse(unit(frames[0])).coverage == 1


def test_a_cut_frame_is_known_as_far_as_it_goes(frames: list[bytes]) -> None:
    parser = Parser("vp8")
    first_partition = int.from_bytes(frames[0][:3], "little") >> 5
    half = parser.parse(unit(frames[0][: 10 + first_partition // 2]))
    assert 0.1 < half.coverage < 0.9
    assert half.errors > 0
    tokens_cut = parser.parse(unit(frames[0][: 10 + first_partition + 100]))
    assert (tokens_cut.coverage, tokens_cut.errors) == (1, 1)
    assert parser.parse(unit(frames[20])).errors == 0


def test_an_empty_frame_repeats_the_last(frames: list[bytes]) -> None:
    parser = Parser("vp8")
    parser.parse(unit(frames[0]))
    again = parser.parse(unit(b""))
    assert again.skip.all()
    assert (again.bits, again.reference, again.errors) == (0, False, 0)


def test_the_size_may_change_at_a_keyframe(frames: list[bytes], tmp_path: Path) -> None:
    other = packets(make_clip(tmp_path / "b.ivf", codec="libvpx", width=75, height=49, frames=3))
    parser = Parser("vp8")
    changed = []
    for data in [*frames[:3], *other, frames[20]]:
        frame = parser.parse(unit(data))
        changed.append(parser.sequence_changed)
    assert changed == [True, False, False, True, False, False, True]
    assert frame.mb_shape == (15, 20)
    assert [f.mb_shape for f in parse(other)] == [(4, 5)] * 3


@pytest.mark.parametrize("name", STREAMS)
def test_every_stream_of_the_corpus_is_covered(name: str, corpus: Corpus) -> None:
    data = packets(corpus.path(name))
    assert data
    for frame, cheap, raw in zip(parse(data), parse(data, "motion"), data, strict=True):
        assert (frame.coverage, frame.errors) == (1.0, 0)
        assert (cheap.coverage, cheap.errors) == (1.0, 0)
        assert int(frame.bit_cost.sum()) < 8 * len(raw)


def test_damage_ends_in_results_or_errors(frames: list[bytes]) -> None:
    rng = np.random.default_rng(3)
    for flips in (1, 8, 60):
        for level in ("motion", "full"):
            parser = Parser("vp8", level=level)  # type: ignore[arg-type]
            for data in frames:
                damaged = np.frombuffer(data, np.uint8).copy()
                bits = rng.integers(0, 8 * len(damaged), flips)
                np.bitwise_xor.at(damaged, bits // 8, (1 << bits % 8).astype(np.uint8))
                outcome = attempt(parser, damaged.tobytes())
                if isinstance(outcome, BitstreamError):
                    assert "internal" not in outcome.element
                else:
                    assert 0 <= outcome.coverage <= 1
                    assert outcome.ref_idx.max() < 3
