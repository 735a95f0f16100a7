"""Hears the embeddings of publisher.py (or of `ovstream run`), from another process.

    python examples/subscriber.py [ENDPOINT]

Says how unlike the one before each embedding is, and whether any went missing.
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np

import ovstream


async def main(endpoint: str = "tcp://127.0.0.1:5555") -> None:
    """Listens until the publisher says that its streams ended."""
    before = None
    async with ovstream.subscribe(endpoint, policy="lossless", until_end=True) as events:
        print(f"listening on {endpoint}", flush=True)
        async for embedding in events.embeddings():
            vector = embedding.vector / np.linalg.norm(embedding.vector)
            if before is not None and embedding.action != "skip":
                print(
                    f"{embedding.stream_id} #{embedding.seq}: {1 - vector @ before:.6f} from the one before"
                )
            before = vector
    print(f"received {events.stats.received}, lost {events.stats.lost}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
