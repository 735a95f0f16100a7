"""A run is decided by its seed, and one that was stopped ends where it would have ended."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from ovstream.errors import TrainingError
from ovstream.model.folder import CLIP_MEAN, CLIP_STD
from ovstream.training.fit import LOG_NAME, Trainer
from ovstream.training.packs import History
from ovstream.training.recipe import Recipe, read_recipe

from .tiny import bank, recipe


def history(grid: tuple[int, int] = (4, 4)) -> History:
    rng = np.random.default_rng(3)
    tokens = grid[0] * grid[1]
    counts = [tokens, 2, 3, 1, 4, 2, 5]
    slots = [rng.permutation(tokens)[:count] for count in counts]
    pixels = rng.integers(0, 256, (sum(counts), 3, 14, 14), np.uint8)
    return History(grid, np.cumsum([0, *counts]), np.concatenate(slots).astype(np.int16), pixels, 0)


def trainer(folder: Path, options: Recipe) -> Trainer:
    made = Trainer(options, bank(), folder, histories=[history()])
    made.prepare()
    return made


def test_a_resumed_run_gives_the_same_weights(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", recipe())
    logs = list(whole.run())
    assert [log["step"] for log in logs] == [1, 2, 3, 4, 5, 6]
    stopped = trainer(tmp_path / "stopped", recipe())
    list(islice(stopped.run(), 4))
    stopped.save()
    list(islice(stopped.run(), 1))  # lost: it came after the checkpoint
    resumed = trainer(tmp_path / "stopped", recipe())
    assert resumed.step == 4
    rest = list(resumed.run())
    assert [log["step"] for log in rest] == [5, 6]
    for name in ("model", "average", "discrimination"):
        one, other = getattr(whole, name), getattr(resumed, name)
        if name == "average":
            one, other = one.model, other.model
        for key, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), f"{name} {key}"
    kept = [json.loads(line)["step"] for line in (tmp_path / "stopped" / LOG_NAME).read_text().splitlines()]
    assert kept == [1, 2, 3, 4, 5, 6]  # of so few steps each is looked at


def test_the_seed_decides(tmp_path: Path) -> None:
    losses = []
    for number, seed in enumerate((0, 0, 1)):
        (log,) = trainer(tmp_path / str(number), recipe(steps=1, seed=seed)).run()
        losses.append(log["loss"])
    assert losses[0] == losses[1] != losses[2]


def test_a_run_learns_its_pictures(tmp_path: Path) -> None:
    run = trainer(tmp_path, recipe(steps=24, learning_rate=5e-3, warmup=3, rounds=1))
    clusters = [log["cluster"] for log in run.run()]
    assert np.mean(clusters[-6:]) < 0.9 * np.mean(clusters[:6])


def test_another_recipe_does_not_go_on(tmp_path: Path) -> None:
    trainer(tmp_path, recipe()).save()
    with pytest.raises(TrainingError, match="another recipe"):
        trainer(tmp_path, recipe(margin=0.1))
    longer = trainer(tmp_path, recipe(steps=9))
    assert longer.recipe.steps == read_recipe(tmp_path / "recipe.json").steps == 9


def test_data_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    wrong = history()
    small = History(wrong.grid, wrong.offsets, wrong.slots, wrong.pixels[..., :8, :8], 0)
    with pytest.raises(TrainingError, match="8 px"):
        Trainer(recipe(), bank(), tmp_path, histories=[small])


def test_recipes_survive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe(margin=0.2).to_mapping()))
    assert read_recipe(path) == recipe(margin=0.2)
    path.write_text('{"margn": 0.2}')
    with pytest.raises(TrainingError, match="margn"):
        read_recipe(path)
    with pytest.raises(TrainingError, match="versions"):
        recipe(versions=16)


def test_a_recipe_may_be_yaml(tmp_path: Path) -> None:
    path = tmp_path / "nano.yaml"
    path.write_text("# small\nmodel: {hidden_size: 96}\ngrids: [[4, 4]]\nlearning_rate: 1e-4\nwarmup: 5\n")
    found = read_recipe(path)
    assert (found.model.hidden_size, found.grids, found.learning_rate, found.warmup) == (
        96,
        ((4, 4),),
        1e-4,
        5,
    )
    for text, why in (
        ("steps: [", "no YAML"),
        ("- steps", "by name"),
        ("margin: much", "much"),
        ("steps: many", "makes no sense"),
    ):
        path.write_text(text)
        with pytest.raises(TrainingError, match=f"nano.yaml.*({why})"):
            read_recipe(path)


class Other:
    """A teacher as wide as the student itself."""

    mean, std = CLIP_MEAN, CLIP_STD
    digest = "0123456789abcdef"

    def __call__(self, patches: torch.Tensor, grid: tuple[int, int]) -> tuple[torch.Tensor, None]:
        return patches.mean(1)[:, : recipe().model.hidden_size], None


def test_a_run_goes_on_with_the_teacher_that_it_began_with(tmp_path: Path) -> None:
    began = trainer(tmp_path, recipe())
    list(islice(began.run(), 1))
    began.save()
    other = Trainer(recipe(), bank(), tmp_path, teacher=Other(), histories=[history()])
    with pytest.raises(TrainingError, match="began without a teacher"):
        other.prepare()
