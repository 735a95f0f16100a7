"""The experiments of the documentation, short: nobody who is hurt loses anything without being told."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.publish import experiments
from tests.publish.tally import Row, resident_kib


def check(row: Row | None, *, told: bool = False) -> Row:
    assert row is not None
    assert (row.lost, row.duplicated, row.corrupt, row.unreported) == (0, 0, 0, 0), row
    assert bool(row.told) is told, row
    assert row.delivered + row.told >= row.sent > 0, row
    return row


def test_a_line_that_loses_a_quarter() -> None:
    row = check(experiments.bursty_loss(300))
    assert row.recovered > 100


@pytest.mark.timeout(240)
def test_kill_9_of_the_publisher_at_random_moments() -> None:
    check(experiments.kills(3))


def test_a_late_joiner() -> None:
    row = check(experiments.late_joiner(300))
    assert row.recovered == 300


def test_what_left_the_window_is_told() -> None:
    check(experiments.retention_overrun(2500), told=True)


def test_a_publisher_gone_before_the_ask() -> None:
    row = experiments.gone_before_the_ask()
    assert (row.lost, row.duplicated, row.corrupt, row.unreported) == (0, 0, 0, 0), row
    assert row.told > 0


@pytest.mark.timeout(240)
def test_a_stopped_subscriber_costs_the_publisher_nothing() -> None:
    before = resident_kib()
    check(experiments.stopped_subscriber(1500))
    assert resident_kib() - before < 64 << 10


def test_a_full_disk() -> None:
    row = experiments.disk_full(2000)
    if row is None:
        pytest.skip(
            "no file system can be mounted here; test_journal.py has the same with a limit of the kernel"
        )
    assert (row.duplicated, row.corrupt, row.unreported) == (0, 0, 0), row
    assert not row.remark.startswith("0 "), "the disk was never full"


def test_flipped_bits_and_a_torn_tail() -> None:
    check(experiments.damaged_journal(300), told=True)


@pytest.mark.skipif(not shutil.which("faketime") and not os.environ.get("CI"), reason="needs apt: faketime")
def test_a_clock_that_is_set() -> None:
    check(experiments.clock_jumps(1.2))
