"""What is negotiated: aiortc's own codecs, and those that we can read without a decoder."""

from __future__ import annotations

from typing import Any

from ovstream.errors import ConfigError

CODECS = {"H264": "h264", "H265": "h265", "VP8": "vp8"}
# profile_idc and constraint flags: constrained baseline, baseline, main, constrained high, high (H.264 A.2).
H264_PROFILES = ("42e01f", "42001f", "4d001f", "640c1f", "64001f")
# The names of aiortc that the tap takes hold of; the same from 1.3 to 1.16.
_RECEIVER_ATTRIBUTES = (
    "_RTCRtpReceiver__jitter_buffer",
    "_RTCRtpReceiver__codecs",
    "_handle_rtcp_packet",
    "_send_rtcp_pli",
)
CLOCK_RATE_HZ = 90_000
_FIRST_PAYLOAD_TYPE = 103  # aiortc uses 97 to 102
_END_PAYLOAD_TYPE = 128


def prepare_aiortc() -> None:
    """Lets aiortc negotiate every codec that we assemble; may be called again.

    The table belongs to the process: other users of aiortc in it offer these codecs too, behind their own.

    Raises:
        ConfigError: This version of aiortc is built otherwise.
    """
    from aiortc import codecs

    known = {_key(codec) for codec in codecs.CODECS["video"]}
    wanted: list[tuple[str, dict[str, int | str | None]]] = [
        (
            "video/H264",
            {
                "level-asymmetry-allowed": "1",
                "packetization-mode": mode,
                "profile-level-id": profile,
            },
        )
        for mode in ("1", "0")
        for profile in H264_PROFILES
    ]
    wanted.append(("video/H265", {}))
    missing = [one for one in wanted if (one[0], tuple(sorted(one[1].items()))) not in known]
    if not missing:
        return
    used = {codec.payloadType for codec in codecs.CODECS["video"]}
    free = (number for number in range(_FIRST_PAYLOAD_TYPE, _END_PAYLOAD_TYPE) if number not in used)
    for mime_type, parameters in missing:
        codecs.CODECS["video"] += _entries(mime_type, parameters, next(free), next(free))


def check_receiver(receiver: Any) -> None:
    """Makes sure that the tap finds what it replaces.

    Raises:
        ConfigError: This version of aiortc is built otherwise.
    """
    absent = [name for name in _RECEIVER_ATTRIBUTES if not hasattr(receiver, name)]
    if absent:
        import aiortc

        raise ConfigError(
            f"aiortc {aiortc.__version__} is not supported (it has no {absent[0]}): pip install 'aiortc>=1.16,<2'"
        )


def _key(codec: Any) -> tuple[str, tuple[tuple[str, Any], ...]]:
    return codec.mimeType, tuple(sorted(codec.parameters.items()))


def _entries(
    mime_type: str, parameters: dict[str, int | str | None], payload_type: int, rtx_payload_type: int
) -> list[Any]:
    """A codec and its retransmissions (RFC 4588)."""
    from aiortc.rtcrtpparameters import RTCRtcpFeedback, RTCRtpCodecParameters

    feedback = [
        RTCRtcpFeedback(type="nack"),
        RTCRtcpFeedback(type="nack", parameter="pli"),
        RTCRtcpFeedback(type="goog-remb"),
    ]
    return [
        RTCRtpCodecParameters(
            mimeType=mime_type,
            clockRate=CLOCK_RATE_HZ,
            payloadType=payload_type,
            rtcpFeedback=feedback,
            parameters=parameters,
        ),
        RTCRtpCodecParameters(
            mimeType="video/rtx",
            clockRate=CLOCK_RATE_HZ,
            payloadType=rtx_payload_type,
            parameters={"apt": payload_type},
        ),
    ]
