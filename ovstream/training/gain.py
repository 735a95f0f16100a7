"""What an adaptation gained: incremental against whole passes, before and after, on stretches it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from ovstream.model.encoder import OneVisionEncoder
from ovstream.model.folder import ModelFolder
from ovstream.training.adapt import batch_of
from ovstream.training.stretches import Stretch
from ovstream.training.student import see, see_history

LEAST_SPREAD = 0.7
LEAST_AGREEMENT = 0.9
LEAST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How near incremental passes come to whole ones, over some stretches.

    Attributes:
        unexplained: FVU: squared distance of the tokens, in units of their variance over all stretches and places.
        cosine: Mean over the scene embeddings.
    """

    unexplained: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Gain:
    """Both models on the same stretches, which cost both the same operations.

    Attributes:
        before: The original.
        after: The adapted one.
        stretches: That were judged.
        better: Of them, where the adapted model comes nearer.
        share: Patches encoded, of those of whole passes at every update.
        agreement: Mean cosine of the scenes of whole pictures, adapted against original.
        spread: Variance of those scenes, adapted over original: near 0, all pictures are one.
    """

    before: Fidelity
    after: Fidelity
    stretches: int
    better: int
    share: float
    agreement: float
    spread: float

    @property
    def trouble(self) -> str:
        """Why the adapted model is no better; empty when it is."""
        if not self.after.unexplained < self.before.unexplained:
            return "incremental passes did not come nearer to whole ones"
        if self.better <= LEAST_SHARE * self.stretches:
            return f"it came nearer on {self.better} of {self.stretches} stretches only"
        if self.spread < LEAST_SPREAD:
            return f"its pictures moved together: their variance is {self.spread:.2f} of what it was"
        if self.agreement < LEAST_AGREEMENT:
            return f"it forgot: its scenes have a cosine of {self.agreement:.3f} to the original's"
        return ""


def judge(
    original: OneVisionEncoder,
    adapted: OneVisionEncoder,
    manifest: ModelFolder,
    stretches: Sequence[Stretch],
) -> Gain:
    """Compares two models on stretches that none was trained with."""
    runs = [[_look(model, manifest, one) for one in stretches] for model in (original, adapted)]
    (errors, variances, cosines, scenes) = zip(*(_together(run) for run in runs), strict=True)
    ratio = [error / variance for error, variance in zip(errors, variances, strict=True)]
    shares = [_share(one) for one in stretches]
    return Gain(
        before=Fidelity(float(ratio[0].mean()), float(cosines[0].mean())),
        after=Fidelity(float(ratio[1].mean()), float(cosines[1].mean())),
        stretches=len(stretches),
        better=int((ratio[1] < ratio[0]).sum()),
        share=sum(shares) / len(shares),
        agreement=float(F.cosine_similarity(scenes[0], scenes[1]).mean()),
        spread=float(_variance(scenes[1]) / _variance(scenes[0]).clamp(min=1e-12)),
    )


@torch.no_grad()
def _look(
    model: OneVisionEncoder, manifest: ModelFolder, stretch: Stretch
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean squared error of the tokens, the tokens of the whole pass, cosine of the scenes, the whole scene."""
    batch = batch_of([stretch], manifest)
    whole = see(model, batch.whole, batch.grid)
    found = see_history(model, batch.patches, batch.slots, batch.born, batch.grid)
    error = (found.tokens - whole.tokens).square().sum(2).mean()
    return error, whole.tokens[0], F.cosine_similarity(found.scene, whole.scene)[0], whole.scene[0]


def _together(run: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    errors, tokens, cosines, scenes = zip(*run, strict=True)
    return torch.stack(errors), _variance(torch.cat(tokens)), torch.stack(cosines), torch.stack(scenes)


def _variance(rows: Tensor) -> Tensor:
    return (rows - rows.mean(0)).square().sum(1).mean()


def _share(stretch: Stretch) -> float:
    tokens, steps = stretch.grid[0] * stretch.grid[1], int(stretch.born[-1])
    return (len(stretch.slots) - tokens) / (steps * tokens)
