"""The only module that talks to onnxruntime."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from ovstream.encode.state import EncoderState
from ovstream.errors import ConfigError, ModelError
from ovstream.types import FloatArray

if TYPE_CHECKING:
    from ovstream.encode.encoder import Provider

_PROVIDERS: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_SESSION_ENTRIES = {
    # Weights are held as int8: dequantise them once, when the session opens, not in every run.
    "session.disable_quant_qdq": "1",
    # Waiting threads sleep: a camera leaves them idle most of the time.
    "session.intra_op.allow_spinning": "0",
}
_EXACT_INT8 = "session.x64quantprecision"
_ERRORS = 3  # log only errors; they are raised as well


class GraphSession:
    """An open graph, shared by all states of an encoder; runs from several threads at a time.

    Args:
        graph: ONNX file, with its weights beside it.
        threads: For one run.
        provider: Where it runs.

    Raises:
        ConfigError: This build of onnxruntime lacks the provider, or `threads` is not positive.
        ModelError: The graph or its weights cannot be read.
    """

    def __init__(self, graph: Path, *, threads: int, provider: Provider) -> None:
        if threads < 1:
            raise ConfigError(f"threads is {threads}: must be at least 1")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS
        options.enable_mem_pattern = False  # one would be kept for every number of patches ever seen
        for key, value in _SESSION_ENTRIES.items():
            options.add_session_config_entry(key, value)
        if int8_saturates():
            options.add_session_config_entry(_EXACT_INT8, "1")
        providers = _providers(provider)
        try:
            self._session = ort.InferenceSession(str(graph), options, providers=providers)
        except Exception as error:  # onnxruntime's exceptions share no base but this
            raise ModelError(f"{graph}: {error}") from error

    def bind(self, state: EncoderState) -> Binding:
        """Connects a state with this graph, once for its life; the state must outlive the binding."""
        return Binding(self._session, state)


class Binding:
    """The caches of one state as inputs *and* outputs of a graph: updates happen in place."""

    def __init__(self, session: Any, state: EncoderState) -> None:
        self._session = session
        self._io = session.io_binding()
        for name, array in _caches(state).items():
            self._bind_input(name, array)
            self._bind_output(f"{name}.out", array)
        self._bind_input("mask", state.mask)
        self._bind_output("scene", state.scene)

    def run(
        self, patches: FloatArray, positions: npt.NDArray[np.int64], slots: npt.NDArray[np.int64]
    ) -> None:
        """Encodes patches into their slots and pools the scene anew.

        Args:
            patches: (n, 3 * patch * patch) float32, n > 0.
            positions: (n, 3) int64.
            slots: (n,) int64, without repetition.

        Raises:
            ModelError: onnxruntime failed.
        """
        inputs = {"patches": patches, "positions": positions, "slots": slots}
        pieces = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        for name, array in pieces.items():  # only borrowed: `pieces` keeps the memory until the run ends
            self._bind_input(name, array)
        try:
            self._session.run_with_iobinding(self._io)
        except Exception as error:
            raise ModelError(f"onnxruntime: {error}") from error

    def _bind_input(self, name: str, array: npt.NDArray[Any]) -> None:
        self._io.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def _bind_output(self, name: str, array: npt.NDArray[Any]) -> None:
        self._io.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _caches(state: EncoderState) -> dict[str, FloatArray]:
    """Views of what the graph updates, by the name of its input; attention wants a batch axis."""
    caches: dict[str, FloatArray] = {"tokens": state.tokens}
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
        raise ConfigError(f"this onnxruntime has no {name}, only {', '.join(available)}")
    return list(dict.fromkeys([name, _PROVIDERS["cpu"]]))
