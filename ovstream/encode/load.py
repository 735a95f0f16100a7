"""Opens model folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from ovstream.encode.backend import Backend
from ovstream.encode.encoder import DEFAULT_PROBES, Encoder, Mode
from ovstream.errors import ConfigError, MissingExtraError, ModelError
from ovstream.model.folder import (
    OWN_GRAPH,
    CacheType,
    ModelFolder,
    Precision,
    digest_files,
    graph_name,
)

Provider = Literal["cpu", "cuda", "tensorrt", "openvino"]
BackendName = Literal["auto", "native", "onnx", "torch"]

EMBEDDED = Path(__file__).parents[1] / "models"
CACHE_ROUNDING: Mapping[CacheType, float] = {"float32": 0.0, "float16": 0.02}
"""What the self-test may show beside the rounding of the model: keys and values of 11 bits cost ov-nano 0.003, models
with large activations more; an unrelated input is 1 away."""

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
    backend: BackendName = "auto",
    device: str = "cpu",
) -> Encoder:
    """Opens a model and checks that it computes what it should.

    Args:
        name_or_folder: Name of an embedded model, or a folder written by `ovstream export`.
        mode: "fast": int8, runs only the given patches and some probes, and corrects the other tokens by what the
            probes found: see `ovstream.encode.drift`; on onnxruntime the activations of a call share one
            quantisation, so the numbers depend a little on which patches come together. "exact": float32, runs only the given patches; the
            result is that of one call over every version of every token, each seeing the tokens that were alive when
            it was encoded. "dense": float32, runs all patches in every call, from the pixels that the state keeps.
            In "fast" and "exact" the context of old tokens ages until they are encoded again: the caller refreshes.
        threads: For one call.
        provider: Where onnxruntime computes.
        probes: Old tokens that a sparse call of mode "fast" encodes again; 0 leaves the others as they are.
        cache: How states hold keys and values; "float16" halves their memory, for one more rounding.
        streams: Most streams that a run may serve; more than one opens a second graph, which holds the weights once
            more. Calls come together where somebody gathers them: see `ovstream.pipeline.gather`.
        backend: "native" runs in the native core, about twice as fast where few patches change: on one thread of a
            CPU with AVX-512 VNNI, with float32 caches. "onnx" runs the graphs on onnxruntime. "auto":
            "native" where that is possible, else "onnx". "torch" (extra `torch`) computes the same in torch, in
            float32 in every mode.
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
    folder = find_model(name_or_folder)
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
    obstacle = _native_obstacle(manifest, threads, provider, cache)
    if backend == "native" and obstacle:
        raise ConfigError(f"backend 'native' cannot run this: {obstacle}")
    if backend == "auto":
        backend = "onnx" if obstacle else "native"
    if backend == "native":
        opened = _native(folder, manifest, precision, streams)
    elif backend == "torch":
        precision = "float32"
        opened = _torch(folder, manifest, device=device, lanes=streams)
    else:
        opened = _onnx(folder, manifest, precision, threads, provider, cache, streams)
    encoder = Encoder(manifest, opened, mode=mode, probes=probes, cache=cache)
    tolerance = manifest.tolerance(precision) + CACHE_ROUNDING[cache]
    if not encoder.golden_error <= tolerance:  # NaN is wrong as well
        raise ModelError(
            f"{folder}: self-test failed: error {encoder.golden_error:.2g}, tolerance {tolerance:.3g} "
            f"({precision}, backend {backend}, provider {provider}, device {device}, cache {cache})"
        )
    return encoder


def _native_obstacle(manifest: ModelFolder, threads: int, provider: Provider, cache: CacheType) -> str:
    """Why the native core cannot run a model; empty if it can."""
    from ovstream.encode.native import supported

    obstacles = {
        f"its graph is a foreign one ({manifest.graph})": manifest.graph != OWN_GRAPH,
        "it runs on one thread": threads != 1,
        f"provider is '{provider}'": provider != "cpu",
        f"cache is '{cache}'": cache != "float32",
        "this processor lacks AVX-512 VNNI, or the core was built by a Rust before 1.89": not supported(
            manifest.architecture
        ),
    }
    return next((text for text, stands in obstacles.items() if stands), "")


def _native(folder: Path, manifest: ModelFolder, precision: Precision, streams: int) -> Backend:
    """Lays the weights out for the native core."""
    from ovstream.encode.native import NativeBackend

    weights = _checked_weights(folder, manifest, precision)
    return NativeBackend(
        manifest.architecture, weights, precision=precision, max_tokens=manifest.max_tokens, lanes=streams
    )


def _checked_weights(folder: Path, manifest: ModelFolder, precision: Precision) -> Path:
    """The file with the weights of a graph; the folder is complete, whatever runs it."""
    weights = folder / manifest.weights_name(precision)
    for file in (folder / graph_name(precision), weights):
        if not file.is_file():
            raise ModelError(f"{folder} lacks {file.name}: export the model again")
    if precision == "float32" or manifest.storage == "int8":
        _check_digest(weights, manifest.digest)
    return weights


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

    weights = _checked_weights(folder, manifest, precision)

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


def find_model(name_or_folder: str | Path) -> Path:
    """Returns the folder of an embedded model, or the one that was named.

    Raises:
        ModelError: It is neither.
    """
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
