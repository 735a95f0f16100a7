"""H.265 motion, picture by picture against PyAV's samples: one small x265 clip per coding tool."""

from __future__ import annotations

import numpy as np
import pytest

from ovstream.bitstream import Parser
from ovstream.types import FLAG_FINE_REFERENCES, FLAG_SPLIT, BlockClass, IntraMode
from tests.native.hevc_proof import encode, encode_pictures, prove
from tests.native.proof import parse, pictures
from tests.native.streams import Tool

_B = "bframes=3:b-adapt=0"
_PLAIN = Tool("plain")
CLIPS = {
    "p": "bframes=0:ref=1",
    "p-4-references": "bframes=0:ref=4",
    "b": _B,
    "pyramid": "bframes=7:b-adapt=0:b-pyramid=1:ref=4",
    "rect": f"{_B}:rect=1:ref=3:rd=4:limit-modes=0",
    "amp": f"{_B}:rect=1:amp=1:ref=3:rd=4:limit-modes=0",
    "small-blocks": f"{_B}:rect=1:amp=1:rd=5:crf=12:ref=4:limit-modes=0:limit-refs=0",
    "merge-1": f"{_B}:max-merge=1",
    "merge-2": f"{_B}:max-merge=2:rect=1",
    "merge-3": f"{_B}:max-merge=3:b-pyramid=1",
    "merge-4": f"{_B}:max-merge=4:ref=3",
    "merge-5": f"{_B}:max-merge=5:rect=1:ref=3",
    "no-temporal": f"{_B}:no-temporal-mvp=1:ref=3",
    "ctu-16": f"{_B}:ctu=16:rect=1",
    "ctu-32": f"{_B}:ctu=32:rect=1:amp=1",
    "min-cu-16": f"{_B}:min-cu-size=16:rect=1:amp=1",
    "wavefront": f"{_B}:pools=1:wpp=1",
    "slices": f"{_B}:slices=2:pools=1:wpp=1",
    "open-gop": f"{_B}:keyint=6:min-keyint=6:open-gop=1",
    "closed-gop": f"{_B}:keyint=5:min-keyint=5:no-open-gop=1",
    "low-quality": f"{_B}:crf=40:rect=1",
    "lossless-units": f"{_B}:cu-lossless=1:crf=8",
    "transform-skip": f"{_B}:tskip=1:crf=14",
    "deep-transforms": f"{_B}:tu-intra-depth=4:tu-inter-depth=4:max-tu-size=16",
    "intra-refresh": "bframes=0:intra-refresh=1:keyint=8",
}


@pytest.mark.parametrize("name", CLIPS)
def test_prediction_without_residual_equals_the_decoded_picture(name: str) -> None:
    proof = prove(encode(_PLAIN, CLIPS[name]))
    assert not proof.first_difference
    assert proof.perfect
    assert proof.frames == 16
    assert proof.blocks > 500
    assert proof.moving > proof.blocks // 2
    assert (proof.bidirectional > 0) == ("bframes=0" not in CLIPS[name])


@pytest.mark.parametrize(("width", "height"), [(178, 106), (72, 200)])
def test_odd_sizes(width: int, height: int) -> None:
    proof = prove(encode(Tool("odd", width=width, height=height), f"{_B}:ctu=32:rect=1"))
    assert not proof.first_difference
    assert proof.perfect


def test_ten_bits() -> None:
    proof = prove(encode(_PLAIN, f"{_B}:rect=1", pixels="yuv420p10le"), bit_depth=10)
    assert not proof.first_difference
    assert proof.perfect


def test_the_clips_hold_what_they_are_for() -> None:
    """Without this, an encoder that ignores an option would make the proof empty."""
    frames = {
        name: list(parse("h265", encode(_PLAIN, CLIPS[name])))
        for name in ("small-blocks", "slices", "amp", "b")
    }
    blocks = {name: np.concatenate([f.blocks.ravel() for f in some]) for name, some in frames.items()}
    flags = np.bitwise_or.reduce(blocks["small-blocks"]["flags"])
    assert flags == FLAG_SPLIT | FLAG_FINE_REFERENCES
    assert {BlockClass.SKIP, BlockClass.INTER, BlockClass.INTRA} <= set(blocks["b"]["block_class"].tolist())
    assert blocks["slices"]["slice"].max() == 1
    assert set((blocks["amp"]["mb_type"] & 15).tolist()) >= {0, 1, 2, 4, 5, 6, 7}
    assert {frame.slice_type for frame in frames["b"]} == {"I", "P", "B"}
    assert {frame.reference for frame in frames["b"]} == {True, False}


