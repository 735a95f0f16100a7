"""A robot's flight recorder: video packets, changed patches and embeddings in one .rrd file for the Rerun viewer.

    python examples/rerun_log.py [rtsp://... or FILE [FOLDER]]       then: rerun FOLDER/*.rrd

The video is what the camera sent, not encoded again. Needs: pip install 'ovstream-edge[rerun]'
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import ovstream


def main(url: str = "synthetic:?seconds=3&speed=6", folder: str = "recordings") -> None:
    """Records until the camera ends, and tells what there is."""
    stats = asyncio.run(record(url, folder))
    for path in sorted(Path(folder).glob("arm-*.rrd")):
        print(f"{path}: {path.stat().st_size / 1024:.0f} KB")
    print(f"{stats.embeddings} embeddings, {stats.units} packets")


async def record(url: str, folder: str) -> ovstream.StreamStats:
    """Follows the camera."""
    sinks = [{"type": "rerun", "path": folder, "rotate_seconds": 600}]
    async with ovstream.open(url, stream_id="arm", kinds=("scene",), sinks=sinks) as stream:
        return await stream.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
