"""H.265 residual energy and quantisers: energy is the squared difference of decoded and predicted samples.

A wrong quantiser shows at once: one step of QP is 26 percent of energy. Grey clips, so that luma is all there is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ovstream.types import FrameMetadata
from tests.native.hevc_proof import Prediction, blocks_of, encode, predict
from tests.native.proof import pictures
from tests.native.streams import Tool

_B = "bframes=3:b-adapt=0:aq-mode=0"
CLIPS = {
    "constant": f"{_B}:qp=26",
    "high": f"{_B}:qp=38",
    "low": f"{_B}:qp=12",
    "adaptive": "bframes=3:b-adapt=0:aq-mode=2:aq-strength=2.5:qg-size=16:crf=24",
    "adaptive-small-groups": "bframes=3:b-adapt=0:aq-mode=3:aq-strength=3:qg-size=8:crf=22:ctu=32",
    "scaling-lists": f"{_B}:qp=26:scaling-list=default",
    "transform-skip": f"{_B}:qp=20:tskip=1",
    "lossless": "bframes=2:lossless=1",
}


def _energies(frame: FrameMetadata, at: Prediction, plane: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Ours and the true energy of each 32x32 square that is inter all over: (n, 2)."""
    squares = np.zeros((2, plane.shape[0] // 32 + 1, plane.shape[1] // 32 + 1))
    difference = (blocks_of(plane, at) - at.samples).astype(np.float64) ** 2
    np.add.at(squares[0], (at.rows // 8, at.cols // 8), difference.sum(axis=(1, 2)))
    np.add.at(squares[1], (at.rows // 8, at.cols // 8), 1)
    ours = np.zeros_like(squares[0])
    rows, cols = np.indices(frame.mb_shape)
    np.add.at(ours, (rows // 2, cols // 2), frame.residual_energy.astype(np.float64))
    whole = squares[1] == 64
    return np.stack([ours[whole], squares[0][whole]], axis=1)


@pytest.mark.parametrize("name", CLIPS)
def test_energy_is_the_squared_difference_of_samples(name: str) -> None:
    units = encode(Tool("grey", noise=10), CLIPS[name], pixels="gray")
    found = []
    quantisers = set()
    for frame, by_poc in pictures("h265", units):
        quantisers |= set(frame.qp.ravel().tolist())
        if frame.slice_type != "I":
            found.append(_energies(frame, predict(frame, by_poc, 8), by_poc[frame.poc]))
    energies = np.concatenate(found)
    assert np.all((energies[:, 0] == 0) <= (energies[:, 1] == 0))
    strong = energies[energies.max(axis=1) > 4 * 32 * 32]
    assert len(strong) > 20
    ratio = strong[:, 0] / strong[:, 1]
    assert abs(np.median(ratio) - 1) < 0.02
    assert np.all(abs(ratio - 1) < 0.1)
    assert (len(quantisers) > 6) == ("adaptive" in name)
