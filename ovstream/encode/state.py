"""Everything that an encoder remembers of one stream."""

from __future__ import annotations

import math
import struct
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ovstream.encode.memory import allocate, cache_layout
from ovstream.encode.output import Output
from ovstream.encode.window import Window
from ovstream.errors import ConfigError, ModelError
from ovstream.model.config import TEMPORAL_POSITIONS, VisionConfig
from ovstream.model.folder import CacheType
from ovstream.types import BoolArray, FloatArray, Patches

MASKED = np.float32(-1e30)
"""Added to the score of a dead slot: its weight becomes exactly 0."""

_MAGIC = b"ovstate1"
_HEADER = struct.Struct("<8s16sHHQ")  # magic, model digest, rows, cols, bytes

CacheArray = npt.NDArray[np.float32] | npt.NDArray[np.float16]


class Mirror(Protocol):
    """Caches that live on a device; the arrays of the state are then as old as the last `pull`."""

    def pull(self) -> None:
        """Brings keys, values and those of the pooling head into the arrays of the state."""

    def push(self) -> None:
        """The other way round."""

    def read_values(self, first_layer: int, slots: npt.NDArray[np.int64]) -> FloatArray:
        """See `EncoderState.read_values`."""

    def add_values(self, first_layer: int, weights: FloatArray, moved: FloatArray) -> None:
        """See `EncoderState.add_values`."""

    def read_head(self, slots: npt.NDArray[np.int64]) -> list[FloatArray]:
        """See `EncoderState.read_head`."""

    def add_head(self, weights: FloatArray, moved: list[FloatArray]) -> None:
        """See `EncoderState.add_head`."""


