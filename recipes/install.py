"""The model of a run as it ships: `python -m recipes.install made/model --packs packs --model-id ov-nano --out made/ov-nano`.

Matrices are rounded to int8 rows, except those that rounding hurts. Before it is written anywhere else, three things are
measured beside the model that it shall replace: its size, what rounding changes, and how much of a whole pass an incremental one
misses, on films drawn from the packs. `--replace FOLDER` puts it there when it is no worse; how good its vectors are, `python -m
benchmarks.quality --model made/ov-nano` tells, and that is for a person to judge.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from ovstream.model.encoder import OneVisionEncoder
from ovstream.model.export import export_model
from ovstream.model.folder import CLIP_MEAN, CLIP_STD
from ovstream.training.bank import load_bank
from ovstream.training.student import normalised, see, see_history
from ovstream.training.views import Films, Views

SPARE = ("head.", "self_attn.out_proj")
"""Parts of keys of the matrices that stay in float32."""
GRID, STEPS, UPDATES, FILMS, CHUNK = (12, 21), 8, 96, 48, 8
MOST_BYTES = 15_000_000  # of the folder: it travels in the wheel
LEAST_COSINE = 0.999  # of scenes before and after rounding
LICENCE = "Apache-2.0; trained by ovstream, see MODEL_CARD.md"


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one model, on the same films.

    Attributes:
        bytes: Of its folder.
        fvu: Variance of whole passes' scenes that incremental ones miss.
        cosine: Of incremental to whole scenes, mean.
    """

    bytes: int
    fvu: float
    cosine: float


@torch.no_grad()
def scenes(model: OneVisionEncoder, films: Films) -> tuple[Tensor, Tensor]:
    """Incremental and whole scenes (B, D) at the end of films."""
    history, last = (normalised(x, CLIP_MEAN, CLIP_STD) for x in (films.patches, films.last))
    parts = [
        (
            see_history(model, history[at], films.slots[at], films.born[at], GRID).scene,
            see(model, last[at], GRID).scene,
        )
        for at in (slice(start, start + CHUNK) for start in range(0, len(last), CHUNK))
    ]
    old, new = zip(*parts, strict=True)
    return torch.cat(old), torch.cat(new)


def measure(folder: Path, films: Films) -> tuple[Measured, Tensor]:
    """Of a model folder; and its whole scenes."""
    old, new = scenes(OneVisionEncoder.from_pretrained(folder, offline=True).eval(), films)
    fvu = (old - new).square().sum() / (new - new.mean(0)).square().sum()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Measured(size, float(fvu), float(F.cosine_similarity(old, new).mean())), new


def trouble(made: Measured, rounding: float, before: Measured | None) -> str:
    """Why a model should not replace another; "" if nothing speaks against it."""
    if made.bytes > MOST_BYTES:
        return f"the folder has {made.bytes / 1e6:.1f} MB, {MOST_BYTES / 1e6:.0f} are allowed"
    if rounding < LEAST_COSINE:
        return f"rounding turns scenes: cosine {rounding:.5f}, {LEAST_COSINE} is needed"
    if before is not None and made.fvu > 1.05 * before.fvu:
        return f"incremental passes miss more than before: FVU {made.fvu:.4f}, was {before.fvu:.4f}"
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Exports, measures, and replaces where asked; the exit status is 1 where something speaks against it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="model folder that 'ovstream train' made")
    parser.add_argument("--packs", type=Path, required=True, help="pictures to measure with")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model as it ships")
    parser.add_argument("--model-id", default="ov-nano")
    parser.add_argument("--replace", type=Path, help="model folder to measure beside, and to replace")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    generator = torch.Generator().manual_seed(options.seed)
    films = Views(load_bank(options.packs), patch=14, generator=generator).films(
        FILMS, GRID, steps=STEPS, updates=UPDATES
    )
    model = OneVisionEncoder.from_pretrained(options.model, offline=True).eval()
    done = export_model(
        model,
        options.out,
        model_id=options.model_id,
        trained=True,
        licence=LICENCE,
        weights="int8",
        spare=SPARE,
    )
    made, after = measure(options.out, films)
    rounding = float(F.cosine_similarity(scenes(model, films)[1], after).mean())
    before = measure(options.replace, films)[0] if options.replace else None
    for name, one in (("before", before), ("made", made)):
        if one is not None:
            print(
                f"{name:7} {one.bytes / 1e6:5.1f} MB  incremental to whole: cosine {one.cosine:.5f}, FVU {one.fvu:.4f}"
            )
    print(f"rounding: cosine {rounding:.5f}; {done.model_id} {done.digest} in {options.out}")
    if reason := trouble(made, rounding, before):
        print(f"not replaced: {reason}", file=sys.stderr)
        return 1
    if options.replace:
        for path in options.out.iterdir():
            shutil.copy2(path, options.replace / path.name)
        print(f"replaced {options.replace}; bring its MODEL_CARD.md up to date: digest, data, figures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
