"""A robot that reacts to what moves: always the newest result, within a budget of 100 ms, never a backlog.

    python examples/robot.py [rtsp://... or FILE]

What comes while it acts is skipped on purpose. `changed` says where to look, the "event" embedding what is there (with a
trained model), and the age of a result is checked before it acts.
"""

from __future__ import annotations

import asyncio
import sys
import time

import numpy as np

import ovstream

BUDGET_SECONDS = 0.1


async def act(embedding: ovstream.Embedding) -> str:
    """Turns towards what changed; stands for motors that take a while."""
    rows, cols = np.nonzero(embedding.changed)
    await asyncio.sleep(0.07)
    return f"turn to {(cols.mean() + 0.5) / embedding.grid[1]:.2f}, {(rows.mean() + 0.5) / embedding.grid[0]:.2f}"


async def main(url: str = "synthetic:?seconds=3&speed=6&fps=20") -> None:
    """Runs until the camera ends."""
    newest: asyncio.Queue[tuple[ovstream.Embedding, float] | None] = asyncio.Queue(1)
    came = acted = late = 0

    async def receive(stream: ovstream.Stream) -> None:
        nonlocal came
        try:
            async for embedding in stream:
                came += 1
                if newest.full():
                    newest.get_nowait()  # nobody will act on that one
                newest.put_nowait((embedding, time.monotonic()))
        finally:
            await newest.put(None)  # also when the camera fails: `await receiving` says why

    async with ovstream.open(url, kinds=("event",), keep_ratio=0.06, pace="realtime") as stream:
        receiving = asyncio.create_task(receive(stream))
        while (result := await newest.get()) is not None:
            embedding, at = result
            if time.monotonic() - at > BUDGET_SECONDS:
                late += 1
                continue
            print(await act(embedding), f"({embedding.changed.sum()} patches)", flush=True)
            acted += 1
        await receiving
    print(f"{came} events, acted on {acted}, skipped {came - acted - late}, too late {late}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