class EncoderState:
    """Caches of one stream: of N slots, each of which holds a patch.

    A canvas has one slot per patch of the grid, slot = h * cols + w, with its latest content. A window (see
    `ovstream.encode.window`) also remembers what was there before, up to 63 pictures back.

    All arrays are views of one block of memory that never moves, so a session is bound to them once, and a
    snapshot is a copy of the block. Not for two threads at a time.

    Attributes:
        grid: (rows, cols) of patches.
        window: Deals out the slots; None on a canvas.
        keys: (layers, heads, N, head_dim) float32 or float16, turned by their position, in the order of `pair_split`.
        values: (layers, heads, N, head_dim), as `keys`.
        head_keys: (heads, N, head_dim), as `keys`, of the pooling head; absent (None) without one.
        head_values: As `head_keys`.
        tokens: (N, D) float32, last hidden state.
        reference: (N, 3 * patch * patch) float32, the pixels that were last encoded.
        positions: (N, 3) int64, (t, h, w).
        ages: (N,) int32, calls since the slot was encoded.
        alive: (N,) bool, whether the slot was ever encoded.
        mask: (1, N) float32, 0 where alive, `MASKED` elsewhere.
        scene: (D,) float32, last scene embedding.
        mirror: Where keys, values and those of the head are, when not here.
    """

    def __init__(
        self,
        config: VisionConfig,
        *,
        grid: tuple[int, int],
        digest: str,
        cache: CacheType = "float32",
        window_tokens: int | None = None,
    ) -> None:
        self.grid = grid
        self.digest = digest
        patches = grid[0] * grid[1]
        layout = cache_layout(config, window_tokens or patches, np.dtype(cache))
        if window_tokens is not None:
            layout |= {"newest": ((patches,), np.int64), "clock": ((1,), np.int64)}
        self._memory, views = allocate(layout)
        self.window = Window(views["newest"], views["clock"]) if window_tokens is not None else None
        self.keys: CacheArray = views["keys"]
        self.values: CacheArray = views["values"]
        self.head_keys: CacheArray | None = views.get("head_keys")
        self.head_values: CacheArray | None = views.get("head_values")
        self.tokens: FloatArray = views["tokens"]
        self.reference: FloatArray = views["reference"]
        self.positions: npt.NDArray[np.int64] = views["positions"]
        self.ages: npt.NDArray[np.int32] = views["ages"]
        self.alive: BoolArray = views["alive"]
        self.mask: FloatArray = views["mask"]
        self.scene: FloatArray = views["scene"]
        self._drift: FloatArray = views["drift"]
        self.mask[:] = MASKED
        self.mirror: Mirror | None = None
        self._version = 0
        self._published: FloatArray | None = None

    def __repr__(self) -> str:
        known = int(self.alive.sum())
        kind = "canvas" if self.window is None else f"window of {self.alive.size}"
        return f"EncoderState({kind}, grid={self.grid}, alive={known}, memory_bytes={self.memory_bytes})"

    @property
    def memory_bytes(self) -> int:
        """Size of all arrays together; constant over the life of the state."""
        return self._memory.nbytes

    @property
    def version(self) -> int:
        """Counts the changes of the state in this process."""
        return self._version

    @property
    def output(self) -> Output | None:
        """What is known without running anything: the last scene; None before the first patch."""
        return self.publish(event=None, n_updated=0, flops=0) if self.alive.any() else None

    @property
    def drift(self) -> float | None:
        """Sum of the probes' innovations since the last dense pass: see `Output`; None where nobody measured."""
        drift = float(self._drift[0])
        return None if math.isnan(drift) else drift

    @drift.setter
    def drift(self, value: float | None) -> None:
        self._drift[0] = math.nan if value is None else value

    @property
    def staleness(self) -> int:
        """Calls since the oldest living slot was encoded; 0 for an empty state."""
        return int(self.ages[self.alive].max(initial=0))

    def publish(self, *, event: FloatArray | None, n_updated: int, flops: int) -> Output:
        """Makes an output of the current scene; one array serves all outputs of a version."""
        if self._published is None:
            self._published = self.scene.copy()
            self._published.flags.writeable = False
        return Output(
            self._published,
            event,
            n_updated=n_updated,
            flops=flops,
            drift=self.drift,
            staleness=self.staleness,
            _state=self,
            _version=self._version,
        )

    def locate(
        self, patches: Patches | FloatArray, positions: npt.NDArray[np.int64] | None = None
    ) -> tuple[FloatArray, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Brings patches to the form of the graph and finds what is known of their places.

        Args:
            patches: Of the grid of this state, or (n, 3, patch, patch) float32, normalised.
            positions: (n, 3) int64 (t, h, w); may be None for `Patches`, which then stand at t = 0 on a canvas, and
                in a window at the time after the last.

        Returns:
            pixels: (n, 3 * patch * patch) float32.
            positions: (n, 3) int64.
            slots: (n,) int64, of the newest patch at each place; -1 in a window where there is none.

        Raises:
            ConfigError: Shapes do not fit, a number is not finite, a position lies outside the grid, or two
                patches share a place (in a window: at the same time).
        """
        if isinstance(patches, Patches):
            if patches.grid != self.grid:
                raise ConfigError(f"patches of a grid {patches.grid} for a state of {self.grid}")
            positions = patches.positions(self._next_time(patches)) if positions is None else positions
            patches = patches.pixels
        if positions is None:
            raise ConfigError("a plain array of patches needs positions")
        values = self.reference.shape[1]
        pixels = np.ascontiguousarray(patches, np.float32).reshape(
            len(patches), -1 if len(patches) else values
        )
        places = np.ascontiguousarray(positions, np.int64)
        if places.shape != (len(pixels), 3) or pixels.shape[1] != values:
            raise ConfigError(
                f"patches {np.shape(patches)} at positions {np.shape(positions)}: a patch must have {values} numbers "
                "and a position three"
            )
        if not np.isfinite(pixels).all():  # would stay in the caches, and spread from there
            raise ConfigError("patches hold NaN or infinity")
        limits = (TEMPORAL_POSITIONS, *self.grid)
        if np.any(places < 0) or np.any(places >= limits):
            raise ConfigError(f"positions (t, h, w) must be inside {limits}")
        cells = self._cells(places)
        unique = cells if self.window is None else cells + places[:, 0] * self.grid[0] * self.grid[1]
        if len(set(unique.tolist())) != len(unique):
            raise ConfigError("two patches share a slot")
        return pixels, places, cells if self.window is None else self.window.newest[cells]

    def _next_time(self, patches: Patches) -> int:
        """When patches come that do not say it: a whole picture begins a window."""
        whole = len(patches) == self.grid[0] * self.grid[1]
        return 0 if self.window is None or whole else self.window.next_time

    def _cells(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(n, 3) positions -> (n,) flat patch numbers."""
        return positions[:, 1] * self.grid[1] + positions[:, 2]

    def changed(
        self,
        patches: Patches | FloatArray,
        threshold: float,
        *,
        positions: npt.NDArray[np.int64] | None = None,
    ) -> BoolArray:
        """Tells which patches differ from what was last *encoded* there, so that slow fades are noticed.

        Args:
            patches: As in `locate`.
            threshold: RMS difference in normalised units.
            positions: As in `locate`.

        Returns:
            (n,) bool; true as well where nothing was encoded yet.

        Raises:
            ConfigError: As `locate`.
        """
        pixels, _, slots = self.locate(patches, positions)
        difference = pixels - self.reference[slots]
        mean_square = np.einsum("np,np->n", difference, difference) / np.float32(pixels.shape[1])
        moved: BoolArray = (mean_square > threshold**2) | (slots < 0) | ~self.alive[slots]
        return moved

    def admit(
        self, pixels: FloatArray, positions: npt.NDArray[np.int64], slots: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Gives patches that are about to be encoded their slots, and takes them over.

        Where they begin a new window without being a whole picture, the places that they leave out go on with the
        pixels that the state has kept.

        Args:
            pixels: As from `locate`, as the others.
            positions: (n, 3) int64.
            slots: (n,) int64.

        Returns:
            (n or more,) int64, slots: those of the patches in their order, then of places that were left out.

        Raises:
            ConfigError: They do not fit in the window, or come out of time; nothing has changed then.
        """
        if self.window is not None:
            if self.window.begins(positions[:, 0]):
                pixels, positions = self._completed(pixels, positions)
            slots = self.window.assign(
                self.positions,
                self._cells(self.positions),
                self.alive,
                new=self._cells(positions),
                at=positions[:, 0],
            )
            self.mask[0] = np.where(self.alive, np.float32(0), MASKED)
        self.store(pixels, positions, slots)
        return slots

    def _completed(
        self, pixels: FloatArray, positions: npt.NDArray[np.int64]
    ) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        """Adds the newest pixels of all places that are not given, at t = 0."""
        assert self.window is not None
        missing = self.window.newest >= 0
        missing[self._cells(positions)] = False
        kept = self.window.newest[missing]
        others = self.positions[kept] * np.array([0, 1, 1])
        return np.concatenate([pixels, self.reference[kept]]), np.concatenate([positions, others])

    def store(
        self, pixels: FloatArray, positions: npt.NDArray[np.int64], slots: npt.NDArray[np.int64]
    ) -> None:
        """Takes over what is about to be encoded in known slots; arguments as from `locate`."""
        self.reference[slots] = pixels
        self.positions[slots] = positions
        self.alive[slots] = True
        self.mask[0, slots] = 0

    def newest_tokens(self) -> FloatArray:
        """(rows * cols, D) float32, a copy: the last hidden state of the newest patch of every place."""
        if self.window is None:
            return self.tokens.copy()
        known = self.window.newest >= 0
        tokens: FloatArray = np.zeros((known.size, self.tokens.shape[1]), np.float32)
        tokens[known] = self.tokens[self.window.newest[known]]
        return tokens

    def updated(self, slots: npt.NDArray[np.int64]) -> None:
        """Closes a call: every slot is one call older, and those that were encoded are new."""
        self.ages += 1
        self.ages[slots] = 0
        if slots.size:
            self._new_version()

    def _new_version(self) -> None:
        self._version += 1
        self._published = None

    def read_values(self, first_layer: int, slots: npt.NDArray[np.int64]) -> FloatArray:
        """(layers, heads, n, head_dim) float32, a copy: values of some slots, from a layer on."""
        if self.mirror is not None:
            return self.mirror.read_values(first_layer, slots)
        return self.values[first_layer:, :, slots].astype(np.float32)

    def add_values(self, first_layer: int, weights: FloatArray, moved: FloatArray) -> None:
        """Moves the values of all slots.

        Args:
            first_layer: From which on.
            weights: (N, r) float32.
            moved: (layers, heads, r, head_dim) float32.
        """
        if self.mirror is not None:
            self.mirror.add_values(first_layer, weights, moved)
            return
        for layer, part in enumerate(moved, start=first_layer):
            self.values[layer] += weights @ part

    def read_head(self, slots: npt.NDArray[np.int64]) -> list[FloatArray]:
        """Keys and values of the pooling head at some slots, (heads, n, head_dim) float32 each; empty without one."""
        if self.mirror is not None:
            return self.mirror.read_head(slots)
        return [cache[:, slots].astype(np.float32) for cache in self._head]

    def add_head(self, weights: FloatArray, moved: list[FloatArray]) -> None:
        """As `add_values`, for what `read_head` gives."""
        if self.mirror is not None:
            self.mirror.add_head(weights, moved)
            return
        for cache, part in zip(self._head, moved, strict=True):
            cache += weights @ part

    @property
    def _head(self) -> list[CacheArray]:
        return [cache for cache in (self.head_keys, self.head_values) if cache is not None]

    def snapshot(self) -> bytes:
        """Copies the whole state; `restore` brings it back bit for bit, also in another process."""
        if self.mirror is not None:
            self.mirror.pull()
        rows, cols = self.grid
        header = _HEADER.pack(_MAGIC, self.digest.encode(), rows, cols, self.memory_bytes)
        return header + self._memory.tobytes()

    def restore(self, snapshot: bytes) -> None:
        """Takes over a `snapshot`.

        Raises:
            ModelError: It is damaged, or of another model or grid; the state is then as before.
        """
        rows, cols = self.grid
        expected = _HEADER.pack(_MAGIC, self.digest.encode(), rows, cols, self.memory_bytes)
        if snapshot[: len(expected)] != expected or len(snapshot) != len(expected) + self.memory_bytes:
            raise ModelError(f"not a snapshot of model {self.digest} with a grid of {rows}x{cols}")
        self._memory[:] = np.frombuffer(snapshot, np.uint8, offset=len(expected))
        if self.mirror is not None:
            self.mirror.push()
        self._new_version()
