"""Global motion of a picture from the compact records of its cells, and what moves beside it.

Positions and displacements are complex numbers, x + iy in luma samples: a similarity (shift, zoom, rotation) is
then one line, ``displacement = shift + slope * position``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovstream.plan.grid import CELL_PX
from ovstream.types import FLAG_SPLIT, BoolArray, FloatArray, FrameMetadata

QPEL_PER_PX = 4.0
MAX_SAMPLES = 500  # cells that the fit looks at: enough for a median, few enough to be cheap
PROBES = 14  # of them, whose pairs are tried as starts of the fit
JUDGES = 101  # of them, that choose among those starts
GOLDEN_RATIO = 0.618033988749895
ENOUGH_PX = 0.1  # a pure shift that fits this well needs no zoom or rotation
MIN_KNOWN_SHARE = 0.25  # of the sampled cells: with less motion known, no verdict
MIN_SUPPORT = 0.5  # of the known cells: a camera moves the majority
KEPT_SHARE = 0.5  # of the cells stay in the fit: just under half may move by themselves
FIT_STEPS = 3
INLIER_PX = 0.75
ROUNDING_PX = (
    0.3  # vectors that follow a zoom or rotation are rounded to quarter samples, and chosen coarsely
)
MIN_GAIN = 0.8  # a similarity must cut the trimmed error of a pure shift to this
START_SPEED_PX = 0.75
STOP_SPEED_PX = 0.3
STOP_FRAMES = 3

ComplexArray = npt.NDArray[np.complex64]

# Of the 16 parts (4x4 samples, raster order) of a divided cell, two per quadrant, on its diagonal: one in each half
# of 8x4 and 4x8 partitions. All 16 cost twice as much and differ in 4x4 partitions only.
_PARTS = np.array([0, 5, 2, 7, 8, 13, 10, 15])


@dataclass(frozen=True, slots=True)
class CameraMotion:
    """How the content of the whole picture moved since its reference, at most a picture ago.

    Attributes:
        shift: Displacement at the centre of the picture, luma samples.
        slope: Per sample of distance from the centre: real part zoom (positive: content grows), imaginary part
            rotation in radians.
        speed_px: Root mean square displacement over the picture.
        support: Share of the cells with known motion that follow this motion.
    """

    shift: complex = 0j
    slope: complex = 0j
    speed_px: float = 0.0
    support: float = 0.0

    @property
    def translation_px(self) -> tuple[float, float]:
        """(x, y) of the content at the centre of the picture, luma samples per picture."""
        return self.shift.real, self.shift.imag


STILL = CameraMotion()


class MotionReader:
    """Separates the motion of the camera from the motion of objects, picture by picture.

    One step of time is assumed between a picture and its first reference. Cells that use an older reference
    (`ref_idx` k > 0) may have moved k + 1 times as far, or not at all more when the list repeats a picture
    with other weights; they count as moved only when neither reading fits.

    Args:
        cells_shape: (mb_rows, mb_cols) of the visible picture.
    """

    def __init__(self, cells_shape: tuple[int, int]) -> None:
        rows, cols = cells_shape
        y = (np.arange(rows) - (rows - 1) / 2) * CELL_PX
        x = (np.arange(cols) - (cols - 1) / 2) * CELL_PX
        self._shape = cells_shape
        self._position = (x[None, :] + 1j * y[:, None]).astype(np.complex64)
        self._rms_radius_px = float(np.sqrt(np.mean(np.abs(self._position) ** 2)))
        step = 1
        while -(-rows // step) * -(-cols // step) > MAX_SAMPLES:
            step += 1
        self._sample = np.s_[step // 2 :: step, step // 2 :: step]

    def read(self, frame: FrameMetadata) -> tuple[CameraMotion, FloatArray]:
        """Fits the camera's motion and measures every cell against it.

        Args:
            frame: A P or B picture; an I picture has no motion and gives `STILL` and zeros.

        Returns:
            The motion, and (mb_rows, mb_cols) float32: luma samples per picture beside it, the fastest part of
            divided cells; 0 where a cell has no motion (intra, unknown).
        """
        if frame.slice_type == "I":
            return STILL, np.zeros(self._shape, np.float32)
        blocks = frame.blocks[: self._shape[0], : self._shape[1]]
        content, known, older = _content_motion(blocks, both_lists=frame.slice_type == "B")
        camera = self._camera(content[self._sample], known[self._sample])
        moved = self._beside(camera, content, known, older)
        if frame.splits.size:
            self._read_splits(frame.splits, blocks, camera, moved)
        if camera.slope != 0:
            moved *= moved > ROUNDING_PX
        return camera, moved

    def _camera(self, content: ComplexArray, known: BoolArray) -> CameraMotion:
        motion = content[known]
        if motion.size < max(MIN_KNOWN_SHARE * known.size, 1):
            return STILL
        still_share = 1 - np.count_nonzero(motion) / motion.size
        if still_share >= MIN_SUPPORT:
            return CameraMotion(support=still_share)
        position = self._position[self._sample][known]
        shift, slope = _fit_similarity(position, motion)
        tolerance_px = INLIER_PX + 0.1 * abs(shift)
        support = float(np.mean(np.abs(motion - shift - slope * position) < tolerance_px))
        if support < MIN_SUPPORT:
            return STILL
        speed_px = float(np.hypot(abs(shift), abs(slope) * self._rms_radius_px))
        return CameraMotion(shift=shift, slope=slope, speed_px=speed_px, support=support)

    def _beside(
        self, camera: CameraMotion, content: ComplexArray, known: BoolArray, older: npt.NDArray[np.int8]
    ) -> FloatArray:
        """(mb_rows, mb_cols) float32, distance of each cell's motion from the camera's."""
        model = _model(camera, self._position)
        moved: FloatArray = np.abs(content - model)
        moved *= known
        far = np.flatnonzero(older > 0)
        if far.size:
            per_step = content.ravel()[far] / (older.ravel()[far] + np.float32(1))
            np.put(moved, far, np.minimum(moved.ravel()[far], np.abs(per_step - model.ravel()[far])))
        return moved

    def _read_splits(
        self,
        splits: npt.NDArray[np.void],
        blocks: npt.NDArray[np.void],
        camera: CameraMotion,
        moved: FloatArray,
    ) -> None:
        """Raises `moved` of divided cells to their fastest part (list 0)."""
        where = np.flatnonzero((np.ascontiguousarray(blocks["flags"]) & FLAG_SPLIT) != 0)
        numbers = np.ascontiguousarray(blocks["split"]).ravel()[where]
        content = _content(splits["mv"][:, 0][numbers[:, None], _PARTS])
        ref_idx = np.ascontiguousarray(splits["ref_idx"][:, 0])[numbers]
        model = _model(camera, self._position.ravel()[where])  # hardly differs inside a cell
        if not ref_idx.any():
            beside = np.abs(content - model[:, None])
        else:
            steps = np.repeat(ref_idx, 2, axis=1) + np.float32(1)
            beside = np.abs(content / np.maximum(steps, 1) - model[:, None])
            beside *= steps > 0
        np.put(moved, where, np.maximum(moved.ravel()[where], beside.max(axis=1)))


class CameraWatch:
    """Says whether the camera is moving, without flicker, and how far it went.

    Attributes:
        moving: The verdict: starts at `START_SPEED_PX`, ends after `STOP_FRAMES` pictures below `STOP_SPEED_PX`.
        stopped: The verdict ended with the last picture.
    """

    def __init__(self) -> None:
        self.moving = False
        self.stopped = False
        self._still_frames = 0
        self._shift = 0j
        self._slope = 0j

    def update(self, camera: CameraMotion, *, pictures: int = 1) -> None:
        """Takes the motion of one more picture, in the order of presentation; it stands for so many `pictures`."""
        self._shift += camera.shift * pictures
        self._slope += camera.slope * pictures
        self._still_frames = 0 if camera.speed_px >= STOP_SPEED_PX else self._still_frames + 1
        was_moving = self.moving
        if camera.speed_px >= START_SPEED_PX:
            self.moving = True
        elif self._still_frames >= STOP_FRAMES:
            self.moving = False
        self.stopped = was_moving and not self.moving

    def travel_px(self, radius_px: float) -> float:
        """How far content at `radius_px` from the centre went since `arrive`; shaking cancels out."""
        return float(np.hypot(abs(self._shift), abs(self._slope) * radius_px))

    def arrive(self) -> None:
        """Starts a new journey: everything was just encoded as the camera sees it now."""
        self._shift = self._slope = 0j


def _content_motion(
    blocks: npt.NDArray[np.void], *, both_lists: bool
) -> tuple[ComplexArray, BoolArray, npt.NDArray[np.int8]]:
    """Content motion of every cell, where it is known, and the index of its reference in list 0.

    A cell that is predicted from list 1 alone points to the future: its content moves along its vector.
    """
    older = np.ascontiguousarray(blocks["ref_idx"][:, :, 0])
    content = _content(blocks["mv"][:, :, 0])
    known = older >= 0
    if both_lists:
        from_future = ~known & (blocks["ref_idx"][:, :, 1] >= 0)
        content[from_future] = -_content(blocks["mv"][:, :, 1])[from_future]
        known |= from_future
    return content, known, older


def _content(vectors: npt.NDArray[np.int16]) -> ComplexArray:
    """(..., 2) int16 quarter-sample vectors to (...) complex64 motion of the content: the other way, in samples."""
    packed = np.ascontiguousarray(vectors.view(np.int32)).view(np.int16)  # one copy of pairs is much quicker
    pairs = packed.astype(np.float32)
    pairs *= np.float32(-1 / QPEL_PER_PX)
    return pairs.view(np.complex64)[..., 0]


def _model(camera: CameraMotion, position: ComplexArray) -> ComplexArray:
    if camera.slope == 0:
        return np.broadcast_to(np.complex64(camera.shift), position.shape)
    model: ComplexArray = position * np.complex64(camera.slope)
    model += np.complex64(camera.shift)
    return model


def _fit_similarity(position: ComplexArray, motion: ComplexArray) -> tuple[complex, complex]:
    """Trimmed least squares, without chance: the same input gives the same result.

    Two starts, the median shift and the best of all similarities through two of `PROBES` cells spread over the
    picture, are improved by fitting the best `KEPT_SHARE` of the cells again (Rousseeuw's concentration steps).

    Returns:
        (shift, slope) of `CameraMotion`.
    """
    plain = complex(_median(motion.real), _median(motion.imag))
    plain_error = _trimmed_error(np.abs(motion - np.complex64(plain)))
    if motion.size < 2 * PROBES or plain_error <= ENOUGH_PX:
        return plain, 0j
    starts = ((plain, 0j), _best_through_pairs(position, motion))
    error, shift, slope = min((_concentrate(position, motion, *start) for start in starts), key=_first)
    return (shift, slope) if error < MIN_GAIN * plain_error else (plain, 0j)


def _best_through_pairs(position: ComplexArray, motion: ComplexArray) -> tuple[complex, complex]:
    probes, judges = _spread(PROBES, motion.size), _spread(JUDGES, motion.size)
    one, other = np.triu_indices(PROBES, 1)
    apart = probes[one] != probes[other]  # of few cells two may be the same
    one, other = one[apart], other[apart]
    span = position[probes[other]] - position[probes[one]]
    slopes = (motion[probes[other]] - motion[probes[one]]) / span
    shifts = motion[probes[one]] - slopes * position[probes[one]]
    distance_px = np.abs(motion[judges] - shifts[:, None] - slopes[:, None] * position[judges])
    kept_count = int(KEPT_SHARE * distance_px.shape[1])
    best = int(np.partition(distance_px, kept_count, axis=1)[:, kept_count].argmin())
    return complex(shifts[best]), complex(slopes[best])


def _spread(count: int, size: int) -> npt.NDArray[np.intp]:
    """`count` positions in a raster of `size`, by the golden ratio: equal steps could stay in one column."""
    return (np.arange(count) * GOLDEN_RATIO % 1.0 * size).astype(np.intp)


def _concentrate(
    position: ComplexArray, motion: ComplexArray, shift: complex, slope: complex
) -> tuple[float, complex, complex]:
    """Fits again and again to the cells that fitted best; returns (trimmed error, shift, slope)."""
    kept_count = max(int(KEPT_SHARE * motion.size), 2)
    for _ in range(FIT_STEPS):
        distance_px = np.abs(motion - np.complex64(shift) - np.complex64(slope) * position)
        kept = np.argpartition(distance_px, kept_count - 1)[:kept_count]
        x, y = position[kept], motion[kept]
        x_mean = x.mean()
        x = x - x_mean
        spread = float(np.vdot(x, x).real)
        slope = complex(np.vdot(x, y)) / spread if spread > 0 else 0j
        shift = complex(y.mean()) - slope * complex(x_mean)
    return _trimmed_error(np.abs(motion - np.complex64(shift) - np.complex64(slope) * position)), shift, slope


def _trimmed_error(distance_px: FloatArray) -> float:
    kept_count = max(int(KEPT_SHARE * distance_px.size), 1)
    return float(np.partition(distance_px, kept_count - 1)[:kept_count].mean())


def _median(values: FloatArray) -> float:
    """The upper median: `np.median` costs several times as much on short arrays."""
    return float(np.partition(values, values.size // 2)[values.size // 2])


def _first(fit: tuple[float, complex, complex]) -> float:
    return fit[0]
