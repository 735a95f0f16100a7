"""Just enough of ONNX's file format to write a graph, so that running a model needs no package beside onnxruntime.

A protobuf message is a row of fields, each a key (number * 8 + wire type) and a value: a varint (wire type 0), four
bytes (5), or a length and as many bytes (2). The numbers are those of `onnx.proto` (ONNX 1.18, IR version 11).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

FLOAT, INT8, INT64, FLOAT16 = 1, 3, 7, 10
"""TensorProto.DataType."""

_ELEMENTS = {"float32": FLOAT, "int8": INT8, "int64": INT64, "float16": FLOAT16}
_EXTERNAL = 1  # TensorProto.DataLocation
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_INTS = 1, 2, 7  # AttributeProto.AttributeType

Shape = Iterable[int | str]
Attribute = int | float | list[int]


def node(
    kind: str, inputs: Iterable[str], outputs: Iterable[str], name: str, attributes: Mapping[str, Attribute]
) -> bytes:
    """NodeProto."""
    fields = [_text(1, one) for one in inputs] + [_text(2, one) for one in outputs]
    fields += [_text(3, name), _text(4, kind)]
    fields += [_bytes(5, _attribute(key, value)) for key, value in sorted(attributes.items())]
    return b"".join(fields)


def tensor(name: str, values: npt.NDArray[np.generic]) -> bytes:
    """TensorProto that holds its numbers."""
    raw = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
    return _dims(values.shape) + _int(2, _ELEMENTS[values.dtype.name]) + _text(8, name) + _bytes(9, raw)


def external_tensor(name: str, element: int, shape: Iterable[int], place: Mapping[str, str | int]) -> bytes:
    """TensorProto whose numbers lie in another file."""
    entries = [_bytes(13, _text(1, key) + _text(2, str(value))) for key, value in place.items()]
    return _dims(shape) + _int(2, element) + _text(8, name) + b"".join(entries) + _int(14, _EXTERNAL)


def value_info(name: str, element: int, shape: Shape) -> bytes:
    """ValueInfoProto of a tensor; a dimension that is a string may have any size."""
    sizes = (_int(1, one) if isinstance(one, int) else _text(2, one) for one in shape)
    dims = b"".join(_bytes(1, size) for size in sizes)
    return _text(1, name) + _bytes(2, _bytes(1, _int(1, element) + _bytes(2, dims)))


def model(
    *,
    nodes: Iterable[bytes],
    initializers: Iterable[bytes],
    inputs: Iterable[bytes],
    outputs: Iterable[bytes],
    name: str,
    opset: int,
    ir_version: int,
) -> bytes:
    """ModelProto: a whole file."""
    parts = ((1, nodes), (5, initializers), (11, inputs), (12, outputs))
    graph = b"".join(_bytes(number, one) for number, part in parts for one in part) + _text(2, name)
    return _int(1, ir_version) + _text(2, "ovstream") + _bytes(7, graph) + _bytes(8, _int(2, opset))


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        content = _key(2, 5) + struct.pack("<f", value)
        kind = _ATTRIBUTE_FLOAT
    elif isinstance(value, int):
        content, kind = _int(3, value), _ATTRIBUTE_INT
    else:
        content, kind = b"".join(_int(8, one) for one in value), _ATTRIBUTE_INTS
    return _text(1, name) + content + _int(20, kind)


def _dims(shape: Iterable[int]) -> bytes:
    return b"".join(_int(1, size) for size in shape)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are written in two's complement
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _key(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _int(number: int, value: int) -> bytes:
    return _key(number, 0) + _varint(value)


def _bytes(number: int, content: bytes) -> bytes:
    return _key(number, 2) + _varint(len(content)) + content


def _text(number: int, content: str) -> bytes:
    return _bytes(number, content.encode())
