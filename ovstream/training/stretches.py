"""Short stretches of running streams, held in memory alone: what a model is adapted with.

A stretch is a whole picture and the patches that the codec says came after it. It lives in the memory of the process,
is never written, and is overwritten when it is let go.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ovstream.encode import EncoderState
from ovstream.encode.backend import Backend, Job
from ovstream.training.gather import pixels_of
from ovstream.types import ModelInfo

HOLD_OUT = 5
"""Every so many stretches of a stream one is kept from the training, to judge it."""
UPDATE = 0.125
"""Share of the patches that a whole picture, met on the way, gives as an update."""
CUT = 0.5
"""Share of changed patches from which on another scene begins."""
LEAST_CHANGE = 6.0
"""Mean difference in levels of 255 from which on a patch of a whole picture has changed."""
Grid = tuple[int, int]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """One update history; V versions of the N tokens of a grid, V = N + updates.

    Attributes:
        grid: (rows, cols) of patches.
        pixels: (V, 3, patch, patch) uint8: the whole picture in the order of the slots, then the updates.
        slots: (V,) int64.
        born: (V,) int64, step of the update; 0 for the picture.
    """

    grid: Grid
    pixels: Pixels
    slots: npt.NDArray[np.int64]
    born: npt.NDArray[np.int64]

    def last(self) -> Pixels:
        """(N, 3, patch, patch): the picture at its end."""
        latest = np.zeros(self.grid[0] * self.grid[1], np.int64)
        latest[self.slots] = np.arange(len(self.slots))  # of equal slots the last one stays
        return self.pixels[latest]

    def forget(self) -> None:
        """Overwrites the pixels."""
        self.pixels.fill(0)


class Reservoir:
    """A fair sample of all stretches that came, of bounded size; stretches to judge by are kept apart.

    Args:
        most: Stretches for training; a quarter of that many more are kept to judge by.
        seed: Of the sample.

    Attributes:
        offered: Stretches that came.
    """

    def __init__(self, *, most: int, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._kept: tuple[list[Stretch], list[Stretch]] = ([], [])
        self._most = (most, max(2, most // 4))
        self._seen = [0, 0]
        self.offered = 0

    @property
    def training(self) -> Sequence[Stretch]:
        """To train with."""
        return self._kept[0]

    @property
    def held_out(self) -> Sequence[Stretch]:
        """To judge by."""
        return self._kept[1]

    def offer(self, stretch: Stretch, *, held_out: bool) -> None:
        """Takes a stretch, perhaps in the place of another."""
        which = int(held_out)
        with self._lock:
            kept, most = self._kept[which], self._most[which]
            self.offered += 1
            self._seen[which] += 1
            if len(kept) < most:
                kept.append(stretch)
                return
            place = int(self._rng.integers(self._seen[which]))
            if place >= most:
                stretch.forget()
                return
            kept[place].forget()
            kept[place] = stretch

    def forget(self) -> None:
        """Overwrites everything."""
        with self._lock:
            for kept in self._kept:
                for stretch in kept:
                    stretch.forget()
                kept.clear()


class Tap:
    """Stands between the encoder of one stream and its backend, and offers what passes to a reservoir.

    Args:
        backend: Does the work.
        info: Of the model: how its pixels are normalised.
        reservoir: Gets the stretches.
        updates: Patches of a stretch after its picture, as a share of the grid.

    Attributes:
        listening: Whether what passes is taken note of.
        pictures: That gave patches meanwhile.
    """

    def __init__(self, backend: Backend, info: ModelInfo, reservoir: Reservoir, *, updates: float) -> None:
        self._backend, self._info, self._reservoir = backend, info, reservoir
        self._share = updates
        self._grid: Grid = (0, 0)
        self._newest: Pixels | None = None  # of every patch
        self._start: Pixels | None = None  # of the stretch
        self._encoded: Pixels | None = None  # what an encoder without further whole passes would hold
        self._parts: list[tuple[npt.NDArray[np.int64], Pixels]] = []
        self._count = 0
        self.listening = False
        self.pictures = 0

    @property
    def lanes(self) -> int:
        """Of the backend behind."""
        return self._backend.lanes

    def bind(self, state: EncoderState) -> Any:
        """As the backend behind."""
        return self._backend.bind(state), state.grid

    def run(self, jobs: Sequence[Job]) -> None:
        """Takes note of what is to run, and lets it run."""
        if self.listening:
            for job in jobs:
                self._note(job)
        self._backend.run([Job(job.binding[0], job.patches, job.positions, job.slots) for job in jobs])

    def _note(self, job: Job) -> None:
        grid: Grid = job.binding[1]
        self.pictures += 1
        slots, pixels = job.slots.astype(np.int64), pixels_of(job, self._info)
        tokens = grid[0] * grid[1]
        if len(slots) == tokens:
            whole = np.empty_like(pixels)
            whole[slots] = pixels
            if grid != self._grid or self._encoded is None:
                self._grid = grid
                self._begin(whole)
                return
            slots = self._changed(whole)
            pixels, self._newest = whole[slots], whole
        elif grid != self._grid or self._newest is None:
            return
        else:
            self._newest[slots] = pixels
        if len(slots) > CUT * tokens:
            self._begin(self._newest)
        elif len(slots):
            self._go_on(slots, pixels, tokens)

    def _changed(self, whole: Pixels) -> npt.NDArray[np.int64]:
        """Slots that differ most from what is encoded: as many as a sparse update may have, all after a cut."""
        assert self._encoded is not None
        change = np.abs(whole.astype(np.int16) - self._encoded).mean((1, 2, 3))
        order = np.argsort(-change, kind="stable")[: int((change > LEAST_CHANGE).sum())]
        most = max(1, round(UPDATE * len(whole)))
        return order if len(order) > CUT * len(whole) else order[:most]

    def _begin(self, whole: Pixels) -> None:
        self._newest, self._start, self._encoded, self._parts = whole, whole.copy(), whole.copy(), []

    def _go_on(self, slots: npt.NDArray[np.int64], pixels: Pixels, tokens: int) -> None:
        assert self._encoded is not None
        left = max(1, round(self._share * tokens)) - sum(len(part) for part, _ in self._parts)
        slots, pixels = slots[:left], pixels[:left]
        self._encoded[slots] = pixels
        self._parts.append((slots, pixels))
        if len(slots) == left:
            self._end(tokens)

    def _end(self, tokens: int) -> None:
        assert self._start is not None
        assert self._newest is not None
        steps = [np.full(len(slots), step) for step, (slots, _) in enumerate(self._parts, 1)]
        stretch = Stretch(
            self._grid,
            np.concatenate([self._start, *(pixels for _, pixels in self._parts)]),
            np.concatenate([np.arange(tokens), *(slots for slots, _ in self._parts)]),
            np.concatenate([np.zeros(tokens, np.int64), *steps]),
        )
        self._count += 1
        self._reservoir.offer(stretch, held_out=self._count % HOLD_OUT == HOLD_OUT // 2)
        self._begin(self._newest)
