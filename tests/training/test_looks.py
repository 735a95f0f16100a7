"""What a run says of itself: measures by hand, curves where they belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ovstream.model.export import random_model
from ovstream.model.folder import CLIP_MEAN, CLIP_STD
from ovstream.training.labels import find_labels
from ovstream.training.looks import Looks, neighbours, purity
from ovstream.training.report import draw_curves
from ovstream.training.student import see
from ovstream.training.views import Views

from .tiny import MODEL, bank, recipe


def test_purity_and_neighbours_by_hand() -> None:
    clusters = torch.tensor([0, 0, 0, 2, 2, 2])
    groups = torch.tensor([1, 1, 3, 0, 3, 3])
    assert purity(clusters, groups) == pytest.approx(4 / 6)
    angles = torch.tensor([0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 3.0, 3.01, 3.02, 3.03, 3.04, 3.05])
    circle = torch.stack([angles.cos(), angles.sin()], 1)
    assert neighbours(circle, torch.tensor([0] * 6 + [1] * 6)) == 1.0
    assert neighbours(circle, torch.tensor([0] * 5 + [1] * 7)) == pytest.approx(11 / 12)


class Twin:
    """A teacher that says what a model says."""

    mean, std = CLIP_MEAN, CLIP_STD

    def __init__(self) -> None:
        self.model = random_model(MODEL, seed=5)

    @torch.no_grad()
    def __call__(self, patches: torch.Tensor, grid: tuple[int, int]) -> tuple[torch.Tensor, None]:
        return see(self.model, patches, grid).scene, None


def test_a_student_that_is_its_teacher_groups_as_it_does() -> None:
    options, teacher = recipe(), Twin()
    views = Views(bank(), patch=14, generator=torch.Generator().manual_seed(0))
    labels = find_labels(options, teacher, [views.photos(64, (4, 4))], seed=0)
    looks = Looks(options, bank(), teacher, labels)
    good, other = looks.look(teacher.model), looks.look(random_model(MODEL, seed=6))
    assert good["knn"] > max(0.6, other["knn"])
    assert good["purity"] > other["purity"]
    assert good["fvu"] > 0  # it was not trained with histories
    assert looks.look(teacher.model) == good
    assert set(Looks(options, bank(), None, labels).look(teacher.model)) == {"fvu"}


def test_curves_rise_where_numbers_rise(tmp_path: Path) -> None:
    rows = [{"step": float(step), "loss": 10.0 - step, "knn": step / 10} for step in range(1, 10)]
    draw_curves(tmp_path / "c.png", rows)
    with Image.open(tmp_path / "c.png") as drawn:
        picture = np.asarray(drawn.convert("RGB")).astype(int)
    blue = (np.abs(picture - (0x2B, 0x6C, 0xB0)).sum(2) < 30) & (np.arange(picture.shape[0]) > 110)[:, None]
    falls, rises = np.array_split(blue, 2, axis=1)
    for half, way in ((falls, 1), (rises, -1)):
        y, x = np.nonzero(half)
        assert way * np.polyfit(x, y, 1)[0] > 0.1  # y runs downwards
