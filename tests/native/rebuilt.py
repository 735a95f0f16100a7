"""The rows of docs/syntax-coverage.md that are proved by samples; see `tests.native.reconstruct`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conftest import Corpus, load_corpus
from tests.native import test_hevc_reconstruct
from tests.native.oracle import read_units
from tests.native.reconstruct import Outcome, cargo_test, rebuild
from tests.native.streams import TOOLS, comparable, encode

HEADER = "| stream | frames | macroblocks | equal | to what |"
LUMA = "FFmpeg's luma"
DIGEST = "the digest of all samples of the conformance suite"
FRAMES = 8
# The decoder of the tests keeps all frames: larger streams would take gigabytes.
MAX_SAMPLES = 80_000_000


def rows(only: str) -> Iterator[tuple[str, Outcome, str]]:
    """(stream, outcome, what it equals) of every clip, and of the corpus where it is there."""
    h264 = {f"x264 {tool.name}": tool for tool in TOOLS}
    found = _rebuild("h264", {name: encode(tool, FRAMES) for name, tool in h264.items() if only in name})
    yield from ((name, outcome, LUMA) for name, outcome in found.items())
    h265 = {f"x265 {name}": clip for name, clip in test_hevc_reconstruct.clips().items()}
    found = _rebuild("h265", {name: units for name, units in h265.items() if only in name})
    yield from ((name, outcome, f"{LUMA}, loop filters off") for name, outcome in found.items())
    corpus = load_corpus()
    if corpus is None:
        return
    digested = _digested(only)
    yield from ((name, outcome, DIGEST) for name, outcome in digested.items())
    for name in comparable(corpus):
        if only in name and name not in digested and _samples(corpus, name) <= MAX_SAMPLES:
            yield (
                name,
                _rebuild("h264", {Path(name).name: read_units(corpus.path(name))})[Path(name).name],
                LUMA,
            )


def row(name: str, outcome: Outcome, what: str) -> str:
    """One line of the Markdown table."""
    equal = "100 %" if outcome.perfect else f"{outcome.equal} frames: {outcome.difference}"
    return f"| {name} | {outcome.frames} | {outcome.macroblocks:,} | {equal} | {what} |"


def _rebuild(codec: str, clips: dict[str, list[bytes]]) -> dict[str, Outcome]:
    if not clips:
        return {}
    with TemporaryDirectory() as folder:
        return rebuild(codec, clips, Path(folder))


def _digested(only: str) -> dict[str, Outcome]:
    """Streams whose digest is known, in 4:2:0 or 4:0:0."""
    output = cargo_test("h264_reconstruct", "the_whole_corpus", OVBITS_ONLY=only)
    outcomes = {}
    for line in output.splitlines():
        if line.startswith("rebuilt\t"):
            _, name, frames, macroblocks, difference = line.split("\t")
            equal = 0 if difference else int(frames)
            outcomes[f"conformance-h264/{name}"] = Outcome(int(frames), equal, int(macroblocks), difference)
    return outcomes


def _samples(corpus: Corpus, name: str) -> int:
    row = next(row for row in corpus.rows if row["file"] == name)
    width, height = map(int, row["size"].split("x"))
    return width * height * int(row["frames_pyav"])
