"""What every attack needs: a bit writer, a real clip, and one way to try bytes on the parser."""

from __future__ import annotations

from fractions import Fraction

from ovstream.bitstream import Parser
from ovstream.errors import BitstreamError
from ovstream.types import AccessUnit, FrameMetadata

START = b"\0\0\0\1"


class Bits:
    """Writes u(n), ue(v) and se(v), and closes as a NAL unit."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def __len__(self) -> int:
        return sum(map(len, self._bits))

    def u(self, width: int, value: int) -> Bits:
        self._bits.append(f"{value:0{width}b}" if width else "")
        return self

    def ue(self, *values: int) -> Bits:
        for value in values:
            code = f"{value + 1:b}"
            self._bits.append("0" * (len(code) - 1) + code)
        return self

    def se(self, *values: int) -> Bits:
        return self.ue(*(2 * value - 1 if value > 0 else -2 * value for value in values))

    def append(self, other: Bits) -> Bits:
        self._bits += other._bits
        return self

    def nal(self, header: int) -> bytes:
        """Start code, header byte, payload with trailing bits and emulation prevention."""
        bits = "".join(self._bits) + "1"
        bits += "0" * (-len(bits) % 8)
        payload = bytearray()
        for byte in int(bits, 2).to_bytes(len(bits) // 8, "big"):
            if payload[-2:] == b"\0\0" and byte <= 3:
                payload.append(3)
            payload.append(byte)
        return START + bytes([header]) + bytes(payload)


def sps(
    mb_cols: int = 4, mb_rows: int = 4, *, profile: int = 66, poc_type: int = 2, max_num_ref_frames: int = 1
) -> bytes:
    """A Baseline (66) or Main (77) sequence parameter set: frame_num of 4 bits, no cropping, no VUI."""
    bits = Bits().u(8, profile).u(8, 0).u(8, 40).ue(0, 0, poc_type, *([0] if poc_type == 0 else []))
    return bits.ue(max_num_ref_frames).u(1, 0).ue(mb_cols - 1, mb_rows - 1).u(4, 0b1100).nal(0x67)


def pps(*, cabac: bool = False, sps_id: int = 0) -> bytes:
    """The plainest picture parameter set."""
    return Bits().ue(0, sps_id).u(1, cabac).u(1, 0).ue(0, 0, 0).u(3, 0).se(0, 0, 0).u(3, 0).nal(0x68)


def slice_header(slice_type: int, *, frame_num: int = 0, first_mb: int = 0, idr: bool = False) -> Bits:
    """A slice header (0 P, 2 I) for `sps()` and `pps()` with CAVLC, up to the first macroblock."""
    bits = Bits().ue(first_mb, slice_type, 0).u(4, frame_num)
    if idr:
        bits.ue(0)
    if slice_type == 0:
        bits.u(2, 0)
    return (bits.u(2, 0) if idr else bits.u(1, 0)).se(0)


def skipped(count: int, *, frame_num: int = 0, first_mb: int = 0) -> bytes:
    """A P slice of skipped macroblocks."""
    return slice_header(0, frame_num=frame_num, first_mb=first_mb).ue(count).nal(0x41)


def attempt(parser: Parser, data: bytes) -> FrameMetadata | BitstreamError:
    """A result or one of our exceptions; anything else fails the test."""
    unit = AccessUnit("h264", data, pts=0, time_base=Fraction(1, 25), keyframe=False)
    try:
        result: FrameMetadata | BitstreamError = parser.parse(unit)
    except BitstreamError as error:
        result = error
    if isinstance(result, BitstreamError):
        assert result.element, result
        assert "internal" not in result.element
        assert result.bit_offset <= 8 * len(data), result
    else:
        assert 0 <= result.coverage <= 1
        assert result.mv.shape == (2, 4 * result.mb_shape[0], 4 * result.mb_shape[1], 2)
        assert result.ref_idx.max() < 32
    return result
