"""Names of recordings: none is overwritten, and not too many are kept."""

from __future__ import annotations

from pathlib import Path

from ovstream.recording.names import new_recording

DAY_NS = 86_400 * 10**9


def name(path: Path, day: int, *, max_files: int | None = 3) -> Path:
    made = new_recording(path, stream_id="door", started_ns=day * DAY_NS, max_files=max_files)
    made.write_text(str(day))
    return made


def test_in_a_folder_the_newest_of_the_stream_are_kept_and_nothing_else_is_touched(tmp_path: Path) -> None:
    others = [tmp_path / one for one in ("door.ovr", "door-notes.ovr", "gate-19700101T000000Z.ovr")]
    for other in others:
        other.touch()
    for day in range(6):
        name(tmp_path, day)
    kept = sorted(tmp_path.glob("door-1970*"))
    assert [one.name for one in kept] == [f"door-1970010{day}T000000Z.ovr" for day in (4, 5, 6)]
    assert all(other.exists() for other in others)


def test_a_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.rec"
    assert [name(path, day).name for day in range(5)][:2] == ["mine.rec", "mine-19700102T000000Z.rec"]
    assert path.read_text() == "0"
    assert len(list(tmp_path.iterdir())) == 1 + 3


def test_all_are_kept_where_no_number_is_given(tmp_path: Path) -> None:
    for day in range(6):
        name(tmp_path, day, max_files=None)
    assert len(list(tmp_path.iterdir())) == 6
