"""Every coding tool of x264, one small clip each: the parser says what FFmpeg says."""

from __future__ import annotations

import numpy as np
import pytest

from ovstream.bitstream import Parser
from ovstream.types import (
    FLAG_DIRECT,
    FLAG_FIELD,
    FLAG_INTRA_16X16,
    FLAG_SPLIT,
    FLAG_TRANSFORM_8X8,
    BlockClass,
)
from tests.native.oracle import compare, parse
from tests.native.streams import TOOLS, Tool, encode


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_vectors_and_quantisers_equal_ffmpeg(tool: Tool) -> None:
    score = compare(encode(tool))
    assert not score.first_difference
    assert score.perfect
    assert score.blocks > 0


def test_the_clips_hold_what_they_are_for() -> None:
    """Without this, an encoder that ignores an option would make the comparison empty."""
    blocks = {
        name: np.concatenate([frame.blocks.ravel() for frame in parse(encode(tool))])
        for name in (
            "all-partitions",
            "cabac-b-spatial",
            "pcm",
            "p4x4-baseline",
            "slices",
            "ref-16",
            "mbaff-quiet",
        )
        for tool in TOOLS
        if tool.name == name
    }
    classes = {name: set(part["block_class"].tolist()) for name, part in blocks.items()}
    assert {BlockClass.SKIP, BlockClass.INTER, BlockClass.INTRA} <= classes["cabac-b-spatial"]
    assert {BlockClass.PCM, BlockClass.INTER, BlockClass.INTRA} <= classes["pcm"]
    assert {name for name in blocks if np.any(blocks[name]["flags"] & FLAG_FIELD)} == {"mbaff-quiet"}
    assert np.mean((blocks["mbaff-quiet"]["flags"] & FLAG_FIELD) == 0) > 0.5
    flags = np.bitwise_or.reduce(blocks["all-partitions"]["flags"])
    assert flags == FLAG_SPLIT | FLAG_TRANSFORM_8X8 | FLAG_DIRECT | FLAG_INTRA_16X16
    assert blocks["slices"]["slice"].max() == 3
    assert blocks["ref-16"]["ref_idx"].max() > 3
    sub_8x8 = next(t for t in TOOLS if t.name == "p4x4-baseline")
    splits = np.concatenate([frame.splits["mv"][:, 0] for frame in parse(encode(sub_8x8))])
    quadrants = splits.reshape(-1, 2, 2, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 4, 2)
    assert np.any(quadrants != quadrants[:, :1])


@pytest.mark.parametrize("name", ["cabac-b-temporal", "mbaff-slices", "slices-cavlc", "cqm-jvt", "pcm-cavlc"])
def test_the_motion_level_is_the_full_level_without_energy(name: str) -> None:
    units = encode(next(tool for tool in TOOLS if tool.name == name))
    for full, motion in zip(parse(units), parse(units, Parser("h264", level="motion")), strict=True):
        expected = full.blocks.copy()
        expected["residual_energy"] = 0
        np.testing.assert_array_equal(motion.blocks, expected)
        np.testing.assert_array_equal(motion.splits, full.splits)


@pytest.mark.parametrize("name", ["cabac-b-temporal", "mbaff-slices"])
def test_unread_intra_slices_change_nothing_else(name: str) -> None:
    units = encode(next(tool for tool in TOOLS if tool.name == name))
    kinds = set()
    for full, lean in zip(parse(units), parse(units, Parser("h264", skip_intra=True)), strict=True):
        kinds.add(full.slice_type)
        assert lean.coverage == 1
        if full.slice_type == "I":
            assert np.all(lean.block_class == BlockClass.INTRA)
            assert np.all(lean.ref_idx == -1)
            assert abs(int(lean.qp[0, 0]) - int(full.qp.mean())) < 12
        else:
            np.testing.assert_array_equal(lean.blocks, full.blocks)
            np.testing.assert_array_equal(lean.splits, full.splits)
    assert kinds == {"I", "P", "B"}


def test_bit_costs_add_up_to_the_slices() -> None:
    for name in ("cabac-b-spatial", "cavlc-b", "slices"):
        units = encode(next(tool for tool in TOOLS if tool.name == name))
        for unit, frame in zip(units, parse(units), strict=True):
            total = int(frame.bit_cost.sum())
            assert total <= 8 * len(unit)
            if frame.slice_type == "P":
                assert total > 0.9 * 8 * len(unit) - 400
