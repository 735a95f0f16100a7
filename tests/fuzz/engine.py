"""A small coverage-guided fuzzer for parsers in Python: keeps inputs that reach new lines, and changes them further.

`native/fuzz` does the same for the Rust core by libFuzzer. This one needs nothing beyond the interpreter.
"""

from __future__ import annotations

import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

MAX_INPUT_BYTES = 4096
HANG_SECONDS = 2.0
MEMORY_BYTES = 1 << 30  # beyond what the process has when a run begins
MOST_CHANGES = 6
Tracer = Callable[[FrameType, str, Any], Any]


class Hang(Exception):  # noqa: N818 - a finding
    """An input took too long."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is fuzzed.

    Attributes:
        name: For the command line.
        check: Takes an input; raises (`AssertionError` for a broken property) when something is wrong.
        seeds: Inputs to begin with.
        words: Pieces that are put into inputs.
        files: Ends of the paths of the sources whose lines count.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(slots=True)
class Outcome:
    """What a run found.

    Attributes:
        runs: Inputs tried.
        lines: Steps from line to line that were seen.
        kept: Inputs that reached something new.
        failure: The first input that broke something, and how.
    """

    runs: int = 0
    lines: int = 0
    kept: list[bytes] = field(default_factory=list)
    failure: tuple[bytes, BaseException] | None = None


def fuzz(target: Target, *, runs: int, seconds: float, seed: int) -> Outcome:
    """Tries inputs until `runs`, `seconds` or the first failure."""
    dice, outcome, deadline = random.Random(seed), Outcome(), time.monotonic() + seconds
    coverage = Coverage(target.files)
    with limits():
        for data in changed(target, dice, outcome.kept):
            if outcome.runs >= runs or time.monotonic() >= deadline:
                break
            outcome.runs += 1
            try:
                with coverage.counting(), no_longer_than(HANG_SECONDS):
                    target.check(data)
            except Exception as error:
                outcome.failure = data, error
                break
            if coverage.grew():
                outcome.kept.append(data)
    outcome.lines = len(coverage.seen)
    return outcome


def changed(target: Target, dice: random.Random, kept: list[bytes]) -> Iterator[bytes]:
    """The seeds, then for ever changed forms of what was kept."""
    yield from target.seeds
    while True:
        data = bytearray(dice.choice(kept or list(target.seeds)))
        for _ in range(dice.randint(1, MOST_CHANGES)):
            dice.choice(CHANGES)(data, dice, target.words, kept)
        yield bytes(data[:MAX_INPUT_BYTES])


def _flip(data: bytearray, dice: random.Random, *_: Any) -> None:
    if data:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _set(data: bytearray, dice: random.Random, *_: Any) -> None:
    if data:
        data[dice.randrange(len(data))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))


def _delete(data: bytearray, dice: random.Random, *_: Any) -> None:
    at = dice.randrange(len(data) + 1)
    del data[at : at + dice.choice((1, 1, 2, 8, 64))]


def _repeat(data: bytearray, dice: random.Random, *_: Any) -> None:
    at = dice.randrange(len(data) + 1)
    piece = data[at : at + dice.choice((1, 4, 16, 64))]
    data[at:at] = piece * dice.choice((1, 1, 2, 16))


def _word(data: bytearray, dice: random.Random, words: Sequence[bytes], _kept: list[bytes]) -> None:
    at = dice.randrange(len(data) + 1)
    word = dice.choice(words) if words else dice.randbytes(dice.randint(1, 8))
    data[at : at + dice.choice((0, 0, len(word)))] = word


def _splice(data: bytearray, dice: random.Random, _words: Sequence[bytes], kept: list[bytes]) -> None:
    other = dice.choice(kept) if kept else b""
    at = dice.randrange(len(other) + 1)
    data[dice.randrange(len(data) + 1) :] = other[at:]


CHANGES = (_flip, _set, _delete, _repeat, _word, _word, _splice)


class Coverage:
    """Which steps from line to line have been taken, in some files."""

    def __init__(self, files: tuple[str, ...]) -> None:
        self._files = files
        self._tracers: dict[CodeType, Tracer | None] = {}
        self._before = 0
        self.seen: set[int] = set()

    @contextmanager
    def counting(self) -> Iterator[None]:
        self._before = len(self.seen)
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)

    def grew(self) -> bool:
        """Whether the last input took a step that none had taken before."""
        return len(self.seen) > self._before

    def _call(self, frame: FrameType, _event: str, _argument: Any) -> Tracer | None:
        code = frame.f_code
        try:
            return self._tracers[code]
        except KeyError:
            wanted = code.co_filename.endswith(self._files)
            self._tracers[code] = found = self._tracer(len(self._tracers)) if wanted else None
            return found

    def _tracer(self, number: int) -> Tracer:
        """What Python calls at each line of one function: most of the time of a run, so it does as little as can be."""
        add, base, last = self.seen.add, number << 32, 0

        def trace(frame: FrameType, event: str, _argument: Any) -> Tracer:
            nonlocal last
            if event == "line":
                line = frame.f_lineno
                add(base | last << 16 | line)
                last = line
            return trace

        return trace


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """Raises `Hang` in the block when it computes for longer; a machine that is busy with other things is no hang."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Hang(f"still at work after {seconds:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def limits() -> Iterator[None]:
    """Makes an input that takes too much memory a `MemoryError`."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
