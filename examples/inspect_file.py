"""Where is something happening? Told by the bitstream of a video, no picture decoded.

    python examples/inspect_file.py [FILE or rtsp://...]

Prints a line per picture, and at the end a map of the moving parts: the darker, the more motion.
"""

from __future__ import annotations

import sys
from itertools import islice

import numpy as np

import ovstream

SHADES = np.array(list(" .:-=+*#%@"))


def motion_px(frame: ovstream.FrameMetadata) -> np.ndarray:
    """(mb_rows, mb_cols) float: longest motion vector of each 16x16 cell, in luma samples."""
    mv, used = frame.mv / 4, frame.ref_idx >= 0
    speed = np.where(used, np.hypot(mv[..., 0], mv[..., 1]), 0).max(axis=0)
    rows, cols = frame.mb_shape
    return speed.reshape(rows, 4, cols, 4).max(axis=(1, 3))


def main(url: str = "synthetic:?seconds=2&noise=1") -> None:
    """Walks through the first 100 pictures."""
    total = None
    for number, frame in enumerate(islice(ovstream.inspect(url), 100)):
        motion = motion_px(frame)
        total = motion if total is None else total + motion
        print(
            f"{number:4d}  {frame.slice_type}{' key' if frame.keyframe else '    '}  {frame.bits // 8:7d} bytes  "
            f"QP {frame.qp.mean():4.1f}  skipped {frame.skip.mean():4.0%}  moving {(motion > 0.5).mean():4.0%}"
        )
    if total is None:
        sys.exit("no picture could be read")
    level = np.sqrt(total / max(total.max(), 1e-9)) * (len(SHADES) - 1)
    print("\n".join("".join(row) for row in SHADES[level.round().astype(int)].repeat(2, axis=1)))


if __name__ == "__main__":
    main(*sys.argv[1:])
