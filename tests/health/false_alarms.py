"""Every event of every clip of a folder, for somebody to compare with the pictures.

python -m tests.health.false_alarms FOLDER [--pictures 250]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import ovstream
from ovstream.health import HealthMonitor
from ovstream.plan.camera_motion import MotionReader
from ovstream.types import FrameMetadata


class Told(NamedTuple):
    """One event."""

    seconds: float
    condition: str
    active: bool


def events(frames: Iterable[FrameMetadata]) -> Iterator[Told]:
    """What a monitor tells about pictures of one size, in coded order without B pictures that come late."""
    monitor: HealthMonitor | None = None
    newest_poc: int | None = None
    for frame in frames:
        if monitor is None:
            monitor, motion = HealthMonitor((frame.width, frame.height)), MotionReader(frame.mb_shape)
        if frame.slice_type == "B" and newest_poc is not None and frame.poc < newest_poc:
            continue
        newest_poc = frame.poc
        camera, _ = motion.read(frame)
        for change in monitor.observe(frame, camera_motion_px=camera.translation_px):
            yield Told(frame.pts_seconds or 0.0, change.condition, change.active)


def main(folder: Path, pictures: int) -> None:
    total = 0
    for path in sorted(one for one in folder.iterdir() if one.is_file()):
        frames = list(islice(ovstream.inspect(path), pictures))
        told = list(events(frames))
        total += len(told)
        shown = ", ".join(
            f"{one.condition}{'' if one.active else ' over'} at {one.seconds:.2f} s" for one in told
        )
        print(f"{path.name}: {len(frames)} pictures: {shown or '-'}", flush=True)
    print(f"{total} events")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=250)
    main(**vars(parser.parse_args()))
