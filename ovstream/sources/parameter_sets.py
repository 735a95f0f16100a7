"""Parameter sets of H.264 and H.265: found, remembered, and put in band where a stream leaves them out."""

from __future__ import annotations

from ovstream.nal import START_CODE, leading_nals, nal_type, read_ue

# nal_unit_type: H.264 table 7-1, H.265 table 7-1.
_SETS = {"h264": frozenset({7, 8}), "h265": frozenset({32, 33, 34})}
_SEQUENCE_SETS = {"h264": frozenset({7}), "h265": frozenset({32, 33})}
# Highest identifiers: H.264 7.4.2.1.1, 7.4.2.2; H.265 7.4.3.1, 7.4.3.2.1, 7.4.3.3.1.
_HIGHEST_ID = {"h264": {7: 31, 8: 255}, "h265": {32: 15, 33: 15, 34: 63}}
_DELIMITER = {"h264": 9, "h265": 35}
_PROFILE_BYTES = 160  # more than what stands before the identifier of an H.265 SPS
# A parameter set is below 200 bytes; larger ones are not worth remembering, whoever sent them.
MAX_SET_BYTES = 4096


def is_length_prefixed(extradata: bytes, codec: str) -> bool:
    """Whether a codec setup is avcC or hvcC, so that NAL units have lengths and not start codes."""
    smallest_bytes = 7 if codec == "h264" else 23
    return len(extradata) >= smallest_bytes and not extradata.startswith((b"\0\0\1", START_CODE))


def extradata_nals(extradata: bytes, codec: str) -> list[bytes]:
    """Parameter sets of a container's codec setup: Annex B, avcC or hvcC (ISO/IEC 14496-15 5.3.3.1, 8.3.3.1).

    Returns:
        NAL units without start codes; those before the damage when `extradata` is damaged.
    """
    if not is_length_prefixed(extradata, codec):
        return list(leading_nals(extradata, codec))
    nals: list[bytes] = []
    if codec == "h264":
        position = _take_array(extradata, 6, extradata[5] & 0x1F, nals)
        if position < len(extradata):
            _take_array(extradata, position + 1, extradata[position], nals)
    else:
        position = 23
        for _ in range(extradata[22]):
            count = int.from_bytes(extradata[position + 1 : position + 3], "big")
            position = _take_array(extradata, position + 3, count, nals)
    return [nal for nal in nals if nal_type(nal, codec) in _SETS[codec]]


def _take_array(data: bytes, position: int, count: int, into: list[bytes]) -> int:
    """Reads `count` NAL units with 16-bit lengths; returns the position behind them."""
    for _ in range(count):
        length = int.from_bytes(data[position : position + 2], "big")
        position += 2
        if not 0 < length <= len(data) - position:
            return len(data)
        into.append(data[position : position + length])
        position += length
    return position


class ParameterSets:
    """The newest parameter sets of one stream, by type and identifier.

    Args:
        codec: "h264" or "h265".
    """

    def __init__(self, codec: str) -> None:
        self.codec = codec
        self._known: dict[tuple[int, int], bytes] = {}
        self._kinds: set[int] = set()

    @property
    def ready(self) -> bool:
        """Whether a set of every type is known: without them nothing can be decoded."""
        return self._kinds >= _SETS[self.codec]

    def absorb(self, nals: list[bytes]) -> bool:
        """Remembers parameter sets; tells whether a sequence or video parameter set replaced another one."""
        known_before = bool(self._kinds & _SEQUENCE_SETS[self.codec])
        changed = False
        for nal in nals:
            kind = nal_type(nal, self.codec)
            if kind not in _SETS[self.codec] or not 2 < len(nal) <= MAX_SET_BYTES:
                continue
            key = (kind, _set_id(nal, kind, self.codec))
            if key[1] > _HIGHEST_ID[self.codec][kind]:
                continue
            self._kinds.add(kind)
            if self._known.get(key) != nal:
                changed |= known_before and kind in _SEQUENCE_SETS[self.codec]
                self._known[key] = nal
        return changed

    def complete(self, data: bytes, *, start: bool) -> tuple[bytes, bool]:
        """Follows one access unit.

        Args:
            data: Annex B.
            start: A decoder may start here: sets that are missing are put in front, behind a delimiter.

        Returns:
            `data` with its sets, and whether the sequence changed.
        """
        nals = list(leading_nals(data, self.codec))
        changed = self.absorb(nals)
        present = {nal_type(nal, self.codec) for nal in nals}
        if not start or present >= _SETS[self.codec] or not self._known:
            return data, changed
        at = 0
        if nals and nal_type(nals[0], self.codec) == _DELIMITER[self.codec]:
            at = data.find(nals[0]) + len(nals[0])
        own = b"".join(START_CODE + nal for nal in self._ordered())
        return data[:at] + own + data[at:], changed

    def _ordered(self) -> list[bytes]:
        """Video before sequence before picture parameter sets, as they refer to each other."""
        return [self._known[key] for key in sorted(self._known)]


def _set_id(nal: bytes, kind: int, codec: str) -> int:
    """Identifier of a parameter set; 0 when it cannot be read."""
    if codec == "h264":
        return read_ue(nal[4:8] if kind == 7 else nal[1:5]) or 0
    if kind == 32:
        return nal[2] >> 4
    return (read_ue(nal[2:6]) if kind == 34 else _h265_sps_id(nal[2 : 2 + _PROFILE_BYTES])) or 0


def _h265_sps_id(data: bytes) -> int | None:
    """sps_seq_parameter_set_id stands behind profile and level (H.265 7.3.2.2.1, 7.3.3), at a whole byte."""
    rbsp = data.replace(b"\0\0\3", b"\0\0")
    more = rbsp[0] >> 1 & 7 if rbsp else 0  # sps_max_sub_layers_minus1
    at = 1 + 12
    flags = int.from_bytes(rbsp[at : at + 2], "big")
    for layer in range(more):
        at += 11 * (flags >> (15 - 2 * layer) & 1) + (flags >> (14 - 2 * layer) & 1)
    at += 2 if more else 0
    return read_ue(rbsp[at : at + 4])
