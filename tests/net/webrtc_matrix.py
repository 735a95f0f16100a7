"""What publishers do wrong over WebRTC: what happened, how fast the stream was back, what was lost.

python -m tests.net.webrtc_matrix --write docs/webrtc.md    # without --write it prints the table
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ovstream.types import AccessUnit
from tests.clips import make_clip
from tests.net.fault_matrix import pictures, write
from tests.net.fault_server import load_units
from tests.net.whip_publisher import Listener, Manners, Publisher, listening
from tests.rtp.sender import SentUnit

Outcome = Literal["nothing", "gap", "reconnect", "refused"]
GOP = 10
SILENCE_SECONDS = 0.8
PATIENCE_SECONDS = 20.0
POLITE = Manners()
Clips = dict[str, list[SentUnit]]
Play = Callable[[Publisher, Listener], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Case:
    """One fault, and the most that it may do.

    Attributes:
        name: For people.
        worst: The most that it may do.
        manners: Of the publisher.
        clip: What it sends.
        units: How many.
        play: Sends, and does what is wrong.
        edit: Changes its offer.
    """

    name: str
    worst: Outcome = "nothing"
    manners: Manners = POLITE
    clip: str = "h264"
    units: int = 60
    play: Play | None = None
    edit: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a case.

    Attributes:
        outcome: The worst that happened.
        units: That arrived.
        lost: Pictures between two that arrived, within a connection.
        longest_gap_seconds: Between two units.
        recovered_seconds: From the fault to the next unit; None where nothing stopped.
        packets: Sent and thrown away on the way.
        plis: Keyframes that were asked for.
        wrong: Units that are not what was sent, or hide a gap.
    """

    outcome: Outcome
    units: int
    lost: int
    longest_gap_seconds: float
    recovered_seconds: float | None
    packets: str
    plis: int
    wrong: tuple[str, ...]


async def _dies(publisher: Publisher, camera: Listener) -> None:
    """Vanishes; another one comes when the silence is noticed."""
    await publisher.play(20)
    await publisher.die()
    await camera.until(lambda: camera.kinds()[-1] == "reconnecting")
    await _comes_back(publisher, camera)


async def _leaves(publisher: Publisher, camera: Listener) -> None:
    """Closes its connection; comes back."""
    await publisher.play(20)
    await publisher.connection.close()
    await camera.until(lambda: camera.kinds()[-1] == "reconnecting")
    await _comes_back(publisher, camera)


async def _comes_back(publisher: Publisher, camera: Listener) -> None:
    async with Publisher(
        publisher.url, publisher.units, publisher.manners, played=publisher.played
    ) as second:
        await second.connect()
        await second.play(20)
        await camera.until(lambda: camera.units[-1].epoch == 1)


async def _pauses(publisher: Publisher, _camera: Listener) -> None:
    await publisher.play(20)
    await asyncio.sleep(SILENCE_SECONDS / 2)
    await publisher.play(20)


async def _loses_a_picture(publisher: Publisher, _camera: Listener) -> None:
    manners = publisher.manners
    await publisher.play(15)
    publisher.manners = Manners(loss=1.0, nack=False)
    await publisher.play(1)
    publisher.manners = manners
    await publisher.play(30)


def _without(text: str, *, ending: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.rstrip().endswith(ending))


CASES = [
    Case("none"),
    Case("H.264 main", manners=Manners(profile="4d001f")),
    Case("H.264 high", manners=Manners(profile="64001f")),
    Case("H.265", manners=Manners(codec="h265"), clip="h265"),
    Case("VP8", manners=Manners(codec="vp8"), clip="vp8"),
    Case("B frames", manners=Manners(profile="64001f"), clip="bframes"),
    Case("RSA certificate", manners=Manners(rsa=True)),
    Case("2 % loss", "gap", Manners(loss=0.02), units=250),
    Case("2 % loss, no RTX", "gap", Manners(loss=0.02, rtx=False), units=250),
    Case("2 % loss, nothing sent again", "gap", Manners(loss=0.02, nack=False), units=250),
    Case("10 % loss", "gap", Manners(loss=0.10), units=250),
    Case("a picture is lost", "gap", Manners(nack=False), play=_loses_a_picture),
    Case("pauses", play=_pauses),
    Case("closes, comes back", "reconnect", play=_leaves),
    Case("dies without a word, comes back", "reconnect", play=_dies),
    Case("clock 1 h off", manners=Manners(clock_offset_seconds=3600)),
    Case("a name as candidate", edit=lambda text: text + "a=candidate:9 1 udp 1 x.local 9 typ host\r\n"),
    Case("no common codec", "refused", edit=lambda text: text.replace("H264", "VP9")),
    Case("only sound", "refused", edit=lambda text: text.replace("m=video", "m=audio")),
    Case("wants to receive", "refused", edit=lambda text: text.replace("a=sendonly", "a=recvonly")),
    Case("no fingerprint", "refused", edit=lambda text: text.replace("a=fingerprint", "a=finger")),
]


