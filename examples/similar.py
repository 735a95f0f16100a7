"""Finds the moments of a video that look like a picture: no text, no labels, only distance.

    python examples/similar.py [FILE [SECONDS]]

The picture is the one shown at SECONDS of the file itself. The embedded model is small: it finds the same view and
the same arrangement again rather than "another cat". For months of many cameras there is a store: ovstream search --help
"""

from __future__ import annotations

import sys

import numpy as np

import ovstream

CLIP = "synthetic:?seconds=6&objects=5&speed=5&noise=1"
APART_SECONDS = 0.5


def main(url: str = CLIP, at: str = "2.0") -> None:
    """Prints the nearest moments, at least half a second apart."""
    times, vectors = [], []
    for embedding in ovstream.iterate(url, keep_ratio=0.25):
        if embedding.pts_seconds is not None:
            times.append(embedding.pts_seconds)
            vectors.append(embedding.vector / np.linalg.norm(embedding.vector))
    seen, wanted = np.array(times), float(at)
    matrix = np.stack(vectors)
    matrix = matrix - matrix.mean(axis=0)  # what all pictures share tells nothing
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    query = matrix[np.abs(seen - wanted).argmin()]
    likeness = matrix @ query
    print(f"{len(seen)} moments; most like the one at {wanted:.2f} s:")
    for _ in range(5):
        best = int(likeness.argmax())
        if likeness[best] == -np.inf:
            break
        print(f"  {seen[best]:6.2f} s   {likeness[best]:.3f}")
        likeness[np.abs(seen - seen[best]) < APART_SECONDS] = -np.inf


if __name__ == "__main__":
    main(*sys.argv[1:])
