"""A camera whose embeddings anybody on this machine can hear; run subscriber.py beside it.

    python examples/publisher.py [ENDPOINT [rtsp://... or FILE]]

The same from the command line: ovstream run URL --publish ENDPOINT
"""

from __future__ import annotations

import asyncio
import sys

import ovstream


async def main(endpoint: str = "tcp://127.0.0.1:5555", url: str = "synthetic:?seconds=10") -> None:
    """Publishes until the stream ends."""
    async with ovstream.open(url, stream_id="example", endpoint=endpoint, pace="realtime") as stream:
        print(f"publishing on {endpoint}: {stream.model.model_id}, {stream.model.dim} numbers per embedding")
        stats = await stream.run()
    print(f"published {stats.embeddings} embeddings")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
