"""Who may publish: one at a time, and a predecessor learns that it is none any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ovstream.config import PublishConfig
from ovstream.errors import ConfigError, FencedError, WireError
from ovstream.publish import Publisher
from ovstream.publish.leases import BLOCK, Leases
from tests.wire.samples import embedding

ROOT = Path(__file__).parents[2]


def config(folder: Path, name: str = "a", **options: object) -> PublishConfig:
    values = {"journal": str(folder / name), "leases": str(folder / "leases.sqlite"), **options}
    return PublishConfig.model_validate(values)


def test_epochs_grow_and_numbers_are_never_given_twice(tmp_path: Path) -> None:
    one, other = (Leases(tmp_path / "l", journal_id=name) for name in "ab")
    first = one.claim("door", at_least_epoch=7, next_seq=100)
    assert (first.epoch, first.reserved, first.same_journal) == (7, 100, True)
    one.reserve("door", up_to=164)
    second = other.claim("door", at_least_epoch=0, next_seq=0)
    assert (second.epoch, second.reserved, second.same_journal) == (8, 164, False)
    with pytest.raises(FencedError, match="door: another publisher"):
        one.reserve("door", up_to=228)
    with pytest.raises(FencedError):
        one.advance("door", epoch=99)
    other.advance("door", epoch=12)
    third = other.claim("door", at_least_epoch=0, next_seq=0)
    assert (third.epoch, third.reserved, third.same_journal) == (13, 164, True)
    one.close()
    other.close()


def test_claims_of_many_processes_are_all_different(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ovstream.publish.leases import Leases\n"
        "leases = Leases(Path(sys.argv[1]), journal_id='x')\n"
        "print(*(leases.claim('door', at_least_epoch=0, next_seq=0).epoch for _ in range(25)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "l")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(3)]
    epochs = [int(word) for process in running for word in process.communicate()[0].split()]
    assert sorted(epochs) == list(range(75))


def test_a_replaced_publisher_stops_within_a_block(tmp_path: Path) -> None:
    with (
        Publisher("tcp://127.0.0.1:*", config=config(tmp_path, "a")) as old,
        Publisher("tcp://127.0.0.1:*", config=config(tmp_path, "b")) as new,
    ):
        assert old.resume("door") == (0, 0)
        for seq in range(10):
            old.publish(embedding(seq))
        epoch, start = new.resume("door") or (0, 0)
        assert epoch == 1
        assert start == BLOCK, "nobody knows which of the reserved numbers were sent"
        new.publish(embedding(start, epoch=epoch))
        for seq in range(10, start):
            old.publish(embedding(seq))
        with pytest.raises(FencedError):  # no number is used by both
            old.publish(embedding(start))
        with pytest.raises(FencedError):
            old.announce("door", epoch=5)


def test_a_restart_on_the_same_journal_goes_on_without_a_hole(tmp_path: Path) -> None:
    for turn in range(3):
        with Publisher("tcp://127.0.0.1:*", config=config(tmp_path)) as publisher:
            assert publisher.resume("door") == (turn, turn * 100)
            publisher.announce("door", epoch=turn, next_seq=turn * 100)
            for seq in range(turn * 100, turn * 100 + 100):
                publisher.publish(embedding(seq, epoch=turn))


def test_after_a_power_cut_numbers_that_may_have_been_used_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Publisher("tcp://127.0.0.1:*", config=config(tmp_path)) as publisher:
        publisher.resume("door")
        for seq in range(10):
            publisher.publish(embedding(seq))
    monkeypatch.setattr("ovstream.publish.leases._boot_id", lambda: "another boot")
    with Publisher("tcp://127.0.0.1:*", config=config(tmp_path)) as publisher:
        assert publisher.resume("door") == (1, BLOCK)


def test_a_lower_epoch_than_the_journal_has_is_refused(tmp_path: Path) -> None:
    for epoch in (0, 1):
        with Publisher("tcp://127.0.0.1:*", config=config(tmp_path)) as publisher:
            if epoch:
                with pytest.raises(WireError, match="resume"):
                    publisher.publish(embedding(0, epoch=0))
            else:
                publisher.publish(embedding(0, epoch=0))


def test_a_store_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(b"no database, but long enough to be looked at" * 100)
    with pytest.raises(ConfigError, match="lease store"):
        Leases(tmp_path / "l", journal_id="x")
    with pytest.raises(ConfigError, match="lease store"):
        Publisher("tcp://127.0.0.1:*", config=config(tmp_path, leases=str(tmp_path / "no" / "l")))
