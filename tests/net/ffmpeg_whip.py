"""Publishes a drawn picture by WHIP with FFmpeg's muxer, until it is killed.

It waits for answers while it holds the interpreter lock, so it needs a process of its own:
python -m tests.net.ffmpeg_whip URL CERTIFICATE KEY B_FRAMES
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction
from typing import Any

import av
import numpy as np


def publish(url: str, certificate: str, key: str, bframes: int) -> None:
    options = {"cert_file": certificate, "key_file": key}
    encoder = {"preset": "ultrafast", "g": "25", "bf": str(bframes)}
    encoder |= {"profile": "main"} if bframes else {"profile": "baseline", "tune": "zerolatency"}
    with av.open(url, "w", format="whip", options=options) as container:
        stream: Any = container.add_stream("libx264", rate=25, options=encoder)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 25)
        for index in range(10_000):
            picture = np.full((240, 320, 3), index % 250, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
            time.sleep(0.02)


if __name__ == "__main__":
    publish(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
