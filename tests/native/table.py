"""Prints docs/syntax-coverage.md: `python -m tests.native.table`.

First how far the parser equals FFmpeg on every comparable stream; "damaged" are pictures in which FFmpeg reports an error
and so does the parser, they are not compared. Then all other streams of the corpus, by conservation
(`tests/native/conservation.py`). Then what is rebuilt to the sample (`tests/native/rebuilt.py`). A row that is not
perfect needs a reason in `REASONS`, or the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor

import av

from ovstream.errors import BitstreamError, ConfigError
from tests.conftest import load_corpus
from tests.native import rebuilt
from tests.native.conservation import Tally, join_slices, read_any, tally
from tests.native.oracle import Score, add, compare, read_units
from tests.native.streams import TOOLS, comparable, encode

TITLE = """\
# Syntax coverage

All of this is printed in one run by `python -m tests.native.table`. The clips named `x264` are made for one coding tool each; the others are
conformance and camera streams by others, used where they are on the machine (`../shared/corpus`, not part of the
project).

## H.264 against FFmpeg

Every motion vector that FFmpeg exports and every macroblock's quantiser, compared with ours. *Damaged* pictures are
those where FFmpeg reports an error too; they are not compared. FFmpeg exports no reference indices, and of blocks
below 8x8 one vector in four: `tests/native/h264_proof.py` predicts samples from our motion.
"""
HEADER = "| stream | pictures | damaged | vectors compared | equal | macroblocks | QP equal | lists equal |"
OTHERS_TITLE = """
## All other streams

FFmpeg reads no slice groups, exports nothing of H.265 and VP8, and is no judge of damaged streams. What is said of
them is conservation: entropy decoding that goes astray anywhere ends at another bit. Samples prove the motion of H.265
(`tests/native/hevc_proof.py`) and all of VP8 (`native/tests/vp8_reconstruct.rs`). *Whole* pictures have all their cells
and no damage.
"""
OTHERS = "| stream | codec | access units | pictures | whole | damaged slices | references missing | what it shows |"
MADE = "x264 "
FOLDERS = ("conformance-h264", "conformance-hevc", "vp8", "camera", "robot", "damaged")
WHOLE = "every slice ends at its trailing bits, every cell is covered once"
PIXELS = f"{WHOLE}; pixels: native/tests/vp8_reconstruct.rs"
CAPTURE = "packets as captured, no stream that FFmpeg would open"
REASONS = {
    "conformance-h264/max-logs.264": "parameter sets alone",
    "conformance-hevc/two_first_slice.mp4": "one access unit holds two pictures, the last one is cut off; all others are whole",
    "camera/demo.mp4": "MPEG-4 Part 2: no parser, read through the decoder",
    "damaged/test_stream.265": "a draft before the standard: FFmpeg refuses every picture, too",
    "damaged/h264_missing_pps_in_second_i_frame.pcap": CAPTURE,
    "damaged/h264_one_nalu_per_frame_with_corrupted_idr.pcap": CAPTURE,
    "damaged/err1.rtp": CAPTURE,
}


def others() -> list[str]:
    """Every stream of the corpus that has no oracle."""
    corpus = load_corpus()
    if corpus is None:
        return []
    compared = set(comparable(corpus))
    names = [row["file"] for row in corpus.rows]
    return [name for name in names if name not in compared and name.split("/")[0] in FOLDERS]


def conserved(name: str) -> tuple[str, Tally]:
    """(codec, what was read) of a stream without oracle."""
    corpus = load_corpus()
    assert corpus is not None
    row = next(row for row in corpus.rows if row["file"] == name)
    try:
        codec, units = read_any(corpus.path(name))
        return codec, tally(codec, join_slices(units) if "FMO" in row["features"] else units)
    except (OSError, ConfigError, av.error.FFmpegError) as error:
        return row["codec"], Tally(reason=str(error))


def other_row(name: str, codec: str, found: Tally) -> tuple[str, bool]:
    """One line of the second table, and whether it is perfect or explained."""
    why = (PIXELS if codec == "vp8" else WHOLE) if found.perfect else REASONS.get(name, "")
    if not why and name.startswith("damaged/"):
        why = f"a damaged stream: {found.reason.split(': ')[0] if 'Errno' in found.reason else found.reason or 'lost slices'}"
    columns = (name, codec, found.units, found.pictures, found.whole, found.errors, found.missing)
    line = "| " + " | ".join(map(str, columns)) + f" | {why or found.reason} |"
    return line, bool(why)


def streams() -> list[str]:
    """Generated clips, then the corpus."""
    corpus = load_corpus()
    return [f"{MADE}{tool.name}" for tool in TOOLS] + (list(comparable(corpus)) if corpus else [])


def compared(name: str) -> Score:
    """How far a stream is the same as FFmpeg says."""
    try:
        if name.startswith(MADE):
            return compare(encode(next(tool for tool in TOOLS if f"{MADE}{tool.name}" == name)))
        corpus = load_corpus()
        assert corpus is not None
        return compare(read_units(corpus.path(name)))
    except BitstreamError as error:
        return Score(first_difference=str(error))


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
    options.add_argument("--jobs", type=int, default=1, help="streams at a time")
    chosen = options.parse_args()
    first, second = ([name for name in some() if chosen.only in name] for some in (streams, others))
    total, differing = Score(), []
    print(TITLE, HEADER, "|---|---:|---:|---:|---:|---:|---:|---:|", sep="\n")
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for name, score in zip(first, pool.map(compared, first), strict=True):
            if not score.perfect or score.first_difference:
                differing.append(f"{name}: {score.first_difference or 'no pictures'}")
            total = add(total, score)
            print(row(name, score), flush=True)
        print(
            row(f"**all {len(first)}**", total),
            OTHERS_TITLE,
            OTHERS,
            "|---|---|---:|---:|---:|---:|---:|---|",
            sep="\n",
        )
        for name, (codec, found) in zip(second, pool.map(conserved, second), strict=True):
            line, explained = other_row(name, codec, found)
            if not explained:
                differing.append(f"{name}: {found}")
            print(line, flush=True)
    print(rebuilt.TITLE, rebuilt.HEADER, "|---|---:|---:|---:|---|", sep="\n")
    for name, outcome, what in rebuilt.rows(chosen.only):
        if not outcome.perfect:
            differing.append(f"{name}: {outcome.difference}")
        print(rebuilt.row(name, outcome, what), flush=True)
    print(*differing, sep="\n", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
