"""The training run: prepares labels, then optimises; seeded, and taken up again where it was stopped."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from ovstream.errors import TrainingError
from ovstream.model.encoder import OneVisionEncoder
from ovstream.model.export import random_model
from ovstream.model.folder import CLIP_MEAN, CLIP_STD
from ovstream.training.clusters import nearest
from ovstream.training.labels import Labels, find_labels
from ovstream.training.losses import ClusterDiscrimination
from ovstream.training.packs import History
from ovstream.training.recipe import Recipe
from ovstream.training.records import Records
from ovstream.training.student import Average, Seen, normalised, see, see_history
from ovstream.training.teachers import SelfTeacher, Teacher
from ovstream.training.views import Bank, Films, Views, joined

CHECKPOINT_NAME = "checkpoint.pt"
LOG_NAME = "log.jsonl"
RECIPE_NAME = "recipe.json"
CHUNK = 256
LOG_EVERY = 25
CLIP_NORM = 1.0
MOST_FILM_STEPS = 16
DISTURBANCE = 0.25  # of a unit deviation: what a student without teacher must see through
Log = dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Normalised patches of one step.

    Attributes:
        films: Histories, `patches` normalised for the student.
        whole: (B, N, P) for the student: last pictures of the films first.
        taught: The same for the teacher.
        grid: (rows, cols).
    """

    films: Films
    whole: Tensor
    taught: Tensor
    grid: tuple[int, int]


