"""Width and height of a stream, before anything is decoded: guards memory, and tells people what they see."""

from __future__ import annotations

from collections.abc import Iterable

from ovstream.nal import nal_type

# profile_idc with chroma_format_idc and scaling lists in the SPS, H.264 7.3.2.1.1.
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_SPS = {"h264": 7, "h265": 33}


class _Bits:
    """Reads an RBSP bit by bit.

    Args:
        nal: NAL unit, its header left out.
    """

    def __init__(self, nal: bytes) -> None:
        rbsp = nal.replace(b"\0\0\3", b"\0\0")
        self._value = int.from_bytes(rbsp, "big")
        self._left = 8 * len(rbsp)

    def u(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("the SPS ends too early")
        return self._value >> self._left & ((1 << count) - 1)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("not an ue(v)")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        value = self.ue()
        return (value + 1) // 2 if value & 1 else -(value // 2)


def nals_size(nals: Iterable[bytes], codec: str) -> tuple[int, int] | None:
    """(width, height) in visible luma samples of the last SPS that can be read; None without one."""
    size = None
    for nal in nals:
        if nal_type(nal, codec) == _SPS[codec]:
            try:
                size = _h264(_Bits(nal[1:])) if codec == "h264" else _h265(_Bits(nal[2:]))
            except ValueError:
                continue
    return size


def vp8_size(frame: bytes) -> tuple[int, int] | None:
    """(width, height) in a VP8 keyframe (RFC 6386 9.1): behind the tag and the start code, 14 bits each."""
    if len(frame) < 10 or frame[0] & 1 or frame[3:6] != b"\x9d\x01\x2a":
        return None
    width, height = (int.from_bytes(frame[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    return width, height


def _h264(bits: _Bits) -> tuple[int, int]:
    """seq_parameter_set_data, H.264 7.3.2.1.1."""
    profile_idc = bits.u(8)
    bits.u(16)  # constraint flags, level_idc
    bits.ue()  # seq_parameter_set_id
    chroma_format_idc = _skip_high(bits) if profile_idc in _HIGH_PROFILES else 1
    bits.ue()  # log2_max_frame_num_minus4
    order = bits.ue()  # pic_order_cnt_type
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1), bits.se(), bits.se()
        for _ in range(min(bits.ue(), 255)):
            bits.se()
    bits.ue(), bits.u(1)  # max_num_ref_frames, gaps_in_frame_num_value_allowed_flag
    width, height = 16 * (bits.ue() + 1), 16 * (bits.ue() + 1)
    field_units = 1 if bits.u(1) else 2  # frame_mbs_only_flag
    if field_units == 2:
        bits.u(1)  # mb_adaptive_frame_field_flag
    height *= field_units
    bits.u(1)  # direct_8x8_inference_flag
    if bits.u(1):  # frame_cropping_flag: left, right, top, bottom in chroma units
        unit_x, unit_y = _chroma_unit(chroma_format_idc)
        width -= unit_x * (bits.ue() + bits.ue())
        height -= unit_y * field_units * (bits.ue() + bits.ue())
    return width, height


def _skip_high(bits: _Bits) -> int:
    """Reads what the High profiles put in; returns chroma_format_idc."""
    chroma_format_idc = bits.ue()
    if chroma_format_idc == 3:
        bits.u(1)
    bits.ue(), bits.ue(), bits.u(1)  # bit depths, qpprime_y_zero_transform_bypass_flag
    if bits.u(1):  # seq_scaling_matrix_present_flag
        for index in range(12 if chroma_format_idc == 3 else 8):
            if bits.u(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return chroma_format_idc


def _skip_scaling_list(bits: _Bits, count: int) -> None:
    """scaling_list, H.264 7.3.2.1.1.1."""
    last = following = 8
    for _ in range(count):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _h265(bits: _Bits) -> tuple[int, int]:
    """seq_parameter_set_rbsp, H.265 7.3.2.2.1."""
    bits.u(4)  # sps_video_parameter_set_id
    sub_layers = bits.u(3)  # sps_max_sub_layers_minus1
    bits.u(1 + 96)  # nesting flag; general profile, tier and level
    present = [(bits.u(1), bits.u(1)) for _ in range(sub_layers)]
    if sub_layers:
        bits.u(2 * (8 - sub_layers))  # reserved_zero_2bits
    for profile, level in present:
        bits.u(88 * profile + 8 * level)
    bits.ue()  # sps_seq_parameter_set_id
    chroma_format_idc = bits.ue()
    if chroma_format_idc == 3:
        bits.u(1)  # separate_colour_plane_flag
    width, height = bits.ue(), bits.ue()
    if bits.u(1):  # conformance_window_flag: left, right, top, bottom in chroma units
        unit_x, unit_y = _chroma_unit(chroma_format_idc)
        width -= unit_x * (bits.ue() + bits.ue())
        height -= unit_y * (bits.ue() + bits.ue())
    return width, height


def _chroma_unit(chroma_format_idc: int) -> tuple[int, int]:
    """SubWidthC and SubHeightC, 1 where there is no chroma (H.264 table 6-1)."""
    return (2 if chroma_format_idc in (1, 2) else 1), (2 if chroma_format_idc == 1 else 1)
