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
MAX_SAMPLES = 800  # cells that the fit looks at: enough for a median, few enough to be cheap
MIN_KNOWN_SHARE = 0.25  # of the sampled cells: with less motion known, no verdict
MIN_SUPPORT = 0.5  # of the known cells: a camera moves the majority
KEPT_SHARE = 0.55  # of the cells stay in the least-squares fit
FIT_STEPS = 4
INLIER_PX = 0.75
MIN_GAIN = 0.8  # a similarity must cut the trimmed error of a pure shift to this
START_SPEED_PX = 0.75
STOP_SPEED_PX = 0.3
STOP_FRAMES = 3

ComplexArray = npt.NDArray[np.complex64]


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
        block_y, block_x = np.divmod(np.arange(16), 4)
        offset = (block_x - 1.5) * 4 + 1j * (block_y - 1.5) * 4
        self._split_offset = offset.astype(np.complex64)

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
        self._read_splits(frame, blocks, camera, moved)
        return camera, moved

    def _camera(self, content: ComplexArray, known: BoolArray) -> CameraMotion:
        samples = int(np.count_nonzero(known))
        if samples < max(MIN_KNOWN_SHARE * known.size, 1):
            return STILL
        motion = content[known]
        still_share = np.count_nonzero(motion == 0) / samples
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
        if camera.shift == 0 and camera.slope == 0:
            model = np.zeros(1, np.complex64)
            moved = _length(content)
        else:
            model = self._model(camera, self._position)
            moved = _length(content - model)
            moved *= known
        far = np.nonzero(older > 0)
        if far[0].size:
            model_far = np.broadcast_to(model, self._shape)[far]
            per_step = _length(content[far] / (older[far] + np.float32(1)) - model_far)
            moved[far] = np.minimum(moved[far], per_step)
        return moved

    def _read_splits(
        self, frame: FrameMetadata, blocks: npt.NDArray[np.void], camera: CameraMotion, moved: FloatArray
    ) -> None:
        """Raises `moved` of divided cells to their fastest part."""
        if not frame.splits.size:
            return
        where = np.nonzero(blocks["flags"] & FLAG_SPLIT)
        splits = frame.splits[blocks["split"][where]]
        used = np.repeat(splits["ref_idx"][:, 0] >= 0, 4, axis=1)  # quadrants; all four parts of one are alike
        parts = _complex(splits["mv"][:, 0].reshape(-1, 4, 4, 2)) * np.float32(-1 / QPEL_PER_PX)
        quadrants = parts.reshape(-1, 2, 2, 2, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16)
        position = self._position[where][:, None] + self._split_offset[_QUADRANT_ORDER]
        beside = _length(quadrants - self._model(camera, position)) * used
        older = np.repeat(splits["ref_idx"][:, 0], 4, axis=1)
        beside[older > 0] /= older[older > 0] + np.float32(1)
        moved[where] = np.maximum(moved[where], beside.max(axis=1))

    @staticmethod
    def _model(camera: CameraMotion, position: ComplexArray) -> ComplexArray:
        return np.complex64(camera.shift) + np.complex64(camera.slope) * position


# Raster numbers of the 16 parts of a cell, quadrant by quadrant.
_QUADRANT_ORDER = np.arange(16).reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).ravel()


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

    def update(self, camera: CameraMotion) -> None:
        """Takes the motion of one more picture, in the order of presentation."""
        self._shift += camera.shift
        self._slope += camera.slope
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
    """Content motion (opposite to the vector) of every cell, where it is known, and the reference's index.

    A cell that is predicted from list 1 alone points to the future: its vector is taken as it is.
    """
    older = np.ascontiguousarray(blocks["ref_idx"][:, :, 0])
    content = _complex(blocks["mv"][:, :, 0]) * np.float32(-1 / QPEL_PER_PX)
    known = older >= 0
    if both_lists:
        from_future = np.nonzero(~known & (blocks["ref_idx"][:, :, 1] >= 0))
        content[from_future] = _complex(blocks["mv"][:, :, 1][from_future]) * np.float32(1 / QPEL_PER_PX)
        known[from_future] = True
    return content, known, older


def _complex(vectors: npt.NDArray[np.int16]) -> ComplexArray:
    """(..., 2) int16 to (...) complex64."""
    pairs = np.ascontiguousarray(vectors.astype(np.float32))
    return pairs.view(np.complex64)[..., 0]


def _length(vectors: ComplexArray) -> FloatArray:
    """Absolute value; several times faster than `np.abs`, which guards against overflow."""
    return np.sqrt(vectors.real**2 + vectors.imag**2)


def _median(values: ComplexArray) -> complex:
    return complex(np.median(values.real), np.median(values.imag))


def _fit_similarity(position: ComplexArray, motion: ComplexArray) -> tuple[complex, complex]:
    """Trimmed least squares from two robust starts, without chance: the same input gives the same result.

    The starts are the median shift, and the median slope over pairs of cells half a picture apart; each is
    improved by fitting the best `KEPT_SHARE` of the cells again (Rousseeuw's concentration steps).

    Returns:
        (shift, slope) of `CameraMotion`.
    """
    plain = _median(motion)
    plain_error = _trimmed_error(np.abs(motion - plain))
    half = motion.size // 2
    if half < 8 or plain_error == 0:
        return plain, 0j
    span = position[half : 2 * half] - position[:half]
    slope = _median((motion[half : 2 * half] - motion[:half]) / span)
    starts = ((plain, 0j), (_median(motion - slope * position), slope))
    error, shift, slope = min(
        (_concentrate(position, motion, *start) for start in starts), key=lambda fit: fit[0]
    )
    return (shift, slope) if error < MIN_GAIN * plain_error else (plain, 0j)


def _concentrate(
    position: ComplexArray, motion: ComplexArray, shift: complex, slope: complex
) -> tuple[float, complex, complex]:
    """Fits again and again to the cells that fitted best; returns (trimmed error, shift, slope)."""
    kept_count = max(int(KEPT_SHARE * motion.size), 2)
    for _ in range(FIT_STEPS):
        kept = np.argpartition(_length(motion - shift - slope * position), kept_count - 1)[:kept_count]
        x, y = position[kept], motion[kept]
        x_mean, y_mean = complex(x.mean()), complex(y.mean())
        centred = x - np.complex64(x_mean)
        spread = float(np.vdot(centred, centred).real)
        slope = complex(np.vdot(centred, y)) / spread if spread > 0 else 0j
        shift = y_mean - slope * x_mean
    return _trimmed_error(np.abs(motion - shift - slope * position)), shift, slope


def _trimmed_error(distance_px: FloatArray) -> float:
    kept_count = max(int(KEPT_SHARE * distance_px.size), 1)
    return float(np.partition(distance_px, kept_count - 1)[:kept_count].mean())
