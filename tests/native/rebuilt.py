"""The rows of docs/syntax-coverage.md that are proved by samples; see `tests.native.reconstruct`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conftest import Corpus, load_corpus
from tests.native import test_hevc_reconstruct
from tests.native.oracle import read_units
from tests.native.proof import parse
from tests.native.reconstruct import Outcome, cargo_test, rebuild
from tests.native.streams import TOOLS, Tool, comparable, encode
from tests.native.switching import SWITCHABLE, rewrite
from tests.native.test_switching import CLEAR, SAME_SCENE, SCENE, fidelities

TITLE = """
## Rebuilt to the sample

A decoder in the tests makes samples of what the parser read, modes, vectors, reference lists and levels, and finds those
of FFmpeg or of the conformance suite, bit for bit; `native/README.md` says how. H.264 with its loop filter; of 4:2:2 and
4:4:4 luma; streams too large to be kept whole are left out.

No encoder at hand writes SP and SI slices. `tests/native/switching.py` makes them out of P and I slices: FFmpeg, which reads their
syntax and decodes them as P and I, gets the samples of the original. Of the six SP slices of the corpus, all of one stream that
switches, it makes a wrong picture; decoded as 8.6.2 says they show the scene again, as they are and rewritten as SI. Macroblocks
that are predicted in SP slices (8.6.1) have no samples to compare with.
"""
HEADER = "| stream | frames | macroblocks | equal | to what |"
LUMA = "FFmpeg's luma"
PLAIN = f"{LUMA}, SP and SI read as P and I"
DIGEST = "the digest of all samples of the conformance suite"
FRAMES = 8
# The decoder of the tests keeps all frames: larger streams would take gigabytes.
MAX_SAMPLES = 80_000_000
# Of a picture of `SCENE`.
MACROBLOCKS = 18 * 22


def rows(only: str) -> Iterator[tuple[str, Outcome, str]]:
    """(stream, outcome, what it equals) of every clip, and of the corpus where it is there."""
    h264 = {f"x264 {tool.name}": tool for tool in TOOLS}
    found = _rebuild("h264", {name: encode(tool, FRAMES) for name, tool in h264.items() if only in name})
    yield from ((name, outcome, LUMA) for name, outcome in found.items())
    switched = {f"x264 {tool.name} as SP and SI": tool for tool in SWITCHABLE}
    found = _rebuild("h264", {name: _switched(tool) for name, tool in switched.items() if only in name})
    yield from ((name, outcome, PLAIN) for name, outcome in found.items())
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
                PLAIN if name == SCENE else LUMA,
            )
    for as_si in (False, True):
        if only in SCENE:
            yield _scene(corpus, as_si)


def _switched(tool: Tool) -> list[bytes]:
    units = encode(tool, FRAMES)
    return rewrite(units, list(parse("h264", units)))


def _scene(corpus: Corpus, as_si: bool) -> tuple[str, Outcome, str]:
    """The corpus' switching pictures, which FFmpeg does not decode, against another encoding of the same scene."""
    with TemporaryDirectory() as folder:
        ours, theirs = fidelities(corpus, Path(folder), as_si=as_si)
    clear = int((ours > CLEAR).sum())
    difference = "" if clear == len(ours) else f"{ours.min():.1f} dB"
    what = f"the scene as coded in {Path(SAME_SCENE).name}: {ours.min():.1f} dB or more, by 8.6.2; FFmpeg {theirs.min():.1f}"
    name = f"{SCENE}, its SP slices as {'SI' if as_si else 'they are'}"
    return name, Outcome(len(ours), clear, len(ours) * MACROBLOCKS, difference), what


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
