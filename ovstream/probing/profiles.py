"""Profile and level, out of the first bytes of a sequence parameter set."""

from __future__ import annotations

from ovstream.nal import front

# H.264 A.2: profile_idc; H.265 A.3: general_profile_idc.
_H264 = {
    66: "Baseline",
    77: "Main",
    88: "Extended",
    100: "High",
    110: "High 10",
    122: "High 4:2:2",
    244: "High 4:4:4 Predictive",
}
_H265 = {1: "Main", 2: "Main 10", 3: "Main Still Picture", 4: "Range Extensions", 9: "Screen Content"}
_SPS = {"h264": 7, "h265": 33}


def profile_and_level(codec: str, data: bytes) -> tuple[str, str] | None:
    """Reads them from an access unit; None when it has no sequence parameter set (VP8: no keyframe)."""
    if codec == "vp8":
        return (f"version {data[0] >> 1 & 7}", "") if len(data) > 3 and not data[0] & 1 else None
    for kind, nal in front(data, codec) if codec in _SPS else ():
        if nal and kind == _SPS[codec]:
            bare = nal[:32].replace(b"\0\0\3", b"\0\0")
            if codec == "h264" and len(bare) >= 4:
                return _h264(bare)
            if codec == "h265" and len(bare) >= 15:
                return _h265(bare)
    return None


def _h264(sps: bytes) -> tuple[str, str]:
    """H.264 7.3.2.1.1: profile_idc, constraint flags, level_idc."""
    profile_idc, flags, level_idc = sps[1:4]
    name = _H264.get(profile_idc, f"profile {profile_idc}")
    if profile_idc == 66 and flags & 0x40:  # constraint_set1_flag
        name = "Constrained Baseline"
    if profile_idc in (66, 77, 88) and level_idc == 11 and flags & 0x10:  # A.3.1: level 1b
        return name, "1b"
    return name, f"{level_idc / 10:.1f}"


def _h265(sps: bytes) -> tuple[str, str]:
    """H.265 7.3.3, behind two bytes of NAL unit header and one of the SPS."""
    name = _H265.get(sps[3] & 0x1F, f"profile {sps[3] & 0x1F}")
    tier = ", High tier" if sps[3] & 0x20 else ""
    return name, f"{sps[14] / 30:.1f}{tier}"
