"""Every operation of a teacher gives in torch what onnxruntime gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from ovstream.errors import TrainingError
from ovstream.training.graph import OPERATIONS, TorchGraph

RNG = np.random.default_rng(11)
X = RNG.standard_normal((2, 6, 9, 11)).astype(np.float32)


def some(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


def number(value: float) -> np.ndarray[Any, Any]:
    return np.array(value, np.float32)


# operation -> graphs of it: constants after the input, attributes
CASES: dict[str, list[tuple[list[np.ndarray[Any, Any]], dict[str, Any]]]] = {
    "Add": [([some(6, 1, 1)], {})],
    "AveragePool": [
        ([], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ([], {"kernel_shape": [2, 3], "count_include_pad": 1}),
    ],
    "BatchNormalization": [([some(6), some(6), some(6), some(6) ** 2], {"epsilon": 1e-3})],
    "Clip": [([number(0), number(0.6)], {})],
    "Concat": [([some(2, 3, 9, 11)], {"axis": 1})],
    "Conv": [
        ([some(4, 6, 3, 3), some(4)], {"strides": [2, 2], "pads": [0, 0, 1, 1]}),
        ([some(6, 1, 3, 3)], {"group": 6, "pads": [1, 1, 1, 1], "dilations": [2, 1]}),
    ],
    "Div": [([number(0.7)], {})],
    "Erf": [([], {})],
    "Flatten": [([], {}), ([], {"axis": 2})],
    "Gelu": [([], {}), ([], {"approximate": "tanh"})],
    "GlobalAveragePool": [([], {})],
    "HardSigmoid": [([], {"alpha": 1 / 6, "beta": 0.5})],
    "HardSwish": [([], {})],
    "Identity": [([], {})],
    "LayerNormalization": [([some(11), some(11)], {"epsilon": 1e-6})],
    "MatMul": [([some(11, 5)], {})],
    "MaxPool": [([], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]})],
    "Mul": [([some(1, 1, 1, 11)], {})],
    "ReduceMean": [([whole(2, 3)], {"keepdims": 0}), ([whole(1)], {})],
    "Relu": [([], {})],
    "Reshape": [([whole(0, 6, -1)], {})],
    "Sigmoid": [([], {})],
    "Softmax": [([], {}), ([], {"axis": 1})],
    "Sqrt": [([], {})],
    "Sub": [([some(6, 9, 1)], {})],
    "Tanh": [([], {})],
    "Transpose": [([], {"perm": [0, 2, 3, 1]})],
}


def write(
    path: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray[Any, Any]], shape: list[Any]
) -> Path:
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), str(path))
    return path


def both(path: Path, x: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    truth = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    with torch.no_grad():
        return TorchGraph(path, device=torch.device("cpu"))(torch.from_numpy(x)).numpy(), truth


@pytest.mark.parametrize("kind", sorted(OPERATIONS.keys() - {"Gemm"}))
def test_an_operation_equals_onnxruntime(tmp_path: Path, kind: str) -> None:
    x = np.abs(X) if kind == "Sqrt" else X
    for number, (constants, attributes) in enumerate(CASES[kind]):
        named = {f"c{place}": value for place, value in enumerate(constants)}
        node = helper.make_node(kind, ["x", *named], ["y"], **attributes)
        path = write(tmp_path / f"{number}.onnx", [node], named, [None, 6, None, None])
        found, truth = both(path, x)
        assert found.shape == truth.shape
        assert np.abs(found - truth).max() < 2e-5 * max(1.0, np.abs(truth).max()), (kind, attributes)


def test_a_network_of_several(tmp_path: Path) -> None:
    constants = {"w": some(8, 6, 3, 3), "b": some(8), "axes": whole(2, 3), "m": some(8, 5), "n": some(5)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Constant", [], ["six"], value=numpy_helper.from_array(number(6))),
        helper.make_node("Clip", ["a", "", "six"], ["c"]),
        helper.make_node("Add", ["c", "a"], ["d"]),  # an earlier value once more
        helper.make_node("ReduceMean", ["d", "axes"], ["p"], keepdims=0),
        helper.make_node("Gemm", ["p", "m", "n"], ["y"], alpha=0.5, beta=2.0),
    ]
    found, truth = both(write(tmp_path / "n.onnx", nodes, constants, [None, 6, None, None]), X)
    assert np.abs(found - truth).max() < 1e-4


def test_half_precision_is_near(tmp_path: Path) -> None:
    constants = {"w": some(8, 6, 3, 3)}
    path = write(
        tmp_path / "n.onnx", [helper.make_node("Conv", ["x", "w"], ["y"])], constants, [None, 6, None, None]
    )
    truth = both(path, X)[1]
    found = TorchGraph(path, device=torch.device("cpu"), dtype=torch.float16)(torch.from_numpy(X))
    assert found.dtype == torch.float32
    assert np.linalg.norm(found.numpy() - truth) < 2e-3 * np.linalg.norm(truth)


def test_what_is_not_known_is_refused(tmp_path: Path) -> None:
    unknown = write(tmp_path / "u.onnx", [helper.make_node("Det", ["x"], ["y"])], {}, [None, 6, None, None])
    with pytest.raises(TrainingError, match="Det is not known"):
        TorchGraph(unknown, device=torch.device("cpu"))
    uneven = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[0, 0, 1, 1])
    graph = TorchGraph(
        write(tmp_path / "p.onnx", [uneven], {}, [None, 6, None, None]), device=torch.device("cpu")
    )
    with pytest.raises(TrainingError, match="uneven padding"):
        graph(torch.from_numpy(X))
