"""The training run: prepares labels, then optimises; seeded, and taken up again where it was stopped."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor, nn

from ovstream.errors import TrainingError
from ovstream.model.encoder import OneVisionEncoder
from ovstream.model.export import random_model
from ovstream.training.batches import Batches
from ovstream.training.clusters import nearest
from ovstream.training.labels import Labels, find_labels
from ovstream.training.looks import Looks
from ovstream.training.losses import ClusterDiscrimination, apart
from ovstream.training.packs import History
from ovstream.training.peers import Peers
from ovstream.training.recipe import Recipe
from ovstream.training.student import Average, Seen, Working, see, see_history
from ovstream.training.targets import spread
from ovstream.training.teachers import SelfTeacher, Teacher
from ovstream.training.views import Bank

CHECKPOINT_NAME = "checkpoint.pt"
LOG_NAME = "log.jsonl"
RECIPE_NAME = "recipe.json"
LOG_EVERY = 25
PLACES = 10  # of a run, where it is looked at
CLIP_NORM = 1.0
Log = dict[str, float]


class Trainer:
    """One run in one folder.

    Args:
        recipe: What to do.
        bank: Pictures; moved to the device.
        folder: Gets `checkpoint.pt`, `recipe.json` and `log.jsonl`; a run that was stopped there goes on.
        teacher: None bootstraps from the model's own features.
        histories: Of real streams; they make half of the films on their grids.
        start: The run begins with its weights; by default with random ones. Its digest becomes part of the recipe.
        device: "cpu", "cuda" ...
        compiled: The layers are compiled first, once for each shape.
        peers: Processes that train together; `batch` is what all of them see in a step.

    Raises:
        TrainingError: The data or the first weights do not suit the recipe, or the folder's run had another recipe.
    """

    def __init__(
        self,
        recipe: Recipe,
        bank: Bank,
        folder: Path,
        *,
        teacher: Teacher | None = None,
        histories: Iterable[History] = (),
        start: OneVisionEncoder | None = None,
        device: str = "cpu",
        compiled: bool = False,
        peers: Peers | None = None,
    ) -> None:
        if not len(bank.photos):
            raise TrainingError("the data holds no photos")
        self.folder, self.device = folder, torch.device(device)
        self._peers = peers = peers or Peers()
        folder.mkdir(parents=True, exist_ok=True)
        going_on = (folder / CHECKPOINT_NAME).is_file()
        self.recipe = recipe if going_on and start is None else _begun(recipe, start)
        mine = dataclasses.replace(self.recipe, batch=peers.part(recipe.batch), seed=recipe.seed + peers.rank)
        self._generator = torch.Generator(self.device).manual_seed(mine.seed)
        self.bank = Bank(bank.photos.to(self.device), bank.sprites.to(self.device))
        self._batches = Batches(mine, self.bank, histories, generator=self._generator)
        self._films = mine.films
        self.model = random_model(recipe.model, seed=recipe.seed)
        if start is not None:
            self.model.load_state_dict(start.state_dict())
        self.model.to(self.device).train()
        self.average = Average(self.model, OneVisionEncoder(recipe.model).to(self.device), decay=recipe.ema)
        self._working = Working(self.model, half=self.device.type == "cuda", compiled=compiled)
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
        if state is not None:
            self._restore(state)
        if not self._peers.first:
            return
        say("choosing what to look at")
        self._looks = Looks(self.recipe, self.bank, None if self._own else self._teacher, self._labels)
        if state is None:
            (self.folder / LOG_NAME).write_text("")
        (self.folder / RECIPE_NAME).write_text(json.dumps(self.recipe.to_mapping(), indent=1) + "\n")

    def run(self, *, every: int = 1) -> Iterator[Log]:
        """Optimises; yields the losses after every so many steps and the last, and leaves a checkpoint at the end.

        A GPU is waited for whenever losses are read: where it computes, ask for them less often.

        Raises:
            TrainingError: The loss is no number any more.
        """
        recipe, saved = self.recipe, time.monotonic()
        started = saved - self.elapsed
        while self.step < recipe.steps:
            self._anneal()
            losses = self._one_step()
            self.step += 1
            self.average.update(self.step)
            self.elapsed = time.monotonic() - started
            looked = self.step % max(1, recipe.steps // PLACES) == 0 or self.step == recipe.steps
            noted = looked or self.step % LOG_EVERY == 0 or self.step == 1
            told = self.step % every == 0 or self.step == recipe.steps
            if noted or told:
                log = self._read(losses)
                if self._peers.first and noted:
                    log |= self._looks.look(self.average.model) if looked else {}
                    self._note(log)
            if self._own and self.step / recipe.steps * recipe.rounds >= self._round + 1 < recipe.rounds:
                self._next_round()
            if noted and self._peers.told(time.monotonic() - saved > recipe.checkpoint_seconds):
                self.save()
                saved = time.monotonic()
            if told:
                yield log
        self.save()

    def _read(self, losses: dict[str, Tensor]) -> Log:
        values = torch.stack(list(losses.values()))
        self._peers.average([values])
        numbers = dict(zip(losses, values.tolist(), strict=True))
        if not math.isfinite(numbers["loss"]):
            raise TrainingError(f"the loss is {numbers['loss']} in step {self.step}: lower learning_rate")
        return numbers | {"step": self.step, "seconds": self.elapsed}

    def save(self) -> None:
        """Writes the checkpoint; whoever reads it meanwhile sees the old one or the new one."""
        generators = self._peers.gathered(self._generator.get_state())
        if not self._peers.first:
            return
        state = {
            "recipe": json.dumps(self.recipe.to_mapping()),
            "teacher": self._taught_by,
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "discrimination": self.discrimination.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "generators": generators,
            "labels": self._labels.state(),
            "step": self.step,
            "elapsed": self.elapsed,
            "round": self._round,
        }
        partial = self.folder / (CHECKPOINT_NAME + ".partial")
        torch.save(state, partial)
        partial.replace(self.folder / CHECKPOINT_NAME)

    def _look(self) -> Labels:
        found = None
        if self._peers.first:
            views = self._batches.label_views()
            found = find_labels(self.recipe, self._teacher, views, seed=self.recipe.seed + self._round)
            if self._peers.size == 1:
                return found
        return Labels.restored(self._peers.told(found and found.to("cpu").state())).to(self.device)

    def _next_round(self) -> None:
        self._round += 1
        self._labels = self._look()
        with torch.no_grad():
            self.discrimination.centres.copy_(self._labels.centres)

    def _one_step(self) -> dict[str, Tensor]:
        recipe, labels, work = self.recipe, self._labels, self._working
        batch = self._batches.draw(self.step, self._teacher, disturbed=self._own)
        pooled, places = self._teacher(batch.taught, batch.grid)
        scenes = labels.scene_of(pooled.float())
        classes = nearest(scenes, labels.centres, recipe.nearest)
        tokens = None
        if labels.tokens_of and places is not None:
            tokens = spread(labels.tokens_of.turn(places.float()), batch.grid)
        work.refresh()
        seen = see(work.model, batch.whole.to(work.dtype), batch.grid)
        losses = self._losses(seen, scenes, tokens, classes)
        if recipe.masked:
            films, count = batch.films, self._films
            old = see_history(work.model, films.patches.to(work.dtype), films.slots, films.born, batch.grid)
            some = tokens[:count] if tokens is not None else None
            for key, value in self._losses(old, scenes[:count], some, classes[:count]).items():
                losses[key] = (losses[key] + value) / 2
            losses["consistency"] = apart(old, seen, count)
        weights = {
            "scene": 0.0 if self._own else recipe.scene_weight,
            "token": recipe.token_weight,
            "cluster": recipe.cluster_weight,
            "consistency": recipe.consistency_weight,
        }
        total = torch.stack([weights[key] * value for key, value in losses.items()]).sum()
        self._optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        work.hand_over()
        self._peers.average([p.grad for p in self._trained() if p.grad is not None])
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

    def _trained(self) -> Iterator[nn.Parameter]:
        yield from self.model.parameters()
        yield from self.discrimination.parameters()

    def _make_optimiser(self) -> torch.optim.AdamW:
        matrices = [p for p in self.model.parameters() if p.dim() > 1]
        others = [p for p in self.model.parameters() if p.dim() <= 1]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": self.recipe.weight_decay},
            {"params": [*others, *self.discrimination.parameters()], "weight_decay": 0.0},
        ]
        fused = self.device.type == "cuda"
        return torch.optim.AdamW(groups, lr=self.recipe.learning_rate, betas=(0.9, 0.98), fused=fused)

    def _anneal(self) -> None:
        warm = min(1.0, (self.step + 1) / self.recipe.warmup)
        factor = warm * 0.5 * (1 + math.cos(math.pi * self.step / self.recipe.steps))
        for group in self._optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * max(factor, 1e-4)

    def _restore(self, state: dict[str, Any]) -> None:
        now, before = json.loads(json.dumps(self.recipe.to_mapping())), json.loads(state["recipe"])
        if now | {"steps": 0} != before | {"steps": 0}:  # more steps may be asked for
            raise TrainingError(f"{self.folder} holds a run with another recipe: see {RECIPE_NAME} there")
        if (count := len(state["generators"])) != self._peers.size:
            raise TrainingError(f"{self.folder} holds a run of {count} processes, not of {self._peers.size}")
        if (taught_by := state.get("teacher", self._taught_by)) != self._taught_by:
            began = "with another teacher, give that one" if taught_by else "without a teacher, give none"
            raise TrainingError(f"{self.folder} holds a run that began {began}")
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.discrimination.load_state_dict(state["discrimination"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._generator.set_state(state["generators"][self._peers.rank].cpu())
        self.step, self.elapsed, self._round = state["step"], state["elapsed"], state["round"]
        if not self._peers.first:
            return
        path = self.folder / LOG_NAME  # what was written after the checkpoint will be written again
        lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
        path.write_text("".join(line for line in lines if json.loads(line)["step"] <= self.step))

    def _note(self, values: Log) -> None:
        with (self.folder / LOG_NAME).open("a") as file:
            file.write(json.dumps(values) + "\n")


def _begun(recipe: Recipe, start: OneVisionEncoder | None) -> Recipe:
    """The recipe, with the digest of the first weights."""
    if start is None:
        if recipe.start:
            raise TrainingError(
                f"the recipe begins with the weights {recipe.start}: name their folder (--from)"
            )
        return recipe
    if start.config != recipe.model:
        raise TrainingError("the model to begin with has another shape than the recipe's")
    if recipe.start not in ("", start.digest):
        raise TrainingError(f"the recipe begins with the weights {recipe.start}, these are {start.digest}")
    return dataclasses.replace(recipe, start=start.digest)
