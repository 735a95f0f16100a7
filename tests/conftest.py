"""Fixtures shared by all tests."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest

CORPUS = Path(__file__).parents[2] / "shared" / "corpus"


@dataclass(frozen=True, slots=True)
class Corpus:
    """Real streams by others, described by `manifest.tsv`; never copied into the project."""

    root: Path
    rows: list[dict[str, str]]

    def path(self, name: str) -> Path:
        return self.root / name


def load_corpus() -> Corpus | None:
    """The corpus, or None on machines that lack it."""
    manifest = CORPUS / "manifest.tsv"
    if not manifest.is_file():
        return None
    with manifest.open(newline="") as file:
        return Corpus(CORPUS, list(csv.DictReader(file, delimiter="\t")))


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    found = load_corpus()
    if found is None:
        pytest.skip("the corpus of real streams is not on this machine (../shared/corpus)")
    return found
