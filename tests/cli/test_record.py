"""`ovstream record` and `ovstream replay`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.programs import ovstream, ovstream_each

CAMERA = "synthetic:?seconds=2&width=320&height=192"


@pytest.mark.timeout(360)  # three command lines and a network, on a busy machine
def test_what_was_recorded_runs_again(tmp_path: Path) -> None:
    file = tmp_path / "door.ovr"
    told = ovstream("record", CAMERA, str(file), "--stream-id", "door")
    assert "50 pictures" in told
    again = ovstream("replay", str(file))
    assert (
        "51 of 51 access units gave the recorded embeddings to the bit" in again
    )  # the last: what was held back
    other = ovstream("replay", str(file), "--keep-ratio", "0.02")
    assert "would have taken" in other
    assert "not in the recording" in other


def test_a_change_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "door.ovr"
    ovstream("record", CAMERA, str(file), "--seconds", "30")
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    told = ovstream("replay", str(file), status=0)
    assert "the file is damaged" in told


def test_mistakes_are_explained(tmp_path: Path) -> None:
    there, free = tmp_path / "x.ovr", tmp_path / "free.ovr"
    there.write_text("hello")
    none, other, taken, nothing = ovstream_each(
        ["replay", str(tmp_path / "none.ovr")],
        ["replay", str(there)],
        ["record", CAMERA, str(there)],
        ["record", str(tmp_path / "none.mp4"), str(free)],
        status=1,
    )
    assert "No such file" in none
    assert "no recording" in other
    assert "exists" in taken
    assert "nothing was recorded" in nothing
    assert not free.exists()  # the name is free for the next try
