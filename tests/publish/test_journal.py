"""What is written can be read back, whatever happened to the file; and the files stay bounded."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovstream.errors import ConfigError
from ovstream.publish.journal import Batch, Journal, Position
from ovstream.publish.segment import Record, Segment, pack, unpack

MIB = 1 << 20
ROOT = Path(__file__).parents[2]


def record(seq: int, *, name: str = "door", size: int = 100, epoch: int = 1, channel: str = "e") -> Record:
    body = random.Random(seq).randbytes(size)
    return Record((name, channel), seq, epoch, 1000 + seq, [b"e/door/", b"h" * 20, body, b""])  # type: ignore[arg-type]


def read(journal: Journal, lo: int, hi: int, *, name: str = "door") -> list[int]:
    batch = journal.read(name, "e", lo, hi, count=10**6, size=1 << 40)
    for one in batch.records:
        assert list(one.frames) == list(record(one.seq, name=name, size=len(one.frames[2])).frames)
    return [one.seq for one in batch.records]


@pytest.fixture(params=["folder", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "journal" if request.param == "folder" else None


def test_ranges_are_read_back(folder: Path | None) -> None:
    journal = Journal(folder, max_bytes=MIB)
    for seq in range(5, 500):
        assert journal.append(record(seq))
        assert journal.append(record(seq // 2, name=f"other{seq}"))
    assert read(journal, 0, 10) == list(range(5, 11))
    assert read(journal, 490, 10**6) == list(range(490, 500))
    assert journal.oldest("door", "e") == 5
    assert journal.position("door", "e") == Position(1, 500)
    assert journal.position("nobody", "e") is None
    assert journal.find("door", "e", 1100) == 100
    assert journal.find("door", "e", 9999) is None
    some = journal.read("door", "e", 7, 400, count=3, size=1 << 30)
    assert (some.last, [one.seq for one in some.records]) == (9, [7, 8, 9])
    few = journal.read("door", "e", 7, 400, count=100, size=250)
    assert [one.seq for one in few.records] == [7, 8]
    assert journal.read("nobody", "e", 0, 9, count=1, size=1) == Batch(9, [])
    journal.close()
    journal.close()


def test_the_oldest_give_way(folder: Path | None) -> None:
    journal = Journal(folder, max_bytes=MIB)
    for seq in range(5000):
        journal.append(record(seq, size=1000))
    oldest = journal.oldest("door", "e")
    assert oldest is not None
    assert 3900 < oldest < 4200
    assert read(journal, 0, 5000) == list(range(oldest, 5000))
    if folder is not None:
        assert sum(path.stat().st_size for path in folder.iterdir()) <= MIB + 100
    journal.close()


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    for turn in range(5):
        journal = Journal(tmp_path, max_bytes=MIB)
        assert read(journal, 0, 10**6) == list(range(turn * 50))
        for seq in range(turn * 50, turn * 50 + 50):
            journal.append(record(seq, epoch=turn))
        assert journal.position("door", "e") == Position(turn, turn * 50 + 50)
        journal.close()
    assert len(list(tmp_path.glob("*.ovj"))) == 1, "a restart goes on in the same file"


def test_a_numbering_that_begins_anew_hides_the_old_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_bytes=MIB)
    for seq in range(50, 60):
        journal.append(record(seq))
    for seq in range(3):
        journal.append(record(seq, epoch=2))
    assert read(journal, 0, 100) == [0, 1, 2]
    journal.close()
    journal = Journal(tmp_path, max_bytes=MIB)
    assert read(journal, 0, 100) == [0, 1, 2]
    assert journal.oldest("door", "e") == 0
    journal.close()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_damage_costs_no_more_than_what_it_hits(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder, max_bytes=MIB)
    for seq in range(40):
        journal.append(record(seq))
    journal.close()
    (path,) = folder.glob("*.ovj")
    whole = bytearray(path.read_bytes())
    starts = [8 + at * (len(whole) - 8) // 40 for at in range(41)]
    hit = set()
    for _ in range(data.draw(st.integers(0, 3))):
        bit = data.draw(st.integers(8 * 8, len(whole) * 8 - 1))
        whole[bit // 8] ^= 1 << bit % 8
        hit.add(next(n for n in range(40) if starts[n + 1] > bit // 8))
    cut = data.draw(st.integers(8, len(whole)))
    path.write_bytes(whole[:cut])
    expected = [seq for seq in range(40) if seq not in hit and starts[seq + 1] <= cut]
    journal = Journal(folder, max_bytes=MIB)
    # a bit that is flipped twice is as it was
    assert set(expected) <= set(read(journal, 0, 100)) <= set(expected) | hit
    journal.append(record(100))
    journal.close()
    journal = Journal(folder, max_bytes=MIB)
    assert read(journal, 100, 100) == [100]
    journal.close()


def test_damage_after_opening_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_bytes=MIB)
    for seq in range(5):
        journal.append(record(seq))
    (path,) = tmp_path.glob("*.ovj")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert read(journal, 0, 9) == [0, 1, 2, 3]
    assert journal.stats.damaged == 1
    journal.close()


@given(st.binary(max_size=300), st.integers(0, 40))
def test_noise_is_no_record(noise: bytes, offset: int) -> None:
    assert unpack(noise, offset) is None


def test_a_folder_belongs_to_one_publisher(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_bytes=MIB)
    with pytest.raises(ConfigError, match="in use"):
        Journal(tmp_path, max_bytes=MIB)
    journal.close()
    Journal(tmp_path, max_bytes=MIB).close()


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        Journal(tmp_path / "file" / "journal", max_bytes=MIB)


def test_files_are_for_their_owner(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        journal = Journal(tmp_path / "j", max_bytes=MIB)
        journal.append(record(0))
        journal.close()
    finally:
        os.umask(old)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "j").iterdir()}
    assert modes == {0o600}
    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o700


FULL = """
import resource, signal, sys
from pathlib import Path
from ovstream.publish.journal import Journal
from tests.publish.test_journal import record
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
journal = Journal(Path(sys.argv[1]), max_bytes=1 << 20)
print([journal.append(record(seq)) for seq in range(40)].count(True), journal.stats.refused)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print([journal.append(record(seq)) for seq in range(40, 45)].count(True))
journal.close()
"""


def test_a_file_that_may_not_grow_costs_what_does_not_fit_and_nothing_else(tmp_path: Path) -> None:
    """The kernel refuses writes beyond a limit, as it does on a full disk."""
    assert resource.RLIMIT_FSIZE
    told = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    kept = int(told[0])
    assert 5 < kept < 40
    assert int(told[1]) == 40 - kept
    assert told[2] == "5"
    journal = Journal(tmp_path, max_bytes=MIB)
    assert read(journal, 0, 100) == [*range(kept), *range(40, 45)]
    assert (journal.stats.damaged, journal.stats.torn_bytes) == (0, 0)
    journal.close()


def test_a_segment_writes_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = Segment(tmp_path / "1.ovj", number=1)
    segment.append(record(0), *pack(record(0)))
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda file, parts, at: real(file, [parts[0], parts[1][:5]], at))
    with pytest.raises(OSError, match="No space"):
        segment.append(record(1), *pack(record(1)))
    monkeypatch.undo()
    assert (tmp_path / "1.ovj").stat().st_size == segment.size
    segment.close()


def test_a_record_is_spoken_of_only_once_it_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks while it is written would be told that it cannot be had."""
    journal = Journal(tmp_path, max_bytes=MIB)
    journal.append(record(0))
    real, seen = os.pwritev, []

    def write(file: int, parts: list[bytes], at: int) -> int:
        seen.append((journal.position("door", "e"), read(journal, 0, 9)))
        return real(file, parts, at)

    monkeypatch.setattr(os, "pwritev", write)
    journal.append(record(1))
    assert seen == [(Position(1, 1), [0])]
    assert journal.position("door", "e") == Position(1, 2)
    journal.close()


def test_syncing_beside_appending_hurts_neither(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_bytes=2 * MIB)
    troubles: list[BaseException] = []
    stop = threading.Event()

    def sync() -> None:
        while not stop.is_set():
            try:
                journal.sync()
            except BaseException as error:
                troubles.append(error)

    syncing = threading.Thread(target=sync)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    syncing.start()
    try:
        for seq in range(800):
            journal.append(record(seq, size=20_000))  # a new file every few records
    finally:
        sys.setswitchinterval(before)
        stop.set()
        syncing.join()
    assert not troubles
    journal.sync()
    assert all(one.synced == one.size for one in journal._segments)
    journal.close()


def test_a_sync_that_fails_is_made_up_for_and_does_not_keep_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, max_bytes=MIB)
    journal.append(record(0))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", lambda file: os.stat("/no/such/file"))
        with pytest.raises(OSError, match="No such file"):
            journal.sync()
        assert journal._segments[0].synced == 0
        with pytest.raises(OSError, match="No such file"):
            journal.close()
    again = Journal(tmp_path, max_bytes=MIB)
    assert read(again, 0, 9) == [0]
    again.close()
