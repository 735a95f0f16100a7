"""The Python side of the parser: arguments, results, errors, planes."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from ovstream.bitstream import Parser
from ovstream.errors import BitstreamError, ConfigError, InvalidBitstream
from ovstream.types import BLOCK_DTYPE, FLAG_SPLIT, NO_POC, SPLIT_DTYPE, AccessUnit, BlockClass, IntraMode
from tests.hostile.helpers import START, pps, skipped, sps
from tests.native.oracle import decode, parse
from tests.native.streams import TOOLS, Tool, encode


def unit(data: bytes, pts: int | None = 0) -> AccessUnit:
    return AccessUnit("h264", data, pts=pts, time_base=Fraction(1, 90000), keyframe=False)


@pytest.fixture(scope="module")
def b_frames() -> list[bytes]:
    return encode(next(tool for tool in TOOLS if tool.name == "direct-auto-pyramid"))


def test_the_record_layout_is_that_of_the_core() -> None:
    assert (BLOCK_DTYPE.itemsize, SPLIT_DTYPE.itemsize) == (32, 136)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"codec": "h266"}, "h264, h265, vp8"),
        ({"codec": "h264", "level": "all"}, "headers, motion, full"),
        ({"codec": "h264", "nal_length_bytes": 5}, "0 to 4"),
        ({"codec": "h264", "max_pixels": 0}, "max_pixels"),
        ({"codec": "h264", "every": 0}, "at least 1"),
        ({"codec": "h264", "max_bits_per_pixel": 0.0}, "max_bits_per_pixel"),
    ],
)
def test_wrong_arguments_are_answered_with_the_right_ones(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Parser(**arguments)


def test_errors_say_where() -> None:
    with pytest.raises(InvalidBitstream, match="pic_parameter_set_id") as caught:
        Parser("h264").parse(unit(sps() + skipped(16)))
    assert caught.value.element.startswith("pic_parameter_set_id")
    assert (caught.value.bit_offset, caught.value.nal_index) == (0, 1)


def test_the_frame_carries_the_time_of_its_unit() -> None:
    frame = Parser("h264").parse(unit(sps(5, 3) + pps() + skipped(15), pts=9000))
    assert (frame.pts, frame.pts_seconds, frame.codec, frame.origin) == (9000, 0.1, "h264", "bitstream")
    assert (frame.width, frame.height, frame.mb_shape, frame.slice_type) == (80, 48, (3, 5), "P")
    assert frame.bits == 8 * len(sps(5, 3) + pps() + skipped(15))


def test_the_size_is_the_visible_one() -> None:
    frame = next(parse(encode(next(tool for tool in TOOLS if tool.name == "odd-size"), frames=1)))
    assert (frame.width, frame.height, frame.mb_shape) == (178, 106, (7, 12))


def test_results_survive_the_next_picture(b_frames: list[bytes]) -> None:
    parser = Parser("h264")
    frames = [parser.parse(unit(data)) for data in b_frames]
    for kept, again in zip(frames, parse(b_frames), strict=True):
        np.testing.assert_array_equal(kept.blocks, again.blocks)
        np.testing.assert_array_equal(kept.splits, again.splits)


def test_planes_are_the_records_spread_out(b_frames: list[bytes]) -> None:
    frame = max(parse(b_frames), key=lambda frame: len(frame.splits))
    mv, ref_idx = frame.mv, frame.ref_idx
    assert (mv.dtype, ref_idx.dtype) == (np.int16, np.int8)
    for row, col in np.ndindex(*frame.mb_shape):
        block = frame.blocks[row, col]
        for y, x, lst in np.ndindex(4, 4, 2):
            if block["flags"] & FLAG_SPLIT:
                split = frame.splits[block["split"]]
                expected = split["mv"][lst, 4 * y + x], split["ref_idx"][lst, y // 2 * 2 + x // 2]
            else:
                expected = block["mv"][lst], block["ref_idx"][lst]
            assert np.array_equal(mv[lst, 4 * row + y, 4 * col + x], expected[0])
            assert ref_idx[lst, 4 * row + y, 4 * col + x] == expected[1]


@pytest.mark.parametrize("name", ["direct-auto-pyramid", "baseline", "aud-open-gop", "pyramid-strict"])
def test_order_counts_sort_pictures_as_a_decoder_puts_them_out(name: str) -> None:
    units = encode(next(tool for tool in TOOLS if tool.name == name))
    sequence, keys = -1, []
    for index, frame in enumerate(parse(units)):
        idr = any(nal[:1] == b"\x65" for nal in units[index].split(b"\0\0\1"))
        sequence += idr
        assert not idr or (frame.keyframe and frame.reference and frame.poc == 0)
        keys.append((sequence, frame.poc, index))
    assert [index for *_, index in sorted(keys)] == [index for index, _ in decode(units)]


def test_open_gops_begin_with_keyframes_too() -> None:
    units = encode(next(tool for tool in TOOLS if tool.name == "aud-open-gop"))
    frames = list(parse(units))
    keyframes = [frame for frame in frames if frame.keyframe]
    assert len(keyframes) == 3
    assert all(frame.slice_type == "I" for frame in keyframes)
    assert any(not frame.reference for frame in frames)


def test_both_framings_give_the_same(b_frames: list[bytes]) -> None:
    parser = Parser("h264", nal_length_bytes=4)
    for data, expected in zip(b_frames, parse(b_frames), strict=True):
        nals = [nal.removesuffix(b"\0") for nal in data.split(b"\0\0\1") if nal.strip(b"\0")]
        prefixed = b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)
        np.testing.assert_array_equal(parser.parse(unit(prefixed)).blocks, expected.blocks)


def test_a_stream_joined_in_the_middle(b_frames: list[bytes]) -> None:
    """Motion of P pictures needs no earlier picture, only the parameter sets."""
    whole = list(parse(b_frames))
    sets = b"".join(START + nal for nal in b_frames[0].split(b"\0\0\1") if nal[:1] in (b"\x67", b"\x68"))
    parser = Parser("h264")
    first = next(i for i, frame in enumerate(whole) if i > 5 and frame.slice_type == "P")
    frame = parser.parse(unit(sets + b_frames[first]))
    np.testing.assert_array_equal(frame.mv, whole[first].mv)
    np.testing.assert_array_equal(frame.qp, whole[first].qp)


def test_threads_may_share_a_parser_without_harm(b_frames: list[bytes]) -> None:
    """The results are whatever they are; memory stays sound and errors are ours."""
    parser = Parser("h264")
    outcomes: list[bool] = []

    def work() -> None:
        for data in b_frames * 10:
            try:
                outcomes.append(parser.parse(unit(data)).coverage == 1)
            except BitstreamError:
                outcomes.append(False)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 4 * 10 * len(b_frames)
    assert any(outcomes)


def test_the_binding_costs_little() -> None:
    """One macroblock a picture: nearly all the time is the way into the core and back."""
    parser = Parser("h264")
    parser.parse(unit(sps(1, 1) + pps() + skipped(1)))
    units = [unit(skipped(1, frame_num=i % 16)) for i in range(1, 2001)]
    begin = time.process_time()
    for one in units:
        parser.parse(one)
    assert (time.process_time() - begin) / len(units) < 100e-6


def test_reference_pictures_by_their_order_counts() -> None:
    units = encode(next(tool for tool in TOOLS if tool.name == "slices-cavlc"))
    parser = Parser("h264")
    seen = 0
    for data in units:
        frame = next(parse([data], parser))
        ref_idx, ref_poc = frame.ref_idx, frame.ref_poc
        assert ref_poc.shape == ref_idx.shape
        np.testing.assert_array_equal(ref_poc == NO_POC, ref_idx < 0)
        for number in np.unique(frame.slice_map):
            cells = np.kron(frame.slice_map == number, np.ones((4, 4), np.bool_)).astype(np.bool_)
            for plane, indices, pocs in zip(
                ref_poc, ref_idx, parser.reference_pocs(int(number)), strict=True
            ):
                used = cells & (indices >= 0)
                np.testing.assert_array_equal(plane[used], np.array([*pocs, 0])[indices[used]])
                seen += int(used.sum())
        if frame.slice_type == "P":
            assert np.all(ref_poc[ref_idx >= 0] < frame.poc)
    assert seen > 10_000


def test_how_intra_cells_were_predicted() -> None:
    clips = [tool for tool in TOOLS if tool.name in ("8x8dct-all", "cavlc-b")]
    frames = [frame for tool in clips for frame in parse(encode(tool))]
    sizes = np.concatenate([frame.intra_size.ravel() for frame in frames])
    classes = np.concatenate([frame.block_class.ravel() for frame in frames])
    np.testing.assert_array_equal(sizes > 0, classes == BlockClass.INTRA)
    assert set(np.unique(sizes)) == {0, 4, 8, 16}
    transform_8x8 = np.concatenate([frame.transform_8x8.ravel() for frame in frames])
    assert np.all(transform_8x8[sizes == 8])
    assert not np.any(transform_8x8[(sizes == 4) | (sizes == 16)])
    coded = np.concatenate([frame.coded_block_pattern.ravel() for frame in frames])
    coefficients = np.concatenate([frame.blocks["coefficients"].ravel() for frame in frames])
    assert not np.any(coded[classes == BlockClass.SKIP])
    assert np.all(coefficients[(coded == 0) & (sizes != 16)] == 0)
    # Each bit that is set stands for a block with levels; only 8x8 blocks of CAVLC and DC hide in others.
    assert np.all(coefficients[(coded & 15) != 0] > 0)


def test_intra_modes_are_those_that_made_the_samples() -> None:
    """Without residual and loop filter a cell is its prediction: it repeats what stands beside it."""
    coarse = (
        "qp=51:ipratio=1.0:pbratio=1.0:aq-mode=0:trellis=0:deadzone-intra=32:deadzone-inter=32:no-deblock=1"
    )
    plain = "partitions=none:no-8x8dct=1:me=dia:merange=4:subme=1:scenecut=0:keyint=5:slices=2:bframes=2:b-adapt=0"
    units = encode(Tool("coarse", f"{coarse}:{plain}", noise=40))
    context = av.CodecContext.create("h264", "r")
    context.thread_count = 1
    packets = [av.Packet(data) for data in units]
    for index, packet in enumerate(packets):
        packet.pts = packet.dts = index
    shown = {frame.pts: frame for packet in [*packets, None] for frame in context.decode(packet)}
    met = set()
    for frame in parse(units):
        luma = shown[frame.pts].to_ndarray()
        np.testing.assert_array_equal(frame.intra_mode > 0, frame.block_class == BlockClass.INTRA)
        bare = (frame.intra_size == 16) & (frame.blocks["coefficients"] == 0)
        for y, x in 16 * np.argwhere(bare):
            mode = IntraMode(frame.intra_mode[y // 16, x // 16])
            met.add((frame.slice_type, mode))
            cell = luma[y : y + 16, x : x + 16]
            if mode == IntraMode.VERTICAL:
                assert (cell == luma[y - 1, x : x + 16]).all()
            elif mode == IntraMode.HORIZONTAL:
                assert (cell == luma[y : y + 16, x - 1, None]).all()
            elif mode == IntraMode.DC:
                assert len(np.unique(cell)) == 1
    assert met >= {("I", IntraMode(mode)) for mode in range(1, 5)}
    assert {kind for kind, _ in met} == {"I", "P", "B"}
