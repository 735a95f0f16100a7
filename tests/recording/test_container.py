"""The file gives back what it was given, and what a crash or a flipped bit leaves of it is told apart."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.errors import RecordingError
from ovstream.recording import (
    Decoded,
    Differed,
    Encoded,
    Header,
    Probed,
    RecordingReader,
    RecordingWriter,
    UnitEntry,
    Watched,
)
from ovstream.recording.cells import coarse
from ovstream.recording.columns import Columns
from ovstream.recording.planes import pack_frame, unpack_frame
from ovstream.types import BLOCK_DTYPE, FLAG_SPLIT, SPLIT_DTYPE, AccessUnit, FrameMetadata, ModelInfo

START_NS = 1_790_000_000 * 10**9
INFO = ModelInfo("small", "d" * 16, True, 8, 14, 4, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
HEADER = Header(
    "door",
    START_NS,
    7,
    40,
    {"plan": {"keep_ratio": 0.1}},
    INFO,
    "fast",
    (10, 20, 30, 40),
    "1.2.3",
    whole=True,
)


@pytest.fixture(autouse=True)
def chunks_of_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyframe begins a new one."""
    monkeypatch.setattr("ovstream.recording.container._CHUNK_UNITS", 25)


def frame(seed: int = 0, *, rows: int = 3, cols: int = 5) -> FrameMetadata:
    rng = np.random.default_rng(seed)
    blocks = np.frombuffer(rng.bytes(rows * cols * BLOCK_DTYPE.itemsize), BLOCK_DTYPE).reshape(rows, cols)
    splits = np.frombuffer(rng.bytes(2 * SPLIT_DTYPE.itemsize), SPLIT_DTYPE)
    return FrameMetadata(
        codec="h264", width=78, height=44, pts=seed, time_base=Fraction(1, 90000), keyframe=False, reference=True,
        slice_type="P", poc=2 * seed, coverage=0.75, origin="bitstream", bits=1234, blocks=blocks, splits=splits,
        errors=1, shown=False,
    )  # fmt: skip


def entry(number: int, *, keyframe: bool = False) -> UnitEntry:
    some, vector = np.array([1, 3], np.int32), np.arange(8, dtype=np.float32) / 3
    return UnitEntry(
        unit=AccessUnit(
            "h264", b"", number, Fraction(1, 25), keyframe, discontinuity=number == 3, capture_time_ns=number
        ),
        frames=(frame(number),),
        steps=(
            Decoded(damaged=False, error="", units=3),
            Differed(some, np.array([True, False])),
            Probed(some, some[:1]),
            Encoded(some, some[:0], vector, None, 3, 999, 0.25, 4),
            Watched("constant"),
        ),
        effort=(2, 0.5, False),
        counters=(1, 2, 3),
        published=((START_NS + number, 77),),
    )


def write(path: Path, *, units: int = 25) -> Path:
    with RecordingWriter(path, HEADER) as writer:
        for number in range(units):
            writer.add(entry(number, keyframe=number % 10 == 0), now_ns=START_NS + number * 10**9)
    return path


def told(one: UnitEntry) -> tuple[object, ...]:
    columns = Columns()
    return one.as_map(columns, whole=True), columns.pack()


def numbers(reader: RecordingReader, **options: int) -> list[int | None]:
    return [one.unit.pts if one.unit else None for one in reader.units(**options)]


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 6), cols=st.integers(1, 6))
def test_planes_come_back_to_the_bit(seed: int, rows: int, cols: int) -> None:
    before = frame(seed, rows=rows, cols=cols)
    columns = Columns()
    packed = pack_frame(before, columns, whole=True)
    after = unpack_frame(packed, Columns(columns.pack()))
    for name in FrameMetadata.__slots__:
        old, new = getattr(before, name), getattr(after, name)
        assert old.tobytes() == new.tobytes() if isinstance(old, np.ndarray) else old == new, name


def sane(seed: int, *, rows: int, cols: int) -> FrameMetadata:
    """A picture whose cells point to divisions that there are."""
    rng, made = np.random.default_rng(seed), frame(seed, rows=rows, cols=cols)
    blocks = made.blocks.copy()
    blocks["split"] %= 2
    blocks["block_class"] = rng.integers(0, 5, (rows, cols))
    blocks["residual_energy"] = np.exp2(rng.uniform(-9, 26, (rows, cols))) * rng.integers(0, 2, (rows, cols))
    blocks["bit_cost"] >>= rng.integers(3, 32, (rows, cols), np.uint32)
    return replace(made, blocks=blocks)


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 6), cols=st.integers(1, 6))
def test_what_the_planner_reads_comes_back(seed: int, rows: int, cols: int) -> None:
    exact = sane(seed, rows=rows, cols=cols)
    before = coarse(exact)
    columns = Columns()
    packed = pack_frame(before, columns, whole=False)
    after = unpack_frame(packed, Columns(columns.pack()))
    assert coarse(before).blocks.tobytes() == before.blocks.tobytes()  # rounding twice changes nothing
    for name, tiny in (("residual_energy", 0.25), ("bit_cost", 0)):
        old, rough = exact.blocks[name].astype(np.float64), before.blocks[name].astype(np.float64)
        assert np.all(np.abs(old - rough) <= np.maximum(old / 16, tiny))
        assert np.array_equal(rough, after.blocks[name])
    assert np.array_equal(before.block_class & 7, after.block_class)
    old, new = before.blocks, after.blocks
    past, future = old["ref_idx"][..., 0] >= 0, old["ref_idx"][..., 1] >= 0
    assert np.array_equal(np.maximum(old["ref_idx"][..., 0], -1), new["ref_idx"][..., 0])
    assert np.array_equal(old["mv"][past, 0], new["mv"][past, 0])
    assert np.array_equal(~past & future, new["ref_idx"][..., 1] >= 0)
    assert np.array_equal(old["mv"][~past & future, 1], new["mv"][~past & future, 1])
    divided = (old["flags"] & FLAG_SPLIT) != 0
    assert np.array_equal(divided, new["flags"] & FLAG_SPLIT)
    for field in ("mv", "ref_idx"):
        ours, theirs = after.splits[field][new["split"][divided]], before.splits[field][old["split"][divided]]
        assert np.array_equal(ours[:, 0], theirs[:, 0])


