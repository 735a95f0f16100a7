"""RTP: packets in, access units out. Pure: no sockets, no tasks, time is an argument.

```
datagram ─RtpPacket─▶ ReorderBuffer ─Ordered─▶ Assembler (codec's UnitBuilder) ─RtpUnit─▶
```
"""

from __future__ import annotations

from ovstream.rtp.assembler import Assembler, RtpUnit
from ovstream.rtp.clock import SenderClock
from ovstream.rtp.packet import MalformedPacket, RtpPacket, Unwrapper
from ovstream.rtp.receiver import BUILDERS, RtpReceiver
from ovstream.rtp.reorder import IN_ORDER, Ordered, ReorderBuffer, ReorderLimits
from ovstream.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReceptionReport,
    SenderReport,
    SourceDescription,
    parse_rtcp,
)

__all__ = [
    "BUILDERS",
    "IN_ORDER",
    "Assembler",
    "Goodbye",
    "MalformedPacket",
    "Ordered",
    "ReceiverReport",
    "ReceptionReport",
    "ReorderBuffer",
    "ReorderLimits",
    "RtpPacket",
    "RtpReceiver",
    "RtpUnit",
    "SenderClock",
    "SenderReport",
    "SourceDescription",
    "Unwrapper",
    "parse_rtcp",
]
