"""Embeddings of a camera in a few lines of asyncio.

    python examples/iterate.py [rtsp://... or FILE]

Prints a line whenever the scene changed, and at the end what that took.
"""

from __future__ import annotations

import asyncio
import sys

import ovstream


async def main(url: str = "synthetic:?seconds=4") -> None:
    """Follows the stream for 200 pictures."""
    async with ovstream.open(url, keep_ratio=0.06) as stream:
        async for embedding in stream:
            if embedding.action != "skip":
                count, total = int(embedding.changed.sum()), embedding.changed.size
                print(f"{embedding.pts_seconds:6.2f} s  {count:3d} of {total} patches  ({embedding.reason})")
            if embedding.seq >= 199:
                break
        stats = stream.stats
    print(
        f"{stats.frames} pictures: {stats.decoded_ratio:.0%} decoded, "
        f"{stats.encoded_ratio:.1%} of the patches encoded"
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
