"""One model folder, run by onnxruntime."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ovstream.encode.backend import Job
from ovstream.encode.batcher import batches
from ovstream.encode.ort import onnxruntime as ort
from ovstream.encode.state import EncoderState
from ovstream.errors import ConfigError, ModelError
from ovstream.types import FloatArray

if TYPE_CHECKING:
    from ovstream.encode.load import Provider

_PROVIDERS: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_PACKAGES = {
    "cuda": "the package onnxruntime-gpu",
    "tensorrt": "the package onnxruntime-gpu and TensorRT",
    "openvino": "the package onnxruntime-openvino",
}
_SESSION_ENTRIES = {
    # Weights are held as int8: dequantise them once, when the session opens, not in every run.
    "session.disable_quant_qdq": "1",
    # Waiting threads sleep: a camera leaves them idle most of the time.
    "session.intra_op.allow_spinning": "0",
}
_EXACT_INT8 = "session.x64quantprecision"
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
_ERRORS = 3  # log only errors; they are raised as well


class GraphSession:
    """An open graph of one stream, and maybe one of several; runs from several threads at a time.

    Args:
        graph: ONNX file, or its content, for single streams.
        folder: Where the weights are.
        threads: For one run.
        provider: Where it runs.
        shared: Content of the graph with several lanes, and how many; it holds the weights a second time.

    Raises:
        ConfigError: This build of onnxruntime lacks the provider.
        ModelError: The graph or its weights cannot be read.
    """

    def __init__(
        self,
        graph: Path | bytes,
        *,
        folder: Path,
        threads: int,
        provider: Provider,
        shared: tuple[bytes, int] | None = None,
    ) -> None:
        self._session = _open(graph, folder, threads, provider)
        self._lanes = _Lanes(_open(shared[0], folder, threads, provider), shared[1]) if shared else None

    @property
    def lanes(self) -> int:
        """Most jobs that one run takes."""
        return self._lanes.count if self._lanes else 1

    def bind(self, state: EncoderState) -> Binding:
        """Connects a state with this graph, once for its life; the state must outlive the binding."""
        return Binding(self._session, state)

    def run(self, jobs: Sequence[Job]) -> None:
        """See `Backend`."""
        for batch in batches(jobs, lanes=self.lanes):
            try:
                if len(batch) == 1 or self._lanes is None:
                    batch[0].binding.run(batch[0])
                else:
                    self._lanes.run(batch)
            except Exception as error:  # onnxruntime's exceptions share no base but this
                raise ModelError(f"onnxruntime: {error}") from error


class Binding:
    """The caches of one state as inputs *and* outputs of a graph: updates happen in place."""

    def __init__(self, session: Any, state: EncoderState) -> None:
        self._session = session
        self._io = session.io_binding()
        self.scene = state.scene
        self.caches = {name: _value(array) for name, array in _caches(state).items()}
        self.mask = _value(state.mask)
        self.bind_into(self._io, "")
        self._io.bind_ortvalue_output("scene", _value(state.scene))

    def bind_into(self, io: Any, suffix: str) -> None:
        """Makes this state the one that a lane works on."""
        for name, value in self.caches.items():
            io.bind_ortvalue_input(f"{name}{suffix}", value)
            io.bind_ortvalue_output(f"{name}{suffix}.out", value)
        io.bind_ortvalue_input(f"mask{suffix}", self.mask)

    def run(self, job: Job) -> None:
        """Encodes the patches of this state alone."""
        _run(
            self._session, self._io, {"patches": job.patches, "positions": job.positions, "slots": job.slots}
        )


class _Lanes:
    """A graph with several lanes; each run borrows a binding, with empty streams for the lanes left over."""

    def __init__(self, session: Any, count: int) -> None:
        self.count = count
        self._session = session
        self._free: list[_LaneBinding] = []  # append and pop are atomic

    def run(self, jobs: Sequence[Job]) -> None:
        lanes = self._free.pop() if self._free else _LaneBinding(self._session, self.count)
        lanes.run(jobs)
        self._free.append(lanes)


class _LaneBinding:
    """The inputs and outputs of one run at a time."""

    def __init__(self, session: Any, count: int) -> None:
        self._session = session
        self._io = session.io_binding()
        self._fillers = [_filler(session) for _ in range(count)]
        self._patch_values = next(i.shape[1] for i in session.get_inputs() if i.name == "patches")
        (size,) = next(o.shape for o in session.get_outputs() if o.name == "scene")
        self._scenes: FloatArray = np.empty(size, np.float32)
        self._io.bind_ortvalue_output("scene", _value(self._scenes))

    def run(self, jobs: Sequence[Job]) -> None:
        idle = len(self._fillers) - len(jobs)
        for number, filler in enumerate(self._fillers):
            if number < len(jobs):
                jobs[number].binding.bind_into(self._io, f".{number}")
            else:
                _bind_filler(self._io, filler, f".{number}")
        pieces = {
            "patches": _joined(
                [job.patches for job in jobs], np.zeros((idle, self._patch_values), np.float32)
            ),
            "positions": _joined([job.positions for job in jobs], np.zeros((idle, 3), np.int64)),
            "slots": _joined([job.slots for job in jobs], np.zeros(idle, np.int64)),
            "counts": np.array([len(job) for job in jobs] + [1] * idle, np.int64),
        }
        _run(self._session, self._io, pieces)
        for job, scene in zip(jobs, self._scenes.reshape(len(self._fillers), -1), strict=False):
            job.binding.scene[:] = scene


def _filler(session: Any) -> dict[str, Any]:
    """Caches of a stream of one patch, for a lane without a job."""
    inputs = {one.name: one for one in session.get_inputs() if one.name.endswith(".0")}
    return {
        name.removesuffix(".0"): _value(
            np.zeros(
                [size if isinstance(size, int) else 1 for size in one.shape],
                np.float16 if "16" in one.type else np.float32,
            )
        )
        for name, one in inputs.items()
    }


def _bind_filler(io: Any, filler: dict[str, Any], suffix: str) -> None:
    for name, value in filler.items():
        io.bind_ortvalue_input(f"{name}{suffix}", value)
        if name != "mask":
            io.bind_ortvalue_output(f"{name}{suffix}.out", value)


def _joined(parts: list[npt.NDArray[Any]], rest: npt.NDArray[Any]) -> npt.NDArray[Any]:
    joined: npt.NDArray[Any] = np.concatenate([*parts, rest])
    return joined


def _run(session: Any, io: Any, pieces: dict[str, npt.NDArray[Any]]) -> None:
    held = {name: np.ascontiguousarray(array) for name, array in pieces.items()}
    for name, array in held.items():  # only borrowed: `held` keeps the memory until the run ends
        io.bind_ortvalue_input(name, _value(array))
    session.run_with_iobinding(io)


def _value(array: npt.NDArray[Any]) -> Any:
    """The same memory as onnxruntime's kind of array."""
    return ort.OrtValue.ortvalue_from_numpy(array)


