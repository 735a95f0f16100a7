"""What makes steps cheap changes no more than it says: kept films, prepared stretches, half precision, small grids."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from ovstream.errors import TrainingError
from ovstream.model.export import random_model
from ovstream.training.fit import Trainer
from ovstream.training.records import Records
from ovstream.training.reels import Reels
from ovstream.training.student import Working, see, see_history
from ovstream.training.views import Views

from .test_fit import history
from .tiny import MODEL, bank, recipe


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_films_are_kept_for_some_steps_and_then_drawn_anew() -> None:
    options = recipe(film_reuse=3)
    reels = Reels(bank(), options, generator=seeded(0))
    span = 3 * len(options.grids)
    known: list[set[bytes]] = []
    for step in (0, 2, 4, span):  # the first grid's turns
        films = reels.films(4, (4, 4), step)
        assert films.patches.shape == (4, options.versions, 588)
        known.append({film.numpy().tobytes() for film in films.patches})
    first = known[0] | known[1] | known[2]
    assert 4 < len(first) <= 8  # of twice as many
    assert not known[3] & first


def test_a_run_that_goes_on_draws_the_films_that_it_would_have_had() -> None:
    options = recipe(film_reuse=2)
    through = Reels(bank(), options, generator=seeded(1))
    through.films(4, (4, 4), 0)
    through.films(4, (4, 4), 4)
    later = Reels(bank(), options, generator=seeded(7))
    ours, theirs = (
        {film.numpy().tobytes() for _ in range(30) for film in reels.films(4, (4, 4), 6).patches}
        for reels in (through, later)
    )
    assert len(ours) == 8
    assert ours == theirs


def test_stretches_are_pieces_of_the_streams() -> None:
    one = history()
    other = history()
    other = type(one)(one.grid, one.offsets, one.slots, 255 - one.pixels, 1)
    records = Records(
        [one, other],
        patch=14,
        updates=lambda grid: 14,
        device=torch.device("cpu"),
        generator=seeded(0),
        seed=3,
        stretches=40,
    )
    assert (4, 4) in records
    assert (3, 6) not in records
    films = records.films(30, (4, 4))
    pixels = {patch.tobytes() for both in (one, other) for patch in both.pixels.reshape(-1, 588)}
    given = (films.patches * 255).round().to(torch.uint8)
    assert {patch.numpy().tobytes() for patch in given.flatten(0, 1)} <= pixels
    for film in range(30):
        canvas = np.zeros((16, 588), np.float32)
        for slot, patch in zip(films.slots[film], films.patches[film], strict=True):
            canvas[int(slot)] = patch
        assert np.array_equal(canvas, films.last[film].numpy())
        assert films.born[film].diff().min() >= 0


def test_half_precision_gives_nearly_the_same_gradients() -> None:
    grid = (4, 4)
    films = Views(bank(), patch=14, generator=seeded(2)).films(6, grid, steps=2, updates=8)
    gradients = []
    for half in (False, True):
        model = random_model(MODEL, seed=1).train()
        work = Working(model, half=half, compiled=False)
        work.refresh()
        patches = (films.patches - 0.5).to(work.dtype)
        scene = see_history(work.model, patches, films.slots, films.born, grid).scene.float()
        scene = scene + see(work.model, (films.last - 0.5).to(work.dtype), grid).scene.float()
        (scene[:, ::2].sum() - scene[:, 1::2].square().sum()).backward()
        work.hand_over()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert gradients[1].dtype == torch.float32
    assert len(gradients[0]) == len(gradients[1])
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


def test_the_half_precise_model_takes_over_every_step() -> None:
    model = random_model(MODEL, seed=1)
    work = Working(model, half=True, compiled=False)
    with torch.no_grad():
        model.encoder.layers[1].mlp.fc1.weight.add_(1.0)
    work.refresh()
    for key, value in work.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[key].bfloat16()), key


def test_early_steps_see_small_grids() -> None:
    options = recipe(grids=((4, 4), (3, 5)), versions=32, early_grids=((2, 4), (2, 2)), early_share=0.5)
    assert [options.grid_at(step) for step in range(6)] == [(2, 4), (2, 2), (2, 4), (3, 5), (4, 4), (3, 5)]
    assert [options.updates(grid) for grid in ((4, 4), (3, 5), (2, 4), (2, 2))] == [16, 17, 8, 4]
    with pytest.raises(TrainingError, match="early_share"):
        recipe(early_share=0.5)


def test_a_run_begins_with_the_weights_that_are_named(tmp_path: Path) -> None:
    first = random_model(MODEL, seed=77)
    first.digest = "feedfacefeedface"
    options = recipe(steps=2, early_grids=((2, 3),), early_share=0.5)
    run = Trainer(options, bank(), tmp_path / "a", start=first)
    assert run.recipe.start == first.digest
    for key, value in run.model.state_dict().items():
        assert torch.equal(value, first.state_dict()[key]), key
    run.prepare()
    assert [log["step"] for log in run.run()] == [1, 2]
    with pytest.raises(TrainingError, match="--from"):
        Trainer(run.recipe, bank(), tmp_path / "b")
    first.digest = "0" * 16
    with pytest.raises(TrainingError, match="feedface"):
        Trainer(run.recipe, bank(), tmp_path / "b", start=first)
    with pytest.raises(TrainingError, match="another shape"):
        Trainer(recipe(model=type(MODEL)(64, 1, 1, 64, rope="rotary")), bank(), tmp_path / "b", start=first)


def test_losses_are_told_as_often_as_asked(tmp_path: Path) -> None:
    run = Trainer(recipe(masked=False), bank(), tmp_path)
    run.prepare()
    told = list(run.run(every=4))
    assert [log["step"] for log in told] == [4, 6]
    assert "consistency" not in told[0]


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    run = Trainer(recipe(), bank(), tmp_path)
    run.prepare()
    with torch.no_grad():
        run.model.encoder.layers[0].mlp.fc1.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan in step 1"):
        list(islice(run.run(), 1))


def test_photos_are_seen_through_each_other() -> None:
    flat = bank()
    flat.photos[:] = torch.tensor([0, 0, 255, 255, 255], dtype=torch.uint8).view(-1, 1, 1, 1)
    for count in (0, 1, 2, 3, 5, 40):
        views = Views(flat, patch=14, generator=seeded(4)).photos(count, (2, 2))
        assert views.shape == (count, 4, 588)
    assert ((views.mean((1, 2)) > 0.3) & (views.mean((1, 2)) < 0.7)).sum() > 2
