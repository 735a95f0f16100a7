"""Runs the graph of an ONNX file in torch, where the training computes; for feature extractors, not for any graph.

onnxruntime computes on a GPU only in a build of its own. A teacher is a chain of some thirty kinds of operation, each of
which torch has; what is not among them is refused when the file is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from onnx import numpy_helper
from torch import Tensor

from ovstream.errors import TrainingError

Values = dict[str, Any]
Operation = Callable[[Sequence[Any], Values], Tensor]


class TorchGraph:
    """A graph of one input.

    Args:
        path: The ONNX file.
        device: Of the computation.
        dtype: Of the weights and the computation.

    Raises:
        TrainingError: An operation is unknown, or used in a way that is.
    """

    def __init__(self, path: str | Path, *, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        graph = onnx.load(str(path)).graph
        self._path, self._dtype, self._device = path, dtype, device
        unknown = sorted({node.op_type for node in graph.node} - OPERATIONS.keys() - {"Constant"})
        if unknown:
            raise TrainingError(f"{path}: no teacher for this device: {', '.join(unknown)} is not known here")
        self._constants = {t.name: self._constant(numpy_helper.to_array(t)) for t in graph.initializer}
        self._nodes: list[tuple[Operation, list[str], str, Values]] = []
        for node in graph.node:
            attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            if node.op_type == "Constant":
                self._constants[node.output[0]] = self._constant(numpy_helper.to_array(attributes["value"]))
            else:
                operation = OPERATIONS[node.op_type]
                self._nodes.append((operation, list(node.input), node.output[0], attributes))
        self._input = next(one.name for one in graph.input if one.name not in self._constants)
        self._output = graph.output[0].name
        self._last = {name: index for index, node in enumerate(self._nodes) for name in node[1]}

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> the first output, float32."""
        values: Values = {self._input: images.to(self._dtype, memory_format=torch.channels_last)}
        for index, (operation, names, output, attributes) in enumerate(self._nodes):
            given = [
                None if not name else values[name] if name in values else self._constants[name]
                for name in names
            ]
            try:
                values[output] = operation(given, attributes)
            except (RuntimeError, TypeError, ValueError, IndexError, KeyError) as error:
                raise TrainingError(f"{self._path}: {output} cannot be computed here: {error}") from error
            for name in names:  # what no later node reads
                if self._last.get(name) == index and name in values and name != self._output:
                    del values[name]
        found: Tensor = values[self._output]
        return found.float()

    def _constant(self, array: np.ndarray[Any, Any]) -> Any:
        """Numbers on the device; whole numbers stay here, since they are shapes and axes."""
        if array.dtype.kind != "f":
            return array.tolist()
        tensor = torch.from_numpy(array.copy()).to(self._device, self._dtype)
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _padding(attributes: Values) -> tuple[int, ...]:
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ValueError(f"padding {attributes['auto_pad'].decode()}")
    return tuple(attributes.get("pads", (0, 0, 0, 0)))


def _padded(x: Tensor, attributes: Values, value: float = 0.0) -> tuple[Tensor, tuple[int, int]]:
    """Input, and the padding that is left to the operation: where both sides are alike."""
    top, left, bottom, right = _padding(attributes)
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _conv(given: Sequence[Any], attributes: Values) -> Tensor:
    x, padding = _padded(given[0], attributes)
    stride, dilation = tuple(attributes.get("strides", (1, 1))), tuple(attributes.get("dilations", (1, 1)))
    bias = given[2] if len(given) > 2 else None
    return F.conv2d(x, given[1], bias, stride, padding, dilation, attributes.get("group", 1))


def _norm(given: Sequence[Any], attributes: Values) -> Tensor:
    x, scale, shift, mean, variance = given
    return F.batch_norm(x, mean, variance, scale, shift, eps=attributes.get("epsilon", 1e-5))


def _layer_norm(given: Sequence[Any], attributes: Values) -> Tensor:
    if attributes.get("axis", -1) not in (-1, given[0].dim() - 1):
        raise ValueError("only the last axis is known")
    bias = given[2] if len(given) > 2 else None
    return F.layer_norm(given[0], given[1].shape, given[1], bias, attributes.get("epsilon", 1e-5))