@pytest.mark.parametrize("name", ["small-blocks", "slices", "lossless-units", "wavefront"])
def test_bit_costs_are_the_slice_data(name: str) -> None:
    """All bits between the slice headers and the trailing bits belong to some cell."""
    units = encode(_PLAIN, CLIPS[name])
    for unit, frame in zip(units, parse("h265", units), strict=True):
        total = int(frame.bit_cost.sum())
        # Parameter sets, messages and headers take the rest; emulation prevention adds less than one percent.
        assert total <= 8 * len(unit)
        if frame.slice_type != "I":
            assert total > 0.98 * 8 * len(unit) - 600


@pytest.mark.parametrize("name", ["small-blocks", "transform-skip", "b"])
def test_the_motion_level_is_the_full_level_without_energy(name: str) -> None:
    units = encode(_PLAIN, CLIPS[name])
    for full, motion in zip(
        parse("h265", units), parse("h265", units, Parser("h265", level="motion")), strict=True
    ):
        expected = full.blocks.copy()
        expected["residual_energy"] = 0
        np.testing.assert_array_equal(motion.blocks, expected)
        np.testing.assert_array_equal(motion.splits, full.splits)


def test_unread_intra_slices_change_nothing_else() -> None:
    units = encode(_PLAIN, CLIPS["closed-gop"])
    kinds = set()
    for full, lean in zip(
        parse("h265", units), parse("h265", units, Parser("h265", skip_intra=True)), strict=True
    ):
        kinds.add(full.slice_type)
        assert lean.coverage == 1
        if full.slice_type == "I":
            assert np.all(lean.block_class == BlockClass.INTRA)
            assert np.all(lean.ref_idx == -1)
        else:
            np.testing.assert_array_equal(lean.blocks, full.blocks)
            np.testing.assert_array_equal(lean.splits, full.splits)
    assert kinds == {"I", "P", "B"}


def test_intra_modes_are_those_that_made_the_samples() -> None:
    """Without residual and loop filter a cell is its prediction: it repeats what stands beside it.

    Upright stripes, lying ones, slanting ones, and a flat part. The first row and column of a block may be smoothed (8.4.4.2.6).
    """
    stripes = np.random.default_rng(3).integers(40, 216, 384).repeat(4)
    rows, cols = np.mgrid[:128, :128]
    parts = [stripes[cols], stripes[rows], stripes[128 + cols + 2 * rows], 0 * rows + 90]
    picture = np.vstack([np.hstack(parts[:2]), np.hstack(parts[2:])]).astype(np.uint8)[..., None].repeat(3, 2)
    frames = list(
        pictures("h265", encode_pictures([picture] * 2, "qp=30:keyint=1:ctu=16:min-cu-size=16:aq-mode=0"))
    )
    assert len(frames) == 2
    inner = np.arange(16) % 4 > 0
    met = set()
    for frame, by_poc in frames:
        luma, modes = by_poc[frame.poc], frame.intra_mode
        assert (modes != IntraMode.NONE).all()
        upright, lying, slanting = modes[1:8, 1:8], modes[1:8, 9:], modes[9:, 1:8]
        assert (upright == IntraMode.VERTICAL).mean() > 0.8
        assert (lying == IntraMode.HORIZONTAL).mean() > 0.8
        assert (slanting == IntraMode.ANGULAR).mean() > 0.8
        for y, x in 16 * np.argwhere(frame.blocks["coefficients"] == 0):
            mode = IntraMode(modes[y // 16, x // 16])
            cell = luma[y : y + 16, x : x + 16]
            met.add(mode)
            if mode == IntraMode.VERTICAL:
                assert (cell[:, inner] == luma[y - 1, x : x + 16][inner]).all()
            elif mode == IntraMode.HORIZONTAL:
                assert (cell[inner] == luma[y : y + 16, x - 1, None][inner]).all()
    assert met >= {IntraMode.VERTICAL, IntraMode.HORIZONTAL}
