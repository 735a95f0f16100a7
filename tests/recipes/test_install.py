"""What a run made is rounded, measured beside what is there, and put in its place only when it is no worse."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from ovstream.model.export import export_model, random_model
from ovstream.training.recipe import NANO, read_recipe
from ovstream.training.views import Bank
from recipes import install
from recipes.install import Measured
from recipes.sources import read_plan

from ..training.tiny import MODEL, bank

OV_NANO = Path(install.__file__).parent / "ov_nano"
GOOD = Measured(9_000_000, 0.05, 0.99)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("GRID", (4, 6)), ("UPDATES", 16), ("STEPS", 4), ("FILMS", 10)):
        monkeypatch.setattr(install, name, value)

    def pictures(folder: Path) -> Bank:
        return bank()

    monkeypatch.setattr(install, "load_bank", pictures)


def test_a_model_is_rounded_measured_and_put_in_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = random_model(MODEL, seed=3)
    for name in ("made", "there"):
        export_model(model, tmp_path / name, model_id=name, trained=True)
    (tmp_path / "there" / "MODEL_CARD.md").write_text("stays")
    words = [str(tmp_path / "made"), "--packs", str(tmp_path), "--out", str(tmp_path / "out")]
    torch.manual_seed(0)
    assert install.main([*words, "--model-id", "tiny", "--replace", str(tmp_path / "there")]) == 0
    told = capsys.readouterr().out
    assert "before" in told
    manifest = json.loads((tmp_path / "there" / "config.json").read_text())
    assert (manifest["model_id"], manifest["storage"]) == ("tiny", "int8")
    assert manifest["digest"] in told
    assert (tmp_path / "there" / "MODEL_CARD.md").read_text() == "stays"


def test_what_is_worse_is_refused() -> None:
    assert install.trouble(GOOD, 0.9999, None) == install.trouble(GOOD, 0.9999, GOOD) == ""
    assert "15 are allowed" in install.trouble(dataclasses.replace(GOOD, bytes=16_000_000), 0.9999, None)
    assert "rounding" in install.trouble(GOOD, 0.99, None)
    assert "was 0.0500" in install.trouble(dataclasses.replace(GOOD, fvu=0.08), 0.9999, GOOD)


@pytest.mark.parametrize("name", ["recipe", "cpu", "pair_masked", "pair_unmasked"])
def test_recipes_can_be_read(name: str) -> None:
    assert read_recipe(OV_NANO / f"{name}.json").model == NANO


def test_the_pair_differs_in_the_mask_alone() -> None:
    with_mask, without = (read_recipe(OV_NANO / f"pair_{name}.json") for name in ("masked", "unmasked"))
    assert dataclasses.replace(with_mask, masked=False) == without != with_mask


def test_the_plan_can_be_read() -> None:
    assert len(read_plan(OV_NANO / "sources.toml").sources) > 40
