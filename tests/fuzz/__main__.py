"""Fuzzes the parsers of what comes from the network.

python -m tests.fuzz                        # all of them, a minute each
python -m tests.fuzz rtsp sdp --seconds 600 --seed 7

An input that raises what it should not, breaks a property, computes for more than 2 s or takes more than 1 GiB ends
the run with status 1; it is printed, and written to a file with --save. What is found becomes a case of the tests.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from tests.fuzz.engine import fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    names = [target.name for target in TARGETS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(names))
    parser.add_argument("--seconds", type=float, default=60.0, help="of each target")
    parser.add_argument("--runs", type=int, default=1 << 60, help="of each target, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, help="file for an input that breaks something")
    given = parser.parse_args()
    if unknown := set(given.targets) - set(names):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    failed = 0
    for target in TARGETS:
        if given.targets and target.name not in given.targets:
            continue
        outcome = fuzz(target, runs=given.runs, seconds=given.seconds, seed=given.seed)
        line = f"{target.name:10} {outcome.runs:9} inputs, {len(outcome.kept):5} kept, {outcome.lines:5} steps seen"
        print(line, "FAILED" if outcome.failure else "", flush=True)
        if outcome.failure is not None:
            failed += 1
            data, error = outcome.failure
            print(f"input: {data!r}")
            traceback.print_exception(error)
            if given.save is not None:
                given.save.write_bytes(data)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
