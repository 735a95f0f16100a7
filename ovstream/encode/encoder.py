"""An encoder: a model folder's model, in one of three modes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from ovstream.encode.backend import Backend, Job
from ovstream.encode.drift import DriftCorrection
from ovstream.encode.output import Output
from ovstream.encode.state import EncoderState
from ovstream.errors import ConfigError
from ovstream.model.folder import GOLDEN_GRID, CacheType, ModelFolder, golden_patches
from ovstream.types import ModelInfo, Patches

if TYPE_CHECKING:
    from ovstream.types import FloatArray

Mode = Literal["fast", "exact", "dense"]
Slots = npt.NDArray[np.int64]

DEFAULT_PROBES = 4


class Encoder:
    """A model that turns patches into vectors, given the state of their stream; made by `load_encoder`.

    Attributes:
        info: What a subscriber must know about the model.
        mode: As in `load_encoder`.
        backend: What computes.
        golden_error: Distance between this machine's answer to the self-test and torch's, in units of the distance
            between two unrelated inputs; about 1e-6 in float32.
    """

    def __init__(
        self,
        manifest: ModelFolder,
        backend: Backend,
        *,
        mode: Mode,
        probes: int = DEFAULT_PROBES,
        cache: CacheType = "float32",
    ) -> None:
        config = manifest.architecture
        self.info = ModelInfo(
            model_id=manifest.model_id,
            digest=manifest.digest,
            trained=manifest.trained,
            dim=config.hidden_size,
            patch_px=config.patch_size,
            max_tokens=manifest.max_tokens,
            mean=manifest.mean,
            std=manifest.std,
        )
        self.mode: Mode = mode
        self._config = config
        self.backend = backend
        self._manifest = manifest
        self._probes = probes
        self._cache: CacheType = cache
        self._correction = DriftCorrection(config, probes=probes) if mode == "fast" and probes else None
        self._bindings: WeakKeyDictionary[EncoderState, Any] = WeakKeyDictionary()
        self.golden_error = self._self_test(manifest)

    def __repr__(self) -> str:
        return f"Encoder({self.info.model_id!r}, mode={self.mode!r}, digest={self.info.digest!r})"

    def through(self, backend: Backend) -> Encoder:
        """Makes an encoder of the same model that computes by way of another backend, say one that gathers calls."""
        return Encoder(self._manifest, backend, mode=self.mode, probes=self._probes, cache=self._cache)

    def new_state(self, grid: tuple[int, int], *, window_tokens: int | None = None) -> EncoderState:
        """Makes the memory of one stream.

        Args:
            grid: (rows, cols) of patches, at most `info.max_tokens` in all.
            window_tokens: Slots of a window, which remembers patches of up to 64 pictures: at least one for each
                patch of the grid, at most `info.max_tokens`. None: a canvas, the newest content of every patch.

        Raises:
            ConfigError: The grid or the window is empty or too large.
        """
        rows, cols = grid
        most = self.info.max_tokens
        if min(grid) < 1 or rows * cols > most:
            raise ConfigError(f"a grid of {rows}x{cols}: must have 1 to {most} patches")
        if window_tokens is not None and not rows * cols <= window_tokens <= most:
            raise ConfigError(
                f"window_tokens is {window_tokens}: a grid of {rows}x{cols} needs {rows * cols}, the model takes {most}"
            )
        state = EncoderState(
            self._config,
            grid=(rows, cols),
            digest=self.info.digest,
            cache=self._cache,
            window_tokens=window_tokens,
        )
        self._bindings[state] = self.backend.bind(state)
        return state

    def bound(self, state: EncoderState) -> Any:
        """What connects a state with the backend.

        Raises:
            ConfigError: The state was made by another encoder.
        """
        binding = self._bindings.get(state)
        if binding is None:
            raise ConfigError("this state was made by another encoder")
        return binding

    def dense_flops(self, grid: tuple[int, int]) -> int:
        """Floating-point operations of a call with all patches of a grid."""
        patches = grid[0] * grid[1]
        return self._config.flops(patches, patches)

    def choose_probes(self, state: EncoderState, indices: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
        """Names the old patches that a sparse call of mode "fast" encodes again.

        Args:
            state: Made by `new_state`.
            indices: (n,) flat patch numbers that the call encodes anyway.

        Returns:
            (r,) int32, sorted; none in other modes, and none for a window: its probes are patches of the past, whose
            pixels it has kept.
        """
        if self._correction is None or state.window is not None:
            return np.zeros(0, np.int32)
        return self._correction.choose(state, indices.astype(np.int64)).astype(np.int32)

    def encode_patches(
        self,
        state: EncoderState,
        patches: Patches | FloatArray,
        positions: npt.NDArray[np.int64] | None = None,
        *,
        probes: Patches | None = None,
    ) -> Output:
        """Encodes the patches of one picture; all others stay what they were.

        Without patches nothing runs and the scene is the previous one, bit for bit. The order of the patches makes no
        difference. All living patches together are a dense pass: nothing of the past remains. In a window patches
        join those that are there: see `ovstream.encode.window`.

        Args:
            state: Made by `new_state` of this encoder; it is changed.
            patches: Of the state's grid, or (n, 3, patch, patch) float32, normalised.
            positions: (n, 3) int64 (t, h, w), the slot being h * cols + w; may be None for `Patches`, which then
                stand at t = 0, in a window at the time after the last, a whole picture at 0.
            probes: Pixels of this picture for `choose_probes`, or for those that still look as they did; they keep
                their positions. By default the probes are encoded from the pixels that the state has kept, and
                changes too small to be given as patches stay unseen.

        Returns:
            Scene and event embedding; tokens on request.

        Raises:
            ConfigError: The arguments do not fit each other or the state, or nothing was ever encoded.
            ModelError: onnxruntime failed.
        """
        binding = self.bound(state)
        pixels, places, slots = state.locate(patches, positions)
        old, _, probed = state.locate(probes) if probes is not None else (None, None, None)
        if probed is not None and probed.size and state.window is not None:
            raise ConfigError("a window takes its probes from the past that it has kept: give it none")
        if probed is not None and (np.isin(probed, slots).any() or not state.alive[probed].all()):
            raise ConfigError("a probe must have been encoded before, and not be among the patches")
        if slots.size == 0:
            state.updated(slots)
            if state.output is None:
                raise ConfigError("the state is empty: encode some patches first")
            return state.output
        given = slots.size
        slots = state.admit(pixels, places, slots)
        run = np.flatnonzero(state.alive)
        flops = 0
        if self.mode == "dense" or run.size == slots.size:  # slots are alive now, and none is named twice
            self._run(binding, state, run)
            state.drift = 0.0
        elif self._correction is None:
            run = slots
            self._run(binding, state, run)
            state.drift = None
        else:
            if probed is None or old is None or state.window is not None:
                probed = self._correction.choose(state, slots)
            else:
                state.store(old, state.positions[probed], probed)
            run = np.concatenate([slots, probed])
            flops = self._run_corrected(self._correction, binding, state, run, probed)
        return state.publish(
            event=state.tokens[slots[:given]].mean(axis=0),
            n_updated=run.size,
            flops=flops + self._config.flops(run.size, len(state.alive)),
        )

    def refresh(self, state: EncoderState) -> Output:
        """Encodes everything that the state remembers again, each patch in the presence of all others.

        Raises:
            ConfigError: The state is empty, or was made by another encoder.
            ModelError: onnxruntime failed.
        """
        run = np.flatnonzero(state.alive)
        if not run.size:
            raise ConfigError("the state is empty: encode some patches first")
        self._run(self.bound(state), state, run)
        state.drift = 0.0
        return state.publish(
            event=None, n_updated=run.size, flops=self._config.flops(run.size, len(state.alive))
        )

    def _run_corrected(
        self, correction: DriftCorrection, binding: Any, state: EncoderState, run: Slots, probed: Slots
    ) -> int:
        """Encodes and corrects the others; returns the operations of the correction."""
        if probed.size < correction.FEWEST:
            self._run(binding, state, run)
            return 0
        before = correction.read(state, probed)
        self._run(binding, state, run)
        innovation = correction.spread(state, before)
        state.drift = None if state.drift is None else state.drift + innovation
        return correction.flops(probed.size, len(state.alive))

    def _run(self, binding: Any, state: EncoderState, slots: Slots) -> None:
        run = np.sort(slots)
        self.backend.run([Job(binding, state.reference[run], state.positions[run], run)])
        state.updated(run)

    def encode_image(self, rgb: npt.NDArray[np.uint8], *, max_tokens: int | None = None) -> Output:
        """Encodes one picture by itself.

        Args:
            rgb: (H, W, 3) uint8; it is scaled to the grid of patches that fits its aspect.
            max_tokens: Most patches; by default as many as the images of training had.

        Raises:
            ConfigError: `rgb` is not an image.
            ModelError: onnxruntime failed.
        """
        from ovstream.encode.images import image_patches

        usual = (self._config.image_size // self._config.patch_size) ** 2
        limit = min(max_tokens or usual, self.info.max_tokens)
        patches = image_patches(rgb, self.info, max_tokens=limit)
        return self.encode_patches(self.new_state(patches.grid), patches)

    def _self_test(self, manifest: ModelFolder) -> float:
        rows, cols = GOLDEN_GRID
        everywhere = np.stack(
            [np.zeros(rows * cols, np.int64), *np.divmod(np.arange(rows * cols), cols)], axis=1
        )
        expected = np.array(manifest.golden)
        found = [
            self.encode_patches(self.new_state(GOLDEN_GRID), patches, everywhere).scene
            for patches in golden_patches(self._config)
        ]
        distance = np.linalg.norm(expected[0] - expected[1])
        return float(np.linalg.norm(np.array(found) - expected, axis=1).max() / distance)
