"""The fault table of WebRTC publishers, case by case."""

from __future__ import annotations

import asyncio

import pytest

from tests.net.webrtc_matrix import CASES, GOP, Case, Report, make_clips, run_all, table

RANK = {"nothing": 0, "gap": 1, "reconnect": 2, "refused": 3}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report | None]:
    clips = asyncio.run(make_clips(tmp_path_factory.mktemp("webrtc")))
    found = asyncio.run(run_all(clips, at_once=4))
    print(table(found))  # shown when a test fails, and with -s
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_faults(reports: dict[str, Report | None], case: Case) -> None:
    report = reports[case.name]
    assert report is not None, "it did not end"
    assert report.wrong == ()
    assert RANK[report.outcome] <= RANK[case.worst]
    assert (report.outcome == "refused") == (case.worst == "refused")
    assert (report.outcome == "reconnect") == (case.worst == "reconnect")
    assert report.units >= (0 if case.worst == "refused" else GOP)
    assert report.plis > 0 or report.lost == 0
    assert report.lost <= 3 * GOP * max(report.plis, 1)


def test_loss_without_repair_is_noticed_and_repaired_by_keyframes(reports: dict[str, Report | None]) -> None:
    for name in ("2 % loss, nothing sent again", "a picture is lost"):
        report = reports[name]
        assert report is not None
        assert report.outcome == "gap"
        assert report.plis > 0
