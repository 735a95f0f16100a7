"""Takes the output delay out of an H.265 SPS, so that a decoder gives every picture at once.

A decoder that is told of no reordering puts out each picture right after its access unit, in coded order,
and decodes exactly the same samples: `sps_max_num_reorder_pics` and `sps_max_latency_increase_plus1` control
the bumping process (H.265 C.5.2) alone.
"""

from __future__ import annotations

MAX_SUB_LAYERS = 7  # H.265 7.4.3.2.1
PROFILE_TIER_BITS = 88  # general_profile_space .. general_inbld_flag, H.265 7.3.3
LEVEL_BITS = 8


class _Bits:
    """A bit string with a read position.

    Args:
        payload: RBSP bytes.
    """

    def __init__(self, payload: bytes) -> None:
        self.text = bin(int.from_bytes(b"\x01" + payload))[3:]
        self.position = 0

    def u(self, count: int) -> int:
        end = self.position + count
        if end > len(self.text):
            raise ValueError("the SPS ends too early")
        value = int(self.text[self.position : end] or "0", 2)
        self.position = end
        return value

    def ue(self) -> int:
        one = self.text.find("1", self.position)
        zeros = one - self.position
        if one < 0 or zeros > 32:
            raise ValueError("not an ue(v)")
        self.position = one
        return self.u(zeros + 1) - 1


def without_output_delay(nal: bytes) -> bytes:
    """Rewrites one SPS NAL unit (H.265 7.3.2.2.1).

    Args:
        nal: With its two header bytes, without start code.

    Returns:
        The same SPS with no reordering; `nal` itself when it cannot be read.
    """
    rbsp = nal[2:].replace(b"\x00\x00\x03", b"\x00\x00")
    try:
        changed = _rewrite(rbsp)
    except ValueError:
        return nal
    return nal[:2] + _escape(changed)


def _rewrite(rbsp: bytes) -> bytes:
    bits = _Bits(rbsp)
    bits.u(4)  # sps_video_parameter_set_id
    sub_layers = bits.u(3) + 1
    if sub_layers > MAX_SUB_LAYERS:
        raise ValueError("sps_max_sub_layers_minus1")
    bits.u(1)  # sps_temporal_id_nesting_flag
    _skip_profile_tier_level(bits, sub_layers)
    bits.ue()  # sps_seq_parameter_set_id
    if bits.ue() == 3:  # chroma_format_idc
        bits.u(1)  # separate_colour_plane_flag
    bits.ue(), bits.ue()  # pic_width_in_luma_samples, pic_height_in_luma_samples
    if bits.u(1):  # conformance_window_flag
        for _ in range(4):
            bits.ue()
    bits.ue(), bits.ue(), bits.ue()  # bit_depth_luma_minus8, bit_depth_chroma_minus8, log2_max_poc_lsb_minus4
    every_layer = bits.u(1)  # sps_sub_layer_ordering_info_present_flag
    text = bits.text[: bits.position]
    for _ in range(sub_layers if every_layer else 1):
        start = bits.position
        bits.ue()  # sps_max_dec_pic_buffering_minus1
        text += bits.text[start : bits.position] + "11"  # two ue(v) of value 0
        bits.ue(), bits.ue()  # sps_max_num_reorder_pics, sps_max_latency_increase_plus1
    text += bits.text[bits.position :].rstrip("0")  # up to rbsp_stop_one_bit
    text += "0" * (-len(text) % 8)
    return int("1" + text, 2).to_bytes(len(text) // 8 + 1)[1:]


def _skip_profile_tier_level(bits: _Bits, sub_layers: int) -> None:
    bits.u(PROFILE_TIER_BITS + LEVEL_BITS)
    if sub_layers == 1:
        return
    present = [(bits.u(1), bits.u(1)) for _ in range(sub_layers - 1)]
    bits.u(2 * (8 - (sub_layers - 1)))  # reserved_zero_2bits
    for profile, level in present:
        bits.u(profile * PROFILE_TIER_BITS + level * LEVEL_BITS)


def _escape(rbsp: bytes) -> bytes:
    """Inserts emulation_prevention_three_byte (H.265 7.3.1.1)."""
    out = bytearray()
    zeros = 0
    for byte in rbsp:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)