class Trainer:
    """One run in one folder.

    Args:
        recipe: What to do.
        bank: Pictures; moved to the device.
        folder: Gets `checkpoint.pt`, `recipe.json` and `log.jsonl`; a run that was stopped there goes on.
        teacher: None bootstraps from the model's own features.
        histories: Of real streams; they make half of the films on their grids.
        device: "cpu", "cuda" ...

    Raises:
        TrainingError: The data does not suit the recipe, or the folder's run had another recipe.
    """

    def __init__(
        self,
        recipe: Recipe,
        bank: Bank,
        folder: Path,
        *,
        teacher: Teacher | None = None,
        histories: Iterable[History] = (),
        device: str = "cpu",
    ) -> None:
        if not len(bank.photos):
            raise TrainingError("the data holds no photos")
        self.recipe, self.folder, self.device = recipe, folder, torch.device(device)
        folder.mkdir(parents=True, exist_ok=True)
        self._generator = torch.Generator(self.device).manual_seed(recipe.seed)
        bank = Bank(bank.photos.to(self.device), bank.sprites.to(self.device))
        self._views = Views(bank, patch=recipe.model.patch_size, generator=self._generator)
        self._records = Records(
            histories, patch=recipe.model.patch_size, device=self.device, seed=recipe.seed
        )
        self.model = random_model(recipe.model, seed=recipe.seed).to(self.device).train()
        self.average = Average(self.model, OneVisionEncoder(recipe.model).to(self.device), decay=recipe.ema)
        self._own = teacher is None
        self._taught_by = "" if teacher is None else str(getattr(teacher, "digest", type(teacher).__name__))
        self._teacher: Teacher = SelfTeacher(self.average.model) if teacher is None else teacher
        self.step = self._round = 0
        self.elapsed = 0.0

    def prepare(self, say: Callable[[str], None] = lambda text: None) -> None:
        """Finds the teacher's components and the cluster centres; or takes up a checkpoint."""
        path = self.folder / CHECKPOINT_NAME
        state = torch.load(path, map_location=self.device, weights_only=True) if path.is_file() else None
        if state is None:
            say("looking at pictures with the teacher")
            self._labels = self._look()
        else:
            say(f"going on after step {state['step']}")
            self._labels = Labels.restored(state["labels"])
        self.discrimination = ClusterDiscrimination(self._labels.centres, self.recipe).to(self.device)
        self._optimiser = self._make_optimiser()
        if state is None:
            (self.folder / LOG_NAME).write_text("")
        else:
            self._restore(state)
        (self.folder / RECIPE_NAME).write_text(json.dumps(self.recipe.to_mapping(), indent=1) + "\n")

    def run(self) -> Iterator[Log]:
        """Optimises; yields the losses after every step, and leaves a checkpoint at the end."""
        recipe, saved = self.recipe, time.monotonic()
        started = saved - self.elapsed
        while self.step < recipe.steps:
            self._anneal()
            log = self._one_step()
            self.step += 1
            self.average.update(self.step)
            self.elapsed = time.monotonic() - started
            values = {key: float(value) for key, value in log.items()}
            values |= {"step": self.step, "seconds": self.elapsed}
            if self.step % LOG_EVERY == 0 or self.step in (1, recipe.steps):
                self._note(values)
            if self._own and self.step / recipe.steps * recipe.rounds >= self._round + 1 < recipe.rounds:
                self._next_round()
            if time.monotonic() - saved > recipe.checkpoint_seconds:
                self.save()
                saved = time.monotonic()
            yield values
        self.save()

    def save(self) -> None:
        """Writes the checkpoint; whoever reads it meanwhile sees the old one or the new one."""
        state = {
            "recipe": json.dumps(self.recipe.to_mapping()),
            "teacher": self._taught_by,
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "discrimination": self.discrimination.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "generator": self._generator.get_state(),
            "records": self._records.state,
            "labels": self._labels.state(),
            "step": self.step,
            "elapsed": self.elapsed,
            "round": self._round,
        }
        partial = self.folder / (CHECKPOINT_NAME + ".partial")
        torch.save(state, partial)
        partial.replace(self.folder / CHECKPOINT_NAME)

    def _look(self) -> Labels:
        with self._autocast():
            return find_labels(
                self.recipe, self._teacher, self._label_views(), seed=self.recipe.seed + self._round
            )

    def _label_views(self) -> Iterator[Tensor]:
        """Chunks of (b, N, P) views in 0..1 on the first grid: photos and collages, mixed as in the steps."""
        recipe, grid = self.recipe, self.recipe.grids[0]
        for start in range(0, recipe.cluster_views, CHUNK):
            size = min(CHUNK, recipe.cluster_views - start)
            collages = round(size * recipe.collage_share)
            yield torch.cat([self._views.photos(size - collages, grid), self._views.collages(collages, grid)])

    def _next_round(self) -> None:
        self._round += 1
        self._labels = self._look()
        with torch.no_grad():
            self.discrimination.centres.copy_(self._labels.centres)

    def _draw(self) -> _Batch:
        recipe = self.recipe
        grid = recipe.grids[self.step % len(recipe.grids)]
        updates = recipe.versions - grid[0] * grid[1]
        steps = [
            n for n in range(1, MOST_FILM_STEPS + 1) if updates % n == 0 and updates // n <= grid[0] * grid[1]
        ]
        pick = int(torch.randint(len(steps), (), device=self.device, generator=self._generator))
        recorded = recipe.films // 2 if grid in self._records else 0
        films = self._views.films(recipe.films - recorded, grid, steps=steps[pick], updates=updates)
        if recorded:
            films = joined(self._records.films(recorded, grid, updates=updates), films)
        others = recipe.batch - recipe.films - recipe.collages
        whole = torch.cat(
            [films.last, self._views.photos(others, grid), self._views.collages(recipe.collages, grid)]
        )
        taught = normalised(whole, self._teacher.mean, self._teacher.std)
        shown = normalised(whole, CLIP_MEAN, CLIP_STD)
        history = normalised(films.patches, CLIP_MEAN, CLIP_STD)
        if self._own:
            shown, history = self._disturbed(shown), self._disturbed(history)
        return _Batch(Films(history, films.slots, films.born, films.last), shown, taught, grid)

    def _disturbed(self, x: Tensor) -> Tensor:
        gain, shift = (
            DISTURBANCE * torch.randn((len(x), 1, 1), device=self.device, generator=self._generator)
            for _ in range(2)
        )
        return x * (1 + gain) + shift

    def _one_step(self) -> dict[str, Tensor]:
        recipe, batch, labels = self.recipe, self._draw(), self._labels
        with self._autocast():
            pooled, places = self._teacher(batch.taught, batch.grid)
            scenes = labels.scene_of(pooled.float())
            classes = nearest(scenes, labels.centres, recipe.nearest)
            tokens = (
                labels.tokens_of.turn(places.float()) if labels.tokens_of and places is not None else None
            )
            seen = see(self.model, batch.whole, batch.grid)
            losses = self._losses(seen, scenes, tokens, classes)
            films, count = batch.films, recipe.films
            old = see_history(self.model, films.patches, films.slots, films.born, batch.grid)
            some = tokens[:count] if tokens is not None else None
            for key, value in self._losses(old, scenes[:count], some, classes[:count]).items():
                losses[key] = (losses[key] + value) / 2
            losses["consistency"] = _apart(old, seen, count)
        weights = {
            "scene": 0.0 if self._own else recipe.scene_weight,
            "token": recipe.token_weight,
            "cluster": recipe.cluster_weight,
            "consistency": recipe.consistency_weight,
        }
        total = torch.stack([weights[key] * value for key, value in losses.items()]).sum()
        if not torch.isfinite(total):
            raise TrainingError(f"the loss is {float(total)} in step {self.step + 1}: lower learning_rate")
        self._optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self._optimiser.step()
        return {"loss": total.detach()} | {key: value.detach() for key, value in losses.items()}

    def _losses(
        self, seen: Seen, scenes: Tensor, tokens: Tensor | None, classes: Tensor
    ) -> dict[str, Tensor]:
        scene = seen.scene.float()
        width = scene.shape[1] ** 0.5
        length = (scene.norm(dim=1) / width).clamp(min=1e-3).log().square().mean()
        losses = {
            "scene": 1 - F.cosine_similarity(scene, scenes).mean() + 0.01 * length,
            "cluster": self.discrimination(scene, classes, self._generator),
        }
        if tokens is not None:
            losses["token"] = F.smooth_l1_loss(seen.tokens.float(), tokens, beta=0.5)
        return losses

    def _make_optimiser(self) -> torch.optim.AdamW:
        matrices = [p for p in self.model.parameters() if p.dim() > 1]
        others = [p for p in self.model.parameters() if p.dim() <= 1]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": self.recipe.weight_decay},
            {"params": [*others, *self.discrimination.parameters()], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.recipe.learning_rate, betas=(0.9, 0.98))

    def _anneal(self) -> None:
        warm = min(1.0, (self.step + 1) / self.recipe.warmup)
        factor = warm * 0.5 * (1 + math.cos(math.pi * self.step / self.recipe.steps))
        for group in self._optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * max(factor, 1e-4)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.device.type == "cuda":
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def _restore(self, state: dict[str, Any]) -> None:
        now, before = json.loads(json.dumps(self.recipe.to_mapping())), json.loads(state["recipe"])
        if now | {"steps": 0} != before | {"steps": 0}:  # more steps may be asked for
            raise TrainingError(f"{self.folder} holds a run with another recipe: see {RECIPE_NAME} there")
        if (taught_by := state.get("teacher", self._taught_by)) != self._taught_by:
            began = "with another teacher, give that one" if taught_by else "without a teacher, give none"
            raise TrainingError(f"{self.folder} holds a run that began {began}")
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.discrimination.load_state_dict(state["discrimination"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._generator.set_state(state["generator"].cpu())
        self._records.state = state["records"]
        self.step, self.elapsed, self._round = state["step"], state["elapsed"], state["round"]
        path = self.folder / LOG_NAME  # what was written after the checkpoint will be written again
        lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
        path.write_text("".join(line for line in lines if json.loads(line)["step"] <= self.step))

    def _note(self, values: Log) -> None:
        with (self.folder / LOG_NAME).open("a") as file:
            file.write(json.dumps(values) + "\n")


def _apart(old: Seen, new: Seen, count: int) -> Tensor:
    """How far an incremental pass is from the dense one on the same picture; the dense one is the truth."""
    scene, truth = old.scene.float(), new.scene[:count].float().detach()
    apart = (scene - truth).square().sum(1) / truth.square().sum(1)
    tokens = F.mse_loss(old.tokens.float(), new.tokens[:count].float().detach())
    return apart.mean() + 0.25 * tokens
