"""Files: every container gives complete access units that decode to the same pictures."""

from __future__ import annotations

import asyncio
import itertools
import time
import wave
from fractions import Fraction
from pathlib import Path

import av
import pytest

from ovstream.config import SourceConfig
from ovstream.errors import SourceNotFound, SourceProtocolError
from ovstream.nal import leading_nals, nal_type
from ovstream.sources.file import FileSource
from ovstream.sources.pacing import Pacer
from tests.clips import make_clip
from tests.sources.support import (
    FakeClock,
    collect,
    count_packets,
    decode_file,
    decode_units,
    reader_threads,
)

FRAMES = 24
CLIPS = [
    ("a.mp4", "libx264", "h264"),
    ("a.mkv", "libx264", "h264"),
    ("a.ts", "libx264", "h264"),
    ("a.avi", "libx264", "h264"),
    ("a.264", "libx264", "h264"),
    ("b.mp4", "libx265", "h265"),
    ("b.mkv", "libx265", "h265"),
    ("b.ts", "libx265", "h265"),
    ("b.265", "libx265", "h265"),
    ("c.webm", "libvpx", "vp8"),
    ("c.ivf", "libvpx", "vp8"),
    ("d.avi", "mpeg4", "mpeg4"),
    ("d.mp4", "mpeg4", "mpeg4"),
]
OPTIONS = {
    "libx264": {},
    "libx265": {"x265-params": "open-gop=0:log-level=none:pools=1:frame-threads=1"},
    "libvpx": {},
    "mpeg4": {},
}
SETS = {"h264": {7, 8}, "h265": {32, 33, 34}}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {
        name: make_clip(
            folder / name,
            codec=codec,
            width=160,
            height=128,
            frames=FRAMES,
            options={"g": "12"} | OPTIONS[codec],
        )
        for name, codec, _ in CLIPS
    }


@pytest.mark.parametrize(("name", "_encoder", "codec"), CLIPS)
async def test_units_are_the_coded_pictures(
    clips: dict[str, Path], name: str, _encoder: str, codec: str
) -> None:
    source = FileSource(clips[name])
    units = await collect(source)

    assert len(units) == count_packets(clips[name]) == FRAMES
    assert decode_units(units) == decode_file(clips[name])
    assert {unit.codec for unit in units} == {codec}
    assert sum(unit.keyframe for unit in units) >= 2
    assert not any(unit.discontinuity or unit.params_changed for unit in units)
    assert (source.stats.units, source.stats.bytes) == (FRAMES, sum(len(unit.data) for unit in units))
    times = sorted(unit.pts_seconds or 0.0 for unit in units)
    assert all(abs(b - a - 0.04) < 0.002 for a, b in itertools.pairwise(times))


@pytest.mark.parametrize("name", [name for name, _, codec in CLIPS if codec in SETS])
async def test_decoding_can_start_at_every_keyframe(clips: dict[str, Path], name: str) -> None:
    units = await collect(FileSource(clips[name]))
    for start in (index for index, unit in enumerate(units) if unit.keyframe):
        unit = units[start]
        assert {nal_type(nal, unit.codec) for nal in leading_nals(unit.data, unit.codec)} >= SETS[unit.codec]
        pictures, _ = decode_units(units[start:])
        assert pictures == FRAMES - start


@pytest.mark.parametrize(("name", "pictures"), [("a.mp4", 24), ("a.264", 24), ("c.ivf", 24)])
async def test_loop_goes_on_with_rising_time(clips: dict[str, Path], name: str, pictures: int) -> None:
    source = FileSource(clips[name], config=SourceConfig(loop=True))
    units = await collect(source, 3 * pictures)

    assert [index for index, unit in enumerate(units) if unit.discontinuity] == [pictures, 2 * pictures]
    times = sorted(unit.pts_seconds or 0.0 for unit in units)
    assert all(abs(b - a - 0.04) < 1e-6 for a, b in itertools.pairwise(times))
    for turn in range(3):
        part = units[turn * pictures : (turn + 1) * pictures]
        assert [unit.data for unit in part] == [unit.data for unit in units[:pictures]]
    assert reader_threads() == []


async def test_real_time_follows_the_decode_clock(clips: dict[str, Path]) -> None:
    clock = FakeClock()
    source = FileSource(
        clips["a.mp4"],
        config=SourceConfig(pace="realtime"),
        pacer=Pacer(clock=clock, sleep=clock.sleep),
    )
    units = await collect(source)
    assert len(clock.sleeps) == FRAMES - 1
    assert clock.sleeps == pytest.approx([0.04] * (FRAMES - 1))
    assert [unit.arrival_ns for unit in units] == sorted(unit.arrival_ns for unit in units)


async def test_a_slow_consumer_holds_the_file_back(clips: dict[str, Path]) -> None:
    source = FileSource(clips["a.mp4"], config=SourceConfig(queue_units=2))
    taken = 0
    async for _ in source.units():
        taken += 1
        await asyncio.sleep(0)
    assert (taken, source.stats.dropped) == (FRAMES, 0)


