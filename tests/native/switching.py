"""SP and SI slices out of P and I slices, which encoders write: the same macroblocks behind other headers and types.

The Extended profile has them (7.3.3, Tables 7-12 and 7-13). FFmpeg reads their syntax and makes samples as if they were P and I. Of
CAVLC streams with one slice per picture, without fields, slice groups and weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ovstream.types import FrameMetadata
from tests.native.streams import Tool

START = b"\0\0\1"
EXTENDED = 88
P_SLICE, I_SLICE, SP_SLICE, SI_SLICE = 0, 2, 3, 4
# Of P and SP slices, the first intra mb_type.
INTRA_OF_P = 5
I_PCM = 25
# Of memory_management_control_operation (Table 7-9).
OPERANDS = {1: 1, 2: 1, 3: 2, 4: 1, 5: 0, 6: 1}

SWITCHABLE = (
    Tool("baseline", profile="baseline"),
    Tool("p4x4-baseline", "analyse=all:subme=9:ref=4", profile="baseline", noise=16),
    Tool("cavlc-b", "cabac=0:bframes=2:b-adapt=0:weightp=0:weightb=0:8x8dct=0", profile="main"),
)


@dataclass(frozen=True, slots=True)
class Sets:
    """What slice headers need of the parameter sets."""

    frame_num_bits: int
    order_count_bits: int
    deblocking_control: bool


class Bits:
    """Bits of an RBSP as text, read one syntax element after the other."""

    def __init__(self, nal: bytes) -> None:
        rbsp = nal[1:].replace(b"\0\0\3", b"\0\0")
        self.text = "".join(f"{byte:08b}" for byte in rbsp)
        self.end = self.text.rindex("1")
        self.at = 0

    def u(self, bits: int) -> int:
        self.at += bits
        return int(self.text[self.at - bits : self.at] or "0", 2)

    def ue(self) -> int:
        zeros = self.text.index("1", self.at) - self.at
        self.at += zeros
        return self.u(zeros + 1) - 1

    def since(self, start: int) -> str:
        return self.text[start : self.at]


def ue(value: int) -> str:
    """ue(v) of 9.1."""
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits


def nal_unit(header: int, bits: str) -> bytes:
    """A NAL unit of the bits of a slice, trailing bits and emulation prevention added."""
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    rbsp = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return START + bytes([header]) + re.sub(rb"\0\0(?=[\0-\x03])", b"\0\0\3", rbsp)


def rewrite(units: Sequence[bytes], frames: Sequence[FrameMetadata], *, of_sp: bool = False) -> list[bytes]:
    """P slices as SP and I slices as SI, or SP slices without P macroblocks as SI; all others as they are.

    Args:
        units: Access units, Annex B.
        frames: What the parser says of them: `bit_cost` is where macroblocks start.
        of_sp: SP slices are rewritten, and each I_NxN macroblock becomes SI; else P and I slices, and every other one.
    """
    sets: Sets | None = None
    sps = b""
    rewritten = []
    for unit, frame in zip(units, frames, strict=True):
        out = b""
        for nal in re.split(rb"\0*\0\0\x01", unit)[1:]:
            kind = nal[0] & 31
            if kind == 7:
                sps = nal
                nal = nal[:1] + bytes([EXTENDED]) + nal[2:]
            elif kind == 8:
                sets = _sets(sps, nal)
            elif kind in (1, 5):
                assert sets is not None
                out += _slice(nal, sets, frame, of_sp)
                continue
            out += START + nal
        rewritten.append(out)
    return rewritten


def _sets(sps: bytes, pps: bytes) -> Sets:
    bits = Bits(sps)
    bits.u(24)
    bits.ue()
    frame_num_bits, order_type = bits.ue() + 4, bits.ue()
    assert order_type != 1
    order_count_bits = bits.ue() + 4 if order_type == 0 else 0
    bits = Bits(pps)
    bits.ue(), bits.ue()
    assert bits.u(2) == 0, "CABAC, or an order count per field"
    assert bits.ue() == 0, "slice groups"
    bits.ue(), bits.ue()
    assert bits.u(3) == 0, "weights"
    bits.ue(), bits.ue(), bits.ue()
    return Sets(frame_num_bits, order_count_bits, bool(bits.u(1)))


def _slice(nal: bytes, sets: Sets, frame: FrameMetadata, of_sp: bool) -> bytes:
    """One slice with another type."""
    bits = Bits(nal)
    assert bits.ue() == 0, "one slice per picture"
    kind = bits.ue() % 5
    if kind not in ((SP_SLICE,) if of_sp else (P_SLICE, I_SLICE)):
        return START + nal
    target = SP_SLICE if kind == P_SLICE else SI_SLICE
    start = bits.at
    bits.ue()
    bits.u(sets.frame_num_bits)
    if nal[0] & 31 == 5:
        bits.ue()
    bits.u(sets.order_count_bits)
    header = "1" + ue(target) + bits.since(start)
    start = bits.at
    if kind != I_SLICE:
        if bits.u(1):
            bits.ue()
        if bits.u(1):
            while bits.ue() != 3:
                bits.ue()
    header += bits.since(start) if target == SP_SLICE else ""
    start = bits.at
    if nal[0] >> 5 & 3:
        if nal[0] & 31 == 5:
            bits.u(2)
        elif bits.u(1):
            while operation := bits.ue():
                [bits.ue() for _ in range(OPERANDS[operation])]
    bits.ue()  # slice_qp_delta
    header += bits.since(start)
    # sp_for_switch_flag, slice_qs_delta
    header += "0" if target == SP_SLICE else ""
    if kind == SP_SLICE:
        assert bits.u(1) == 1
        start = bits.at
        bits.ue()
        header += bits.since(start)
    else:
        header += ue(0)
    start = bits.at
    if sets.deblocking_control and bits.ue() != 1:
        bits.ue(), bits.ue()
    header += bits.since(start)
    assert bits.at + int(frame.bit_cost.sum()) == bits.end
    data = bits.text[bits.at : bits.end] if target == SP_SLICE else _intra_macroblocks(bits, frame, of_sp)
    return nal_unit(nal[0], header + data)


def _intra_macroblocks(bits: Bits, frame: FrameMetadata, of_sp: bool) -> str:
    """slice_data() of an SI slice out of that of an I slice, or of an SP slice."""
    data = ""
    for address, cost in enumerate(frame.bit_cost.ravel()):
        end = bits.at + int(cost)
        if of_sp:
            assert bits.ue() == 0, "skipped macroblocks"
        mb_type = bits.ue() - (INTRA_OF_P if of_sp else 0)
        assert 0 <= mb_type < I_PCM, "P, or samples that begin at a byte"
        switching = mb_type == 0 and (of_sp or address % 2 == 0)
        data += ue(0 if switching else mb_type + 1) + bits.text[bits.at : end]
        bits.at = end
    return data
