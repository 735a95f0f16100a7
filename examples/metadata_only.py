"""Motion and bits of each picture into a table of your own: no model, no pixels, a fifth of the P pictures read.

    python examples/metadata_only.py [FILE or rtsp://...] [planes.npz]

Prints what each picture that was read holds, and keeps the planes of the busiest one as a NumPy archive.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import numpy as np

import ovstream


def main(url: str = "synthetic:?seconds=2&noise=1", archive: str | None = None) -> None:
    """Walks through the first 100 pictures."""
    busiest: ovstream.FrameMetadata | None = None
    unread = 0
    for number, frame in enumerate(islice(ovstream.inspect(url, every=5, skip_intra=True), 100)):
        if frame.unread:
            unread += 1
            continue
        print(
            f"{number:4d} {frame.slice_type}  bits {frame.bit_cost.sum():7d}  in the costliest cell "
            f"{frame.bit_cost.max():5d}  residual {np.sqrt(frame.residual_energy.mean() / 256):5.2f} grey levels  "
            f"{'' if frame.motion_exact else 'some vectors are guesses'}"
        )
        if busiest is None or frame.bit_cost.sum() > busiest.bit_cost.sum():
            busiest = frame
    print(f"{unread} pictures were left unread")
    if archive and busiest is not None:
        names = ("block_class", "qp", "mv", "ref_idx", "residual_energy", "bit_cost")
        np.savez_compressed(Path(archive), **{name: getattr(busiest, name) for name in names})
        print(f"planes of the busiest picture: {archive}")


if __name__ == "__main__":
    main(*sys.argv[1:])