@pytest.mark.parametrize("taken", [0, 1, 7])
async def test_closing_anywhere_leaves_no_thread(clips: dict[str, Path], taken: int) -> None:
    source = FileSource(clips["a.mp4"], config=SourceConfig(loop=True, queue_units=2))
    units = source.units()
    for _ in range(taken):
        await anext(units)
    started = time.monotonic()
    await source.aclose()
    await source.aclose()
    assert await anext(units, None) is None
    assert time.monotonic() - started < 1.0
    assert reader_threads() == []


async def test_cancelling_the_consumer_leaves_no_thread(clips: dict[str, Path]) -> None:
    source = FileSource(clips["a.mp4"], config=SourceConfig(pace="realtime", loop=True))
    running = asyncio.Event()

    async def consume() -> None:
        async for _ in source.units():
            running.set()

    task = asyncio.create_task(consume())
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await source.aclose()
    assert reader_threads() == []


async def test_one_iteration_at_a_time_but_again_afterwards(clips: dict[str, Path]) -> None:
    source = FileSource(clips["a.mp4"])
    first = source.units()
    await anext(first)
    with pytest.raises(RuntimeError, match="already"):
        await anext(source.units())
    await first.aclose()
    assert len(await collect(source)) == FRAMES


async def test_events_tell_begin_and_end(clips: dict[str, Path]) -> None:
    events: list[tuple[str, str]] = []
    source = FileSource(clips["b.mp4"], on_event=lambda kind, detail: events.append((kind, detail)))
    await collect(source)
    assert [kind for kind, _ in events] == ["connected", "ended"]
    assert "h265 160x128" in events[0][1]


async def test_lost_transport_packets_are_flagged(clips: dict[str, Path], tmp_path: Path) -> None:
    packets = clips["a.ts"].read_bytes()
    middle = len(packets) // 188 // 2 * 188
    damaged = tmp_path / "damaged.ts"
    damaged.write_bytes(packets[:middle] + packets[middle + 3 * 188 :])
    source = FileSource(damaged)
    units = await collect(source)
    assert source.stats.lost == sum(unit.discontinuity for unit in units) > 0


async def test_a_cut_file_gives_what_is_whole(tmp_path: Path, clips: dict[str, Path]) -> None:
    fragmented = tmp_path / "fragmented.mkv"
    fragmented.write_bytes(clips["a.mkv"].read_bytes()[:-2000])
    whole = await collect(FileSource(clips["a.mkv"]))
    cut = await collect(FileSource(fragmented))
    assert 0 < len(cut) < len(whole)
    assert [unit.data for unit in cut[:-1]] == [unit.data for unit in whole[: len(cut) - 1]]


async def test_a_new_size_is_a_change_of_parameters(clips: dict[str, Path], tmp_path: Path) -> None:
    other = make_clip(tmp_path / "other.264", width=96, height=64, frames=5)
    joined = tmp_path / "joined.264"
    joined.write_bytes(clips["a.264"].read_bytes() + other.read_bytes())
    events: list[str] = []
    source = FileSource(joined, on_event=lambda kind, _detail: events.append(kind))
    units = await collect(source)
    assert [index for index, unit in enumerate(units) if unit.params_changed] == [FRAMES]
    assert "params" in events


async def test_a_raw_stream_counts_time_by_its_own_rate(tmp_path: Path) -> None:
    units = await collect(FileSource(make_clip(tmp_path / "slow.264", frames=4, fps=10)))
    assert [unit.pts_seconds for unit in units] == pytest.approx([0.0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("content", [b"", b"not a video at all", bytes(range(256)) * 64])
@pytest.mark.parametrize("suffix", [".mp4", ".264", ".txt"])
async def test_other_files_are_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"other{suffix}"
    path.write_bytes(content)
    with pytest.raises(SourceProtocolError, match=path.name):
        await collect(FileSource(path))


async def test_a_playlist_cannot_reach_other_files(tmp_path: Path, clips: dict[str, Path]) -> None:
    for name, text in [
        ("list.m3u8", f"#EXTM3U\n#EXTINF:1,\nfile://{clips['a.ts']}\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", f"ffconcat version 1.0\nfile '{clips['a.ts']}'\n"),
    ]:
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(SourceProtocolError):
            await collect(FileSource(path))


async def test_sound_and_pictures_are_told_from_damage(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))
    with pytest.raises(SourceProtocolError, match="no video of a kind that is read here: mov,matroska"):
        await collect(FileSource(path))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing.mp4", "nothing of that name"),
        (".", "but a folder"),
        ("-", "but a pipe"),
        ("/dev/null", "is not a file$"),
    ],
)
async def test_what_is_not_a_file_is_not_found(path: str, reason: str) -> None:
    with pytest.raises(SourceNotFound, match=reason):
        await collect(FileSource(path))
    assert reader_threads() == []


async def test_a_picture_too_large_is_refused(clips: dict[str, Path]) -> None:
    with pytest.raises(SourceProtocolError, match="max_pixels"):
        await collect(FileSource(clips["a.mp4"], config=SourceConfig(max_pixels=160 * 128 - 1)))


async def test_audio_only_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tone.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(SourceProtocolError, match="no video"):
        await collect(FileSource(path))
