"""Encoders: a model folder, opened in one of three modes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from ovstream.encode.backend import Backend, Job
from ovstream.encode.drift import DriftCorrection
from ovstream.encode.output import Output
from ovstream.encode.state import EncoderState
from ovstream.errors import ConfigError, MissingExtraError, ModelError
from ovstream.model.folder import (
    GOLDEN_GRID,
    OWN_GRAPH,
    CacheType,
    ModelFolder,
    Precision,
    digest_files,
    golden_patches,
    graph_name,
)
from ovstream.types import ModelInfo, Patches

if TYPE_CHECKING:
    from ovstream.types import FloatArray

Mode = Literal["fast", "exact", "dense"]
Slots = npt.NDArray[np.int64]
Provider = Literal["cpu", "cuda", "tensorrt", "openvino"]
BackendName = Literal["onnx", "torch"]

EMBEDDED = Path(__file__).parents[1] / "models"
DEFAULT_PROBES = 8
MAX_STREAMS = 64
"""Of a run; the weights are then long paid for."""


def load_encoder(
    name_or_folder: str | Path = "ov-nano",
    *,
    mode: Mode = "fast",
    threads: int = 1,
    provider: Provider = "cpu",
    probes: int = DEFAULT_PROBES,
    cache: CacheType = "float32",
    streams: int = 1,
    backend: BackendName = "onnx",
    device: str = "cpu",
) -> Encoder:
    """Opens a model and checks that it computes what it should.

    Args:
        name_or_folder: Name of an embedded model, or a folder written by `ovstream export`.
        mode: "fast": int8, runs only the given patches and some probes, and corrects the other tokens by what the
            probes found: see `ovstream.encode.drift`; the activations of a call share one quantisation, so the
            numbers depend a little on which patches come together. "exact": float32, runs only the given patches; the
            result is that of one call over every version of every token, each seeing the tokens that were alive when
            it was encoded. "dense": float32, runs all patches in every call, from the pixels that the state keeps.
            In "fast" and "exact" the context of old tokens ages until they are encoded again: the caller refreshes.
        threads: For one call.
        provider: Where onnxruntime computes.
        probes: Old tokens that a sparse call of mode "fast" encodes again; 0 leaves the others as they are.
        cache: How states hold keys and values; "float16" halves their memory, for one more rounding.
        streams: Most streams that a run may serve; more than one opens a second graph, which holds the weights once
            more. Calls come together where somebody gathers them: see `ovstream.pipeline.gather`.
        backend: "onnx" runs the graphs on onnxruntime. "torch" (extra `torch`) computes the same in torch, in float32
            in every mode.
        device: Of torch, say "cuda:0".

    Returns:
        An encoder; it serves any number of states.

    Raises:
        ModelError: The folder is missing, partial, damaged, or its self-test gives a wrong vector.
        ConfigError: An option makes no sense, or this onnxruntime lacks the provider.
    """
    if mode not in get_args(Mode):
        raise ConfigError(f"mode is '{mode}': must be one of {', '.join(get_args(Mode))}")
    if probes < 0:
        raise ConfigError(f"probes is {probes}: must not be negative")
    folder = _find(name_or_folder)
    manifest = ModelFolder.read(folder)
    precision: Precision = "int8" if mode == "fast" else "float32"
    if cache not in get_args(CacheType):
        raise ConfigError(f"cache is '{cache}': must be one of {', '.join(get_args(CacheType))}")
    if backend not in get_args(BackendName):
        raise ConfigError(f"backend is '{backend}': must be one of {', '.join(get_args(BackendName))}")
    if not 1 <= streams <= MAX_STREAMS:
        raise ConfigError(f"streams is {streams}: must be 1 to {MAX_STREAMS}")
    if threads < 1:
        raise ConfigError(f"threads is {threads}: must be at least 1")
    opened: Backend
    if backend == "torch":
        precision = "float32"
        opened = _torch(folder, manifest, device=device, lanes=streams)
    else:
        opened = _onnx(folder, manifest, precision, threads, provider, cache, streams)
    encoder = Encoder(manifest, opened, mode=mode, probes=probes, cache=cache)
    tolerance = manifest.tolerance(precision)
    if not encoder.golden_error <= tolerance:  # NaN is wrong as well
        raise ModelError(
            f"{folder}: self-test failed: error {encoder.golden_error:.2g}, tolerance {tolerance} "
            f"({precision}, backend {backend}, provider {provider}, device {device})"
        )
    return encoder


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

    def new_state(self, grid: tuple[int, int]) -> EncoderState:
        """Makes the memory of one stream.

        Args:
            grid: (rows, cols) of patches, at most `info.max_tokens` in all.

        Raises:
            ConfigError: The grid is empty or too large.
        """
        rows, cols = grid
        if min(grid) < 1 or rows * cols > self.info.max_tokens:
            raise ConfigError(f"a grid of {rows}x{cols}: must have 1 to {self.info.max_tokens} patches")
        state = EncoderState(self._config, grid=(rows, cols), digest=self.info.digest, cache=self._cache)
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
            (r,) int32, sorted; none in other modes.
        """
        if self._correction is None:
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
        difference. All living patches together are a dense pass: nothing of the past remains.

        Args:
            state: Made by `new_state` of this encoder; it is changed.
            patches: Of the state's grid, or (n, 3, patch, patch) float32, normalised.
            positions: (n, 3) int64 (t, h, w), the slot being h * cols + w; may be None for `Patches`, which then
                stand at t = 0.
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
        if probed is not None and (np.isin(probed, slots).any() or not state.alive[probed].all()):
            raise ConfigError("a probe must have been encoded before, and not be among the patches")
        if slots.size == 0:
            state.updated(slots)
            if state.output is None:
                raise ConfigError("the state is empty: encode some patches first")
            return state.output
        state.store(pixels, places, slots)
        run = np.flatnonzero(state.alive)
        flops = 0
        if self.mode == "dense" or np.all(np.isin(run, slots)):
            self._run(binding, state, run)
            state.drift = 0.0
        elif self._correction is None:
            run = slots
            self._run(binding, state, run)
            state.drift = None
        else:
            if probed is None or old is None:
                probed = self._correction.choose(state, slots)
            else:
                state.store(old, state.positions[probed], probed)
            run = np.concatenate([slots, probed])
            flops = self._run_corrected(self._correction, binding, state, run, probed)
        return state.publish(
            event=state.tokens[slots].mean(axis=0),
            n_updated=run.size,
            flops=flops + self._config.flops(run.size, len(state.alive)),
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


def _onnx(
    folder: Path,
    manifest: ModelFolder,
    precision: Precision,
    threads: int,
    provider: Provider,
    cache: CacheType,
    streams: int,
) -> Backend:
    """Opens the graphs that a choice of options needs."""
    from ovstream.encode.session import GraphSession

    weights = folder / manifest.weights_name(precision)
    for file in (folder / graph_name(precision), weights):
        if not file.is_file():
            raise ModelError(f"{folder} lacks {file.name}: export the model again")
    if precision == "float32" or manifest.storage == "int8":
        _check_digest(weights, manifest.digest)

    def variant(lanes: int) -> bytes:
        from ovstream.model.graph import build_graph

        if manifest.graph != OWN_GRAPH:
            raise ConfigError(
                f"{folder}: its graph is a foreign one ({manifest.graph}): float32, no shared runs"
            )
        return build_graph(manifest.architecture, weights, precision=precision, lanes=lanes, cache=cache)

    return GraphSession(
        folder / graph_name(precision) if cache == "float32" else variant(1),
        folder=folder,
        threads=threads,
        provider=provider,
        shared=(variant(streams), streams) if streams > 1 else None,
    )


def _torch(folder: Path, manifest: ModelFolder, *, device: str, lanes: int) -> Backend:
    """Reads the weights into torch."""
    try:
        from ovstream.encode.torch_backend import TorchBackend, read_weights
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "torch", extra="torch") from error
    if manifest.graph != OWN_GRAPH:
        raise ConfigError(f"{folder}: its graph is a foreign one ({manifest.graph}): backend 'onnx' only")
    weights = folder / manifest.weights_name("float32")
    _check_digest(weights, manifest.digest)
    return TorchBackend(manifest.architecture, read_weights(weights), device=device, lanes=lanes)


def _find(name_or_folder: str | Path) -> Path:
    embedded = EMBEDDED / name_or_folder
    for folder in (Path(name_or_folder), embedded):
        if folder.is_dir():
            return folder
    names = sorted(path.name for path in EMBEDDED.iterdir() if path.is_dir())
    raise ModelError(f"'{name_or_folder}' is neither a folder nor an embedded model ({', '.join(names)})")


def _check_digest(weights: Path, digest: str) -> None:
    found = digest_files([weights])
    if found != digest:
        raise ModelError(f"{weights}: digest is {found}, must be {digest}: damaged or foreign weights")