def _open(graph: Path | bytes, folder: Path, threads: int, provider: Provider) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS
    options.enable_mem_pattern = False  # one would be kept for every number of patches ever seen
    for key, value in _SESSION_ENTRIES.items():
        options.add_session_config_entry(key, value)
    options.add_session_config_entry(_WEIGHTS_FOLDER, str(folder))
    if int8_saturates():
        options.add_session_config_entry(_EXACT_INT8, "1")
    providers = _providers(provider)
    source = str(graph) if isinstance(graph, Path) else graph
    try:
        return ort.InferenceSession(source, options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no base but this
        raise ModelError(f"{graph if isinstance(graph, Path) else folder}: {error}") from error


def _caches(state: EncoderState) -> dict[str, npt.NDArray[Any]]:
    """Views of what the graph updates, by the name of its input; attention wants a batch axis."""
    caches: dict[str, npt.NDArray[Any]] = {"tokens": state.tokens}
    for layer, (keys, values) in enumerate(zip(state.keys, state.values, strict=True)):
        caches[f"keys_{layer}"] = keys[None]
        caches[f"values_{layer}"] = values[None]
    if state.head_keys is not None and state.head_values is not None:
        caches["head_keys"] = state.head_keys[None]
        caches["head_values"] = state.head_values[None]
    return caches


def int8_saturates() -> bool:
    """Whether products of int8 may be wrong unless onnxruntime takes its exact kernel, 1.4 times slower.

    x86 without VNNI adds two products in 16 bits. Unknown systems count as such.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text()
    except OSError:
        return True


def _providers(provider: Provider) -> list[str]:
    if provider not in _PROVIDERS:
        raise ConfigError(f"provider is '{provider}': must be one of {', '.join(_PROVIDERS)}")
    name = _PROVIDERS[provider]
    available = ort.get_available_providers()
    if name not in available:
        remedy = _PACKAGES.get(provider, "a build of onnxruntime")
        raise ConfigError(
            f"this onnxruntime has no {name}, only {', '.join(available)}: it comes with {remedy}"
        )
    return list(dict.fromkeys([name, _PROVIDERS["cpu"]]))  # what it cannot do runs on the CPU
