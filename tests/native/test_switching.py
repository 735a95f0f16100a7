"""SP and SI slices (H.264 Extended profile): what is read of them, and the samples that come of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import Corpus
from tests.native.oracle import read_units
from tests.native.proof import decode, parse
from tests.native.reconstruct import samples
from tests.native.streams import Tool, encode
from tests.native.switching import SWITCHABLE, rewrite

# The first test may have to build the decoder.
pytestmark = pytest.mark.timeout(900)

PLANES = ("block_class", "qp", "mv", "ref_idx", "intra_size", "coded_block_pattern", "residual_energy")
SCENE = "conformance-h264/foreman.264"
SAME_SCENE = "conformance-h264/foreman_cif_IbBbBbBbP.264"
SIZE = (288, 352)
# PSNR in dB of all its pictures.
CLEAR = 31


@pytest.mark.parametrize("tool", SWITCHABLE, ids=lambda tool: tool.name)
def test_switching_slices_read_as_those_they_are_made_of(tool: Tool) -> None:
    """FFmpeg decodes both to the same samples, so that they say the same."""
    units = encode(tool, 6)
    frames = list(parse("h264", units))
    rewritten = rewrite(units, frames)
    expected, decoded = decode("h264", units), decode("h264", rewritten)
    assert len(expected) == len(units)
    for index, (unit, frame, found) in enumerate(
        zip(rewritten, frames, parse("h264", rewritten), strict=True)
    ):
        assert (frame.slice_type == "B") == units[index].endswith(unit)
        assert np.array_equal(expected[index], decoded[index])
        assert (found.errors, found.coverage, found.slice_type) == (0, 1, frame.slice_type)
        for plane in PLANES:
            assert np.array_equal(getattr(frame, plane), getattr(found, plane)), (index, plane)
        if frame.slice_type != "I":
            assert np.array_equal(frame.bit_cost, found.bit_cost)


@pytest.mark.parametrize("as_si", [False, True])
def test_a_switching_picture_shows_the_scene(corpus: Corpus, tmp_path: Path, as_si: bool) -> None:
    """Decoded as 8.6.2 says it is another encoding of the same scene; FFmpeg, which leaves that out, is far off."""
    ours, theirs = fidelities(corpus, tmp_path, as_si=as_si, frames=11)
    assert ours.min() > CLEAR
    assert theirs.min() < CLEAR - 6


def fidelities(
    corpus: Corpus, folder: Path, *, as_si: bool, frames: int | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """PSNR in dB of each picture of the stream with switching pictures: decoded as the standard says, by FFmpeg."""
    units = read_units(corpus.path(SCENE))[:frames]
    if as_si:
        units = rewrite(units, list(parse("h264", units)), of_sp=True)
    ours = samples("h264", {"scene": units}, folder)["scene"].reshape(-1, *SIZE)
    planes = decode("h264", units)
    theirs = np.stack([planes[index] for index in display_order(units)])
    scene = same_scene(corpus, len(ours))
    return fidelity(ours, scene), fidelity(theirs, scene)


def display_order(units: list[bytes]) -> list[int]:
    """Numbers of access units in the order of display; of one sequence."""
    return [
        index for _, index in sorted((frame.poc, index) for index, frame in enumerate(parse("h264", units)))
    ]


def same_scene(corpus: Corpus, frames: int) -> npt.NDArray[np.int32]:
    """Luma of the scene's first pictures (frames, 288, 352), from a better encoding."""
    units = read_units(corpus.path(SAME_SCENE))[: frames + 8]
    planes = decode("h264", units)
    return np.stack([planes[index] for index in display_order(units)[:frames]])


def fidelity(luma: npt.NDArray[np.integer], scene: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """PSNR of each picture in dB."""
    errors: npt.NDArray[np.float64] = ((luma - scene) ** 2.0).mean(axis=(1, 2))
    return 10 * np.log10(255**2 / errors)
