"""Do many cameras live together for long, and what do they cost against the usual ways?

`--only soak` runs `ovstream serve` with synthetic cameras, half of them quiet and half with traffic, that come over RTSP
from a process of their own. While it runs a camera is added, changed, removed, killed and comes back, and the file is
reloaded; the table tells what each stream did, and whether one of the others noticed. CPU and memory are those of the
service's processes. Cameras are in different places of their scenes, as if each had been started some time. Last comes
the verdict: each promise with what was measured; the exit status is 1 when one is broken.

`--only compare` runs the same cameras through three ways, in turns, each over the network and with all its processes:
`ovstream serve` at full effort; the same with every picture decoded and every patch encoded; and OpenCV (`pip install
opencv-python-headless`) decoding every picture and differencing grey frames, which gives no embedding at all. CPU is
counted per picture, so that a way that does not keep up is not flattered. It prints a Markdown table.

`--only memory` measures the service with 0 to 16 streams.

    python -m benchmarks.service --only soak [--cameras 16] [--minutes 20] [--in-step]
    python -m benchmarks.service --only compare [--together 4] [--rounds 3] [--seconds 30]
    python -m benchmarks.service --only memory [--seconds 30]
    all: [--fps 15] [--size 1280x720] [--workers 2]
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.service_compare import compare, memory
from benchmarks.service_rig import clips_of
from benchmarks.service_soak import soak


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cameras", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--fps", type=int, default=15)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--in-step", action="store_true", help="the worst case: all keyframes fall together")
    parser.add_argument("--workers", type=int, help="processes that share the streams; default: one per core")
    parser.add_argument("--together", type=int, default=4, help="cameras at a time in the comparison")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30, help="of each measurement")
    parser.add_argument("--only", choices=("soak", "compare", "memory"))
    args = parser.parse_args()
    clips = clips_of(args.size, args.fps)
    kept = soak(args, clips) if args.only in (None, "soak") else True
    if args.only in (None, "compare"):
        compare(args, clips)
    if args.only == "memory":
        memory(args, clips)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
