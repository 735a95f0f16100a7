"""Prints how far the parser equals FFmpeg on every comparable stream: `python -m tests.native.table`.

"damaged" are pictures in which FFmpeg reports an error and so does the parser; they are not compared.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ovstream.errors import BitstreamError
from tests.conftest import load_corpus
from tests.native.oracle import Score, add, compare, read_units
from tests.native.streams import TOOLS, comparable, encode

HEADER = "| stream | pictures | damaged | vectors compared | equal | macroblocks | QP equal | lists equal |"


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
    print(row(f"**all {count}**", total))
    print(*differing, sep="\n")
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
