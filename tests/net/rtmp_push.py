"""An encoder that publishes by RTMP, again and again, as soon as somebody listens: rtmp_push.py URL FILE

A process of its own: PyAV connects without letting go of the interpreter.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress

import av


def remux(source: str, target: str, kind: str, options: Mapping[str, str], *, rate: float = 0.0) -> None:
    """Writes the pictures of an H.264 stream into a container; `rate` a second, 0 without pauses."""
    with av.open(source) as clip, av.open(target, "w", format=kind, options=dict(options)) as out:
        stream = out.add_stream_from_template(clip.streams.video[0])
        for index, packet in enumerate(packet for packet in clip.demux() if packet.size):
            packet.stream = stream
            packet.pts = packet.dts = round(index / 25 / packet.time_base)
            out.mux(packet)
            if rate:
                time.sleep(1 / rate)


if __name__ == "__main__":
    while True:
        with suppress(OSError):
            remux(sys.argv[2], sys.argv[1], "flv", {})
        time.sleep(0.02)