def _clip(given: Sequence[Any], attributes: Values) -> Tensor:
    low, high = (
        given[place] if len(given) > place else attributes.get(name)
        for place, name in ((1, "min"), (2, "max"))
    )
    return torch.clamp(given[0], low, high)


def _gemm(given: Sequence[Any], attributes: Values) -> Tensor:
    a = given[0].T if attributes.get("transA") else given[0]
    b = given[1].T if attributes.get("transB") else given[1]
    out: Tensor = attributes.get("alpha", 1.0) * (a @ b)
    return out + attributes.get("beta", 1.0) * given[2] if len(given) > 2 else out


def _max_pool(given: Sequence[Any], attributes: Values) -> Tensor:
    x, padding = _padded(given[0], attributes, float("-inf"))
    return F.max_pool2d(
        x, tuple(attributes["kernel_shape"]), tuple(attributes.get("strides", (1, 1))), padding,
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
    )  # fmt: skip


def _average_pool(given: Sequence[Any], attributes: Values) -> Tensor:
    top, left, bottom, right = _padding(attributes)
    if (top, left) != (bottom, right):
        raise ValueError("uneven padding")
    return F.avg_pool2d(
        given[0], tuple(attributes["kernel_shape"]), tuple(attributes.get("strides", (1, 1))), (top, left),
        ceil_mode=bool(attributes.get("ceil_mode", 0)), count_include_pad=bool(attributes.get("count_include_pad", 0)),
    )  # fmt: skip


def _mean(given: Sequence[Any], attributes: Values) -> Tensor:
    axes = given[1] if len(given) > 1 and given[1] is not None else attributes.get("axes")
    kept = bool(attributes.get("keepdims", 1))
    out: Tensor = given[0].mean(tuple(axes), keepdim=kept) if axes else given[0].mean()
    return out


def _reshape(given: Sequence[Any], attributes: Values) -> Tensor:
    shape = [given[0].shape[place] if size == 0 else size for place, size in enumerate(given[1])]
    return given[0].reshape(shape)  # type: ignore[no-any-return]


def _flatten(given: Sequence[Any], attributes: Values) -> Tensor:
    axis = attributes.get("axis", 1)
    shape = given[0].shape
    return given[0].reshape(int(np.prod(shape[:axis])), -1)  # type: ignore[no-any-return]


def _gelu(given: Sequence[Any], attributes: Values) -> Tensor:
    return F.gelu(given[0], approximate=attributes.get("approximate", b"none").decode())


OPERATIONS: dict[str, Operation] = {
    "Add": lambda given, _: given[0] + given[1],
    "AveragePool": _average_pool,
    "BatchNormalization": _norm,
    "Clip": _clip,
    "Concat": lambda given, values: torch.cat(list(given), values["axis"]),
    "Conv": _conv,
    "Div": lambda given, _: given[0] / given[1],
    "Erf": lambda given, _: torch.erf(given[0]),
    "Flatten": _flatten,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda given, _: given[0].mean((2, 3), keepdim=True),
    "HardSigmoid": lambda given, values: torch.clamp(
        values.get("alpha", 0.2) * given[0] + values.get("beta", 0.5), 0, 1
    ),
    "HardSwish": lambda given, _: F.hardswish(given[0]),
    "Identity": lambda given, _: given[0],
    "LayerNormalization": _layer_norm,
    "MatMul": lambda given, _: given[0] @ given[1],
    "MaxPool": _max_pool,
    "Mul": lambda given, _: given[0] * given[1],
    "ReduceMean": _mean,
    "Relu": lambda given, _: F.relu(given[0]),
    "Reshape": _reshape,
    "Sigmoid": lambda given, _: torch.sigmoid(given[0]),
    "Softmax": lambda given, values: torch.softmax(given[0], values.get("axis", -1)),
    "Sqrt": lambda given, _: torch.sqrt(given[0]),
    "Sub": lambda given, _: given[0] - given[1],
    "Tanh": lambda given, _: torch.tanh(given[0]),
    "Transpose": lambda given, values: given[0].permute(*values["perm"]),
}
"""By the names of the ONNX operator set."""
