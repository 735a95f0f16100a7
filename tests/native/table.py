"""Prints docs/syntax-coverage.md: `python -m tests.native.table`.

First how far the parser equals FFmpeg on every comparable stream; "damaged" are pictures in which FFmpeg reports an error
and so does the parser, they are not compared. Then all other streams of the corpus, by conservation
(`tests/native/conservation.py`). A row that is not perfect needs a reason in `REASONS`, or the exit status is 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import av

from ovstream.errors import BitstreamError, ConfigError
from tests.conftest import load_corpus
from tests.native.conservation import Tally, join_slices, read_any, tally
from tests.native.oracle import Score, add, compare, read_units
from tests.native.streams import TOOLS, comparable, encode

HEADER = "| stream | pictures | damaged | vectors compared | equal | macroblocks | QP equal | lists equal |"


OTHERS = "| stream | codec | access units | pictures | whole | damaged slices | references missing | what it shows |"
FOLDERS = ("conformance-h264", "conformance-hevc", "vp8", "camera", "robot", "damaged")
WHOLE = "every slice ends at its trailing bits, every cell is covered once"
PIXELS = f"{WHOLE}; pixels: native/tests/vp8_reconstruct.rs"
REASONS = {
    "conformance-h264/max-logs.264": "parameter sets alone",
    "conformance-hevc/two_first_slice.mp4": "no stream that FFmpeg would open",
    "camera/demo.mp4": "MPEG-4 Part 2: no parser, read through the decoder",
}


def others(only: str) -> Iterator[tuple[str, str, Tally]]:
    """(file, codec, what was read) of every stream of the corpus that has no oracle."""
    corpus = load_corpus()
    if corpus is None:
        return
    compared = set(comparable(corpus))
    for row in corpus.rows:
        name = row["file"]
        if name in compared or only not in name or name.split("/")[0] not in FOLDERS:
            continue
        try:
            codec, units = read_any(corpus.path(name))
            yield name, codec, tally(codec, join_slices(units) if "FMO" in row["features"] else units)
        except (OSError, ConfigError, av.error.FFmpegError) as error:
            yield name, row["codec"], Tally(reason=str(error))


def other_row(name: str, codec: str, found: Tally) -> tuple[str, bool]:
    """One line of the second table, and whether it is perfect or explained."""
    why = (PIXELS if codec == "vp8" else WHOLE) if found.perfect else REASONS.get(name, "")
    if not why and name.startswith("damaged/"):
        why = f"a damaged stream: {found.reason.split(': ')[0] if 'Errno' in found.reason else found.reason or 'lost slices'}"
    columns = (name, codec, found.units, found.pictures, found.whole, found.errors, found.missing)
    line = "| " + " | ".join(map(str, columns)) + f" | {why or found.reason} |"
    return line, bool(why)


def streams(only: str) -> Iterator[tuple[str, list[bytes]]]:
    """Generated clips, then the corpus."""
    for tool in TOOLS:
        if only in f"x264 {tool.name}":
            yield f"x264 {tool.name}", encode(tool)
    corpus = load_corpus()
    for name in comparable(corpus) if corpus else []:
        if only in name:
            yield name, read_units(corpus.path(name))


def row(name: str, score: Score) -> str:
    """One line of the Markdown table; 100 % is only written when all are equal."""

    def share(part: int, whole: int) -> str:
        if whole == 0:
            return "-"
        return "100 %" if part == whole else f"{100 * part / whole:.3f} %"

    equal = (
        share(score.blocks_equal, score.blocks),
        share(score.qp_equal, score.macroblocks),
        share(score.inter_equal, score.macroblocks),
    )
    columns = (
        name,
        score.frames,
        score.damaged,
        f"{score.blocks:,}",
        equal[0],
        f"{score.macroblocks:,}",
        *equal[1:],
    )
    return "| " + " | ".join(map(str, columns)) + " |"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default="", help="streams whose name contains this")
    only = options.parse_args().only
    total, differing, count = Score(), [], 0
    print(HEADER, "|---|---:|---:|---:|---:|---:|---:|---:|", sep="\n")
    for name, units in streams(only):
        count += 1
        try:
            score = compare(units)
        except BitstreamError as error:
            score = Score(first_difference=str(error))
        if not score.perfect or score.first_difference:
            differing.append(f"{name}: {score.first_difference or 'no pictures'}")
        total = add(total, score)
        print(row(name, score), flush=True)
    print(row(f"**all {count}**", total), "", OTHERS, "|---|---|---:|---:|---:|---:|---:|---|", sep="\n")
    for name, codec, found in others(only):
        line, explained = other_row(name, codec, found)
        if not explained:
            differing.append(f"{name}: {found}")
        print(line, flush=True)
    print(*differing, sep="\n")
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