async def run(case: Case, clips: Clips) -> Report:
    """Plays a case to its end."""
    units = clips[case.clip]
    async with (
        listening(read_timeout_seconds=SILENCE_SECONDS) as camera,
        Publisher(camera.url, units, case.manners) as publisher,
    ):
        offer = await publisher.offer()
        reply = await publisher.post(case.edit(offer) if case.edit else offer)
        if reply.status != 201:
            return _report("refused", camera, publisher, ())
        await publisher.connected()
        if case.play is not None:
            await case.play(publisher, camera)
        else:
            await publisher.play(case.units)
        await _settled(camera)
    lost, wrong = check(camera.units, publisher.played)
    outcome: Outcome = "nothing"
    if camera.source.stats.reconnects:
        outcome = "reconnect"
    elif any(unit.discontinuity for unit in camera.units) or camera.source.stats.lost:
        outcome = "gap"
    return _report(outcome, camera, publisher, wrong, lost)


async def _settled(camera: Listener) -> None:
    """Waits until what is on its way has arrived."""
    quiet_seconds = SILENCE_SECONDS / 3
    await camera.until(lambda: camera.times and time.monotonic() - camera.times[-1] > quiet_seconds)


def check(received: list[AccessUnit], played: list[SentUnit]) -> tuple[int, tuple[str, ...]]:
    """Pictures lost on the way, and every unit that is not as it was sent, or hides that others are missing."""
    sent = [pictures(unit.codec, unit.data) for unit in played]
    at, lost, epoch, wrong = 0, 0, 0, []
    for number, unit in enumerate(received):
        try:
            found = sent.index(pictures(unit.codec, unit.data), at)
        except ValueError:
            wrong.append(f"unit {number} was never sent, or not in this order")
            continue
        if number and unit.epoch == epoch:
            lost += found - at
            if found > at and not unit.discontinuity:
                wrong.append(f"{found - at} units are missing before unit {number}, which does not say so")
        at, epoch = found + 1, unit.epoch
    return lost, tuple(wrong)


def _report(
    outcome: Outcome, camera: Listener, publisher: Publisher, wrong: tuple[str, ...], lost: int = 0
) -> Report:
    gaps = [after - before for before, after in zip(camera.times, camera.times[1:], strict=False)]
    marked = [
        after - before
        for before, after, unit in zip(camera.times, camera.times[1:], camera.units[1:], strict=False)
        if unit.discontinuity
    ]
    return Report(
        outcome=outcome,
        units=len(camera.units),
        lost=lost,
        longest_gap_seconds=max(gaps, default=0.0),
        recovered_seconds=max(marked, default=None),
        packets=f"{publisher.sent} / {publisher.dropped}",
        plis=publisher.plis,
        wrong=wrong,
    )


async def make_clips(folder: Path) -> Clips:
    """What the publishers send: every codec, and one clip with B frames."""
    x264 = {"g": str(GOP), "tune": "zerolatency", "x264-params": "bframes=0:scenecut=0"}
    x265 = {"g": str(GOP), "x265-params": "log-level=none:pools=1:bframes=0:scenecut=0"}
    kinds = {
        "h264": ("libx264", "clip.264", x264),
        "h265": ("libx265", "clip.265", x265),
        "vp8": ("libvpx", "clip.mkv", {"g": str(GOP)}),
    }
    clips: Clips = {}
    for name, (codec, file, options) in kinds.items():
        path = make_clip(folder / file, codec=codec, width=160, height=128, frames=60, options=options)
        clips[name] = await load_units(path)
    ordered = {"g": str(GOP), "x264-params": "bframes=2:b-adapt=0:scenecut=0:open-gop=0"}
    path = make_clip(folder / "b.264", width=160, height=128, frames=60, options=ordered)
    clips["bframes"] = await load_units(path)
    return clips


async def run_all(clips: Clips, *, at_once: int) -> dict[str, Report | None]:
    """All cases, some at once; None where one did not end within `PATIENCE_SECONDS`."""
    room = asyncio.Semaphore(at_once)

    async def one(case: Case) -> Report | None:
        async with room:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    return await run(case, clips)
            except TimeoutError:
                return None

    reports = await asyncio.gather(*(one(case) for case in CASES))
    return {case.name: report for case, report in zip(CASES, reports, strict=True)}


def table(reports: dict[str, Report | None]) -> str:
    """The outcome in Markdown."""
    lines = [
        "| publisher | what happened | pictures | lost | longest gap | packets sent / dropped | PLI | wrong, unflagged |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, report in reports.items():
        if report is None:
            cells = [f"did not end in {PATIENCE_SECONDS:.0f} s", *["-"] * 6]
        else:
            cells = [
                report.outcome,
                str(report.units),
                str(report.lost),
                f"{1000 * report.longest_gap_seconds:.0f} ms",
                report.packets,
                str(report.plis),
                str(len(report.wrong) or "none"),
            ]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


async def main() -> str:
    with tempfile.TemporaryDirectory() as folder:
        clips = await make_clips(Path(folder))
    return table(await run_all(clips, at_once=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, help="put the table into this document instead")
    given = parser.parse_args()
    made = asyncio.run(main())
    if given.write:
        write(given.write, made)
    else:
        print(made)