def test_gives_back_what_it_was_given(tmp_path: Path) -> None:
    with RecordingReader(write(tmp_path / "a.ovr")) as reader:
        assert reader.header == HEADER
        assert (reader.entries, reader.damaged) == (25, "")
        found = list(reader.units())
    for number, one in enumerate(found):
        assert told(one) == told(entry(number, keyframe=number % 10 == 0))


def test_reads_from_a_time_on(tmp_path: Path) -> None:
    with RecordingReader(write(tmp_path / "a.ovr")) as reader:
        assert numbers(reader, since_ns=START_NS + 15 * 10**9) == list(range(10, 25))
        assert numbers(reader, since_ns=START_NS - 1) == list(range(25))


def test_every_cut_leaves_whole_chunks(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.ovr").read_bytes()
    with RecordingReader(tmp_path / "a.ovr") as reader:
        first = reader._places[0].offset - 24
    path = tmp_path / "cut.ovr"
    for end in range(first, len(whole), 97):
        path.write_bytes(whole[:end])
        with RecordingReader(path) as reader:
            found = numbers(reader)
            assert found == list(range(len(found)))
            assert len(found) in (0, 10, 20)
            assert reader.damaged or end == first or len(found) in (10, 20)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.99])
def test_a_flipped_bit_is_noticed(tmp_path: Path, place: float) -> None:
    data = bytearray(write(tmp_path / "a.ovr").read_bytes())
    data[int(place * (len(data) - 1))] ^= 4
    path = tmp_path / "b.ovr"
    path.write_bytes(data)
    assert "b.ovr" in complaint(path)


def complaint(path: Path) -> str:
    """What is said about a damaged file, at the latest when the damaged chunk is read."""
    try:
        with RecordingReader(path) as reader:
            found = numbers(reader)
            assert found == list(range(len(found)))
            return f"{path}: {reader.damaged}" if reader.damaged else ""
    except RecordingError as error:
        return str(error)


def test_what_was_there_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "a.ovr")
    with pytest.raises(RecordingError, match="exists"):
        RecordingWriter(tmp_path / "a.ovr", HEADER)


def test_the_file_ends_at_its_size(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "a.ovr", HEADER, max_bytes=20_000) as writer:
        for number in range(2000):
            writer.add(entry(number, keyframe=number % 10 == 0), now_ns=START_NS)
        assert writer.full
        assert writer.size_bytes < 40_000
    with RecordingReader(tmp_path / "a.ovr") as reader:
        assert numbers(reader) == list(range(reader.entries))


@pytest.mark.parametrize("data", [b"", b"OVSREC2\n", b"OVSREC9\n" + bytes(99), b"RIFF" + bytes(400)])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.ovr"
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=r"x\.ovr"):
        RecordingReader(path)


def test_files_of_the_first_format_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "x.ovr"
    path.write_bytes(b"OVSREC1\nCHNK" + bytes(99))
    with pytest.raises(RecordingError, match=r"x\.ovr: a recording of format 1"):
        RecordingReader(path)


FULL = """
import resource, sys
from ovstream.errors import RecordingError
from ovstream.recording import RecordingReader, RecordingWriter, container
from tests.recording.test_container import HEADER, START_NS, entry
path, limit = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
container._CHUNK_UNITS = 1
try:
    with RecordingWriter(path, HEADER) as writer:
        for number in range(100):
            writer.add(entry(number, keyframe=True), now_ns=START_NS)
except RecordingError as error:
    print(number if "number" in globals() else -1, str(error).startswith(path))
"""


@pytest.mark.parametrize("limit", [100, 20_000])
def test_a_full_disk_ends_a_recording_and_what_is_there_stays_readable(tmp_path: Path, limit: int) -> None:
    """The kernel refuses writes beyond a limit, as it does on a full disk; chunks here are of some kilobytes."""
    path = tmp_path / "r.ovr"
    command = [sys.executable, "-c", FULL, str(path), str(limit)]
    root = Path(__file__).parents[2]
    told = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split()
    assert told[1] == "True"
    if limit == 100:
        assert not path.exists()
        return
    with RecordingReader(path) as reader:
        assert not reader.damaged
        assert [one.unit.pts for one in reader.units() if one.unit] == list(range(int(told[0]) - 1))
