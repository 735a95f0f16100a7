"""Fixtures shared by all tests."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

# Read by torch when it is imported: threads of small models only wait for each other, minutes on a loaded box.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Few tests that take long: these files begin first, or one core would wait for the other at the end.
LONG = (
    "tests/training/",
    "tests/native/test_instructions.py",
    "tests/service/",
    "tests/publish/test_experiments.py",
    "tests/examples/",
    "tests/cli/",
    "tests/browser/",
)
CORPUS = Path(__file__).parents[2] / "shared" / "corpus"


@dataclass(frozen=True, slots=True)
class Corpus:
    """Real streams by others, described by `manifest.tsv`; never copied into the project."""

    root: Path
    rows: list[dict[str, str]]

    def path(self, name: str) -> Path:
        return self.root / name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        return next((rank for rank, start in enumerate(LONG) if item.nodeid.startswith(start)), len(LONG))

    items.sort(key=rank)


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
