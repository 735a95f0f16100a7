"""Gathers what a stream gives to its model: the patches that the codec says have changed.

Nothing is parsed, planned or cropped here: a stream runs as always, and its encoder's backend is listened to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ovstream.config import PRIVATE
from ovstream.encode import EncoderState, load_encoder
from ovstream.encode.backend import Backend, Job
from ovstream.errors import TrainingError
from ovstream.pipeline import open as open_stream
from ovstream.training.packs import History
from ovstream.types import ModelInfo

MOST_PATCHES = 60_000


def pixels_of(job: Job, info: ModelInfo) -> npt.NDArray[np.uint8]:
    """(n, 3, patch, patch): the patches of a job as they were before the normalisation of its model."""
    side = info.patch_px
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (info.mean, info.std))
    values = job.patches.reshape(len(job), 3, side, side) * std + mean
    pixels: npt.NDArray[np.uint8] = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    return pixels


class Listener:
    """Stands between an encoder and its backend, and keeps the patches that pass while `listening`.

    Args:
        backend: Does the work.
        info: Of the model: how its pixels are normalised.
        most: Patches to keep; later ones are let go.
    """

    def __init__(self, backend: Backend, info: ModelInfo, *, most: int = MOST_PATCHES) -> None:
        self._backend, self._info, self._most = backend, info, most
        self._grid: tuple[int, int] | None = None
        self._slots: list[npt.NDArray[np.int16]] = []
        self._pixels: list[npt.NDArray[np.uint8]] = []
        self.listening = False
        self.patches = 0

    @property
    def lanes(self) -> int:
        """Of the backend behind."""
        return self._backend.lanes

    @property
    def full(self) -> bool:
        """Whether no more is kept."""
        return self.patches >= self._most

    def bind(self, state: EncoderState) -> Any:
        """As the backend behind; the first state says what grid is kept."""
        if self.listening and self._grid is None:
            self._grid = state.grid
        return self._backend.bind(state), state.grid

    def run(self, jobs: Sequence[Job]) -> None:
        """Keeps what is to run, and lets it run."""
        for job in jobs:
            if self.listening and job.binding[1] == self._grid and not self.full:
                self._keep(job)
        self._backend.run([Job(job.binding[0], job.patches, job.positions, job.slots) for job in jobs])

    def history(self, source: int) -> History:
        """What was gathered.

        Raises:
            TrainingError: Nothing was, or not from a whole picture on.
        """
        if self._grid is None or not self._slots or len(self._slots[0]) < self._grid[0] * self._grid[1]:
            raise TrainingError("the stream gave no whole picture")
        counts = [len(slots) for slots in self._slots]
        return History(
            grid=self._grid,
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            slots=np.concatenate(self._slots),
            pixels=np.concatenate(self._pixels),
            source=source,
        )

    def _keep(self, job: Job) -> None:
        self._slots.append(job.slots.astype(np.int16))
        self._pixels.append(pixels_of(job, self._info))
        self.patches += len(job)


def gather(url: str | Path, *, source: int, most: int = MOST_PATCHES, **options: Any) -> History:
    """Runs one stream to its end, or until enough was gathered, and returns its patches.

    Args:
        url: Anything that `ovstream.open` takes.
        source: Line of `sources.tsv`.
        most: Patches that are enough.
        **options: Of `ovstream.open`.

    Raises:
        TrainingError: The stream gave no whole picture.
        SourceError: It cannot be opened.
    """
    encoder = load_encoder(mode="fast", probes=0)
    listener = Listener(encoder.backend, encoder.info, most=most)
    listened = encoder.through(listener)
    listener.listening = True  # only now: the encoder tests itself when it is made

    async def listen() -> None:
        async with open_stream(url, encoder=listened, **{**PRIVATE, **options}) as stream:
            async for _ in stream:
                if listener.full:
                    break

    asyncio.run(listen())
    return listener.history(source)
