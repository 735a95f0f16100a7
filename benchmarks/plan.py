"""Question: what does a plan cost, beside parsing the same picture?

Method: 1080p clips of the synthetic camera (x264, IPPP), still, panning and noisy; the metadata of every picture is
kept, then parser and planner take turns over the same pictures in one process; CPU time per picture of the best
round, which other processes disturbed least. The target is 300 us a plan.

    python benchmarks/plan.py [--frames 60] [--rounds 15]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from rich.console import Console
from rich.table import Table

from ovstream.bitstream import Parser
from ovstream.config import PlanConfig
from ovstream.plan import PatchGrid, Planner
from ovstream.sources.scene import Scene
from ovstream.types import AccessUnit, FrameMetadata

WIDTH, HEIGHT, FPS = 1920, 1080, 25
TARGET_US = 300
SCENES = {
    "still, empty": Scene(WIDTH, HEIGHT, objects=0, noise=2.0, lighting=0.0),
    "still, 8 objects": Scene(WIDTH, HEIGHT, objects=8, noise=2.0, speed_px=5),
    "pan": Scene(WIDTH, HEIGHT, objects=3, noise=2.0, pan_px=3.0),
    "noise 6": Scene(WIDTH, HEIGHT, objects=3, noise=6.0),
}


def encode(scene: Scene, frames: int) -> list[AccessUnit]:
    """One access unit per picture; the scene swings to and fro."""
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate = Fraction(1, FPS), Fraction(FPS)
    context.options = {"preset": "veryfast", "x264-params": "bframes=0:keyint=50:log=-1"}
    pictures = [av.VideoFrame.from_ndarray(scene.render(i), format="rgb24") for i in range(min(frames, 30))]
    turn = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
    packets = []
    for index in range(frames):
        picture = pictures[turn[index % len(turn)]].reformat(format="yuv420p")
        picture.pts, picture.time_base = index, Fraction(1, FPS)
        packets += context.encode(picture)
    packets += context.encode(None)
    return [
        AccessUnit("h264", bytes(packet), packet.pts, Fraction(1, FPS), packet.is_keyframe)
        for packet in packets
    ]


def parse(units: list[AccessUnit]) -> list[FrameMetadata]:
    parser = Parser("h264")
    return [parser.parse(unit) for unit in units]


def plan(frames: list[FrameMetadata]) -> float:
    """Share of the pictures that needs pixels."""
    planner = Planner(PatchGrid.fit(WIDTH, HEIGHT), PlanConfig())
    return float(np.mean([planner.plan(frame).needs_pixels for frame in frames]))


def cpu_us(work: Callable[[], object], frames: int) -> float:
    start = time.process_time_ns()
    work()
    return (time.process_time_ns() - start) / 1e3 / frames


def main() -> None:
    """Prints one line per scene."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--frames", type=int, default=60)
    arguments.add_argument("--rounds", type=int, default=15)
    options = arguments.parse_args()
    table = Table("scene", "kbit/s", "parse us", "plan us", "plan / parse", "needs pixels", title="1080p")
    for name, scene in SCENES.items():
        units = encode(scene, options.frames)
        frames = parse(units)
        needs_pixels = plan(frames)
        times = [
            (
                cpu_us(lambda units=units: parse(units), len(units)),
                cpu_us(lambda frames=frames: plan(frames), len(units)),
            )
            for _ in range(options.rounds)
        ]
        parse_us, plan_us = (min(column) for column in zip(*times, strict=True))
        kbits = sum(len(unit.data) for unit in units) * 8 * FPS / len(units) / 1000
        verdict = "" if plan_us <= TARGET_US else " (over the target)"
        table.add_row(
            name,
            f"{kbits:.0f}",
            f"{parse_us:.0f}",
            f"{plan_us:.0f}{verdict}",
            f"{plan_us / parse_us:.2f}",
            f"{needs_pixels:.0%}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
