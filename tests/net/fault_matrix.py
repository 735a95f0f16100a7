"""Every fault of `fault_server` against a client: what happened, how fast it recovered, what was lost.

python -m tests.net.fault_matrix --write docs/ingest.md    # without --write it prints the table
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from ovstream.config import SourceConfig
from ovstream.nal import is_slice, nal_type
from ovstream.sources import open_source
from ovstream.types import AccessUnit
from tests.clips import make_clip
from tests.net.fault_server import TICKS, Behaviour, FaultServer, load_units
from tests.rtp.sender import SentUnit, annexb_nals

Outcome = Literal["nothing", "gap", "reconnect"]
UNITS = 45
GOP = 10
PATIENCE_SECONDS = 20
LONGEST_STEP_TICKS = 5 * 90_000
OTHER = 100_000  # added to the numbers of the second clip's pictures
CONFIG = SourceConfig(
    read_timeout_seconds=0.8,
    open_timeout_seconds=0.8,
    reconnect_initial_seconds=0.05,
    reconnect_max_seconds=0.1,
    keep_trying=True,
)


@dataclass(frozen=True, slots=True)
class Case:
    """One fault, and the most that it may do."""

    name: str
    behaviour: Behaviour
    worst: Outcome = "nothing"
    transports: tuple[Literal["tcp", "udp"], ...] = ("tcp", "udp")
    slowest_seconds: float = 6.0


CASES = [
    Case("none", Behaviour()),
    Case("stall, then goes on", Behaviour(fault="stall", seconds=0.25)),
    Case("pauses inside of a keyframe", Behaviour(fault="pause", seconds=0.6)),
    Case("falls silent", Behaviour(fault="silent"), "reconnect"),
    Case("closes", Behaviour(fault="close"), "reconnect"),
    Case("resets", Behaviour(fault="reset"), "reconnect"),
    Case("no picture is whole any more", Behaviour(fault="crumble"), "reconnect", slowest_seconds=15.0),
    Case("half a packet, then silence", Behaviour(fault="half"), "reconnect", ("tcp",)),
    Case("garbage between packets", Behaviour(fault="garbage"), "gap", ("tcp",)),
    Case("datagrams that are no RTP", Behaviour(noise=True), transports=("udp",)),
    Case("BYE", Behaviour(fault="bye"), "reconnect"),
    Case("timestamps jump by 1000 s", Behaviour(fault="timestamp jump")),
    Case("timestamps go back by 3 s", Behaviour(fault="timestamps back")),
    Case("timestamps wrap", Behaviour(timestamp=2**32 - 20 * TICKS)),
    Case("sequence numbers jump by 5000", Behaviour(fault="sequence jump"), "gap"),
    Case("sequence numbers wrap", Behaviour(sequence=65_500)),
    Case("another SSRC", Behaviour(fault="new sender"), "gap"),
    Case("another size", Behaviour(fault="switch")),
    Case("1 % loss", Behaviour(loss=0.01), "gap"),
    Case("order mixed up", Behaviour(reorder=True), transports=("udp",)),
    Case("every packet twice", Behaviour(repeat=True)),
    Case("parameter sets in the SDP only", Behaviour(mute_sets=True)),
    Case("no markers", Behaviour(marker="never")),
    Case("markers with every NAL unit", Behaviour(marker="nal")),
    Case("packetization mode 0", Behaviour(whole_nals=True)),
    Case("no RTP-Info", Behaviour(rtp_info=False)),
    Case("redirects", Behaviour(redirect=True)),
    Case("refuses TCP", Behaviour(refuse="tcp")),
    Case("refuses UDP", Behaviour(refuse="udp")),
    Case("refuses aggregate control", Behaviour(no_aggregate=True)),
    Case("refuses GET_PARAMETER", Behaviour(refuse_methods=("GET_PARAMETER",), session_seconds=1)),
    Case("session of 1 s", Behaviour(session_seconds=1)),
    Case("stale nonce", Behaviour(credentials=("me", "CANARY s@cret"), stale=True)),
    Case("asks back", Behaviour(asks=True), transports=("tcp",)),
    Case("audio track first", Behaviour(audio_first=True)),
    Case("no answer to DESCRIBE", Behaviour(hang="DESCRIBE")),
    Case("no answer to SETUP", Behaviour(hang="SETUP")),
    Case("no answer to PLAY", Behaviour(hang="PLAY")),
]


class Key(NamedTuple):
    """Which run."""

    name: str
    transport: str
    backend: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a client made of a case.

    Attributes:
        reconnects: Connections after the first.
        gaps: Units with `discontinuity`.
        lost: Pictures that were sent between two delivered ones of a connection, and not delivered.
        recovered_seconds: See `recovery`; None without a fault.
        params_changed: Units with this flag.
        wrong: Units that are not what was sent, hide a gap, or have a pts that does not go on.
        events: By kind.
    """

    reconnects: int
    gaps: int
    lost: int
    recovered_seconds: float | None
    params_changed: int
    wrong: tuple[str, ...]
    events: Counter[str]

    @property
    def outcome(self) -> Outcome:
        return "reconnect" if self.reconnects else "gap" if self.gaps else "nothing"


async def run(
    case: Case, *, units: list[SentUnit], other: list[SentUnit], transport: str, backend: str
) -> Report:
    """Plays a case until the fault has happened and `UNITS` pictures have arrived."""
    events: Counter[str] = Counter()
    user, password = case.behaviour.credentials or (None, None)
    changes = {"transport": transport, "backend": backend, "username": user, "password": password}
    config = SourceConfig.model_validate(CONFIG.model_dump() | changes)
    received: list[AccessUnit] = []
    times: list[float] = []
    longest = 140 if case.behaviour.session_seconds == 1 else UNITS
    async with FaultServer(units, case.behaviour, other_units=other) as server:
        source = open_source(server.url, config=config, on_event=lambda kind, _detail: events.update([kind]))
        async with aclosing(source.units()) as stream:
            async for unit in stream:
                received.append(unit)
                times.append(time.monotonic())
                if len(received) >= longest:
                    break
        faulted = server.faulted
    lost, wrong = audit(received, units, other)
    return Report(
        reconnects=source.stats.reconnects,
        gaps=sum(unit.discontinuity for unit in received),
        lost=lost,
        recovered_seconds=None if faulted is None else recovery(received, times, faulted),
        params_changed=sum(unit.params_changed for unit in received),
        wrong=wrong,
        events=events,
    )


def recovery(received: list[AccessUnit], times: list[float], faulted: float) -> float | None:
    """Seconds from a fault to the first unit of the next connection, or behind the gap, or at all."""
    after = [(unit, at) for unit, at in zip(received, times, strict=True) if at > faulted]
    marked = [at for unit, at in after if unit.discontinuity] or [at for _, at in after]
    return marked[0] - faulted if marked else None


def audit(
    received: Iterable[AccessUnit], units: list[SentUnit], other: list[SentUnit]
) -> tuple[int, tuple[str, ...]]:
    """Pictures lost, and every unit that is not whole, or hides that others are missing."""
    known = {pictures(unit.codec, unit.data): index for index, unit in enumerate(units)}
    known |= {pictures(unit.codec, unit.data): OTHER + index for index, unit in enumerate(other)}
    lost, wrong = 0, []
    before: tuple[int, int] | None = None  # number of the picture, epoch
    last_pts: int | None = None
    for unit in received:
        if unit.pts is None or (last_pts is not None and not 0 < unit.pts - last_pts < LONGEST_STEP_TICKS):
            wrong.append(f"pts {unit.pts} comes after {last_pts}")
        last_pts = unit.pts
        index = known.get(pictures(unit.codec, unit.data))
        if index is None:
            wrong.append(f"unit at pts {unit.pts} was never sent")
            continue
        count = len(other) if index >= OTHER else len(units)
        same_clip = before is not None and (index >= OTHER) == (before[0] >= OTHER)
        if before is not None and same_clip and unit.epoch == before[1]:
            missing = (index - before[0] - 1) % count
            lost += missing
            if missing and not unit.discontinuity:
                wrong.append(f"{missing} units are missing before {index}, which does not say so")
        before = index, unit.epoch
    return lost, tuple(wrong)


def pictures(codec: str, data: bytes) -> bytes:
    """The coded pictures of an access unit, without what stands before them."""
    if codec == "vp8":
        return data
    return b"\0\0\1".join(nal for nal in annexb_nals(data) if is_slice(nal_type(nal, codec), codec))


async def make_streams(folder: Path) -> tuple[list[SentUnit], list[SentUnit]]:
    """A clip of one size, and one of another."""
    options = {"g": str(GOP), "x264-params": "bframes=0:scenecut=0", "tune": "zerolatency"}
    first = make_clip(folder / "first.264", width=160, height=128, frames=60, options=options)
    second = make_clip(folder / "second.264", width=128, height=96, frames=60, options=options)
    return await load_units(first), await load_units(second)


async def run_all(
    backends: Iterable[str],
    *,
    units: list[SentUnit],
    other: list[SentUnit],
    at_once: int,
    cases: Iterable[Case] = CASES,
) -> dict[Key, Report | None]:
    """All cases, some at once; None where pictures did not come within `PATIENCE_SECONDS`."""
    room = asyncio.Semaphore(at_once)

    async def one(case: Case, transport: str, backend: str) -> Report | None:
        async with room:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    return await run(case, units=units, other=other, transport=transport, backend=backend)
            except TimeoutError:
                return None

    keys = [
        Key(case.name, transport, backend)
        for case in cases
        for transport in case.transports
        for backend in backends
    ]
    by_name = {case.name: case for case in CASES}
    return dict(zip(keys, await asyncio.gather(*(one(by_name[k.name], *k[1:]) for k in keys)), strict=True))


def table(reports: dict[Key, Report | None]) -> str:
    """The outcome in Markdown: a row per fault, a column per way to receive."""
    ways = sorted(
        {(key.backend, key.transport) for key in reports}, key=lambda way: (way[0] != "native", way[1])
    )
    lines = [
        "| fault | " + " | ".join(f"{backend}, {transport.upper()}" for backend, transport in ways) + " |",
        "|---" * (len(ways) + 1) + "|",
    ]
    for name in dict.fromkeys(key.name for key in reports):
        keys = [Key(name, transport, backend) for backend, transport in ways]
        cells = [_cell(reports[key]) if key in reports else "" for key in keys]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


def _cell(report: Report | None) -> str:
    """What happened, the time to the next picture, what was lost, and what was wrong without a word."""
    if report is None:
        return f"no pictures in {PATIENCE_SECONDS} s"
    words = [] if report.outcome == "nothing" else [report.outcome]
    if report.recovered_seconds is not None and report.outcome != "nothing":
        words.append(f"{1000 * report.recovered_seconds:.0f} ms")
    if report.lost:
        words.append(f"{report.lost} lost")
    if report.wrong:
        words.append(f"**{len(report.wrong)} wrong**")
    return ", ".join(words) or "nothing"


def write(path: Path, text: str) -> None:
    """Replaces what stands between the two marks of a document."""
    before, begin, rest = path.read_text().partition("<!-- fault matrix -->\n")
    _, end, after = rest.partition("<!-- end -->\n")
    if not begin or not end:
        raise SystemExit(f"{path} has no place for the table")
    path.write_text(f"{before}{begin}\n{text}\n\n{end}{after}")


async def main(backends: list[str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        units, other = await make_streams(Path(folder))
    return table(await run_all(backends, units=units, other=other, at_once=4))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", action="append", choices=("native", "ffmpeg"))
    parser.add_argument("--write", type=Path, help="put the table into this document instead")
    given = parser.parse_args()
    found = asyncio.run(main(given.backend or ["native", "ffmpeg"]))
    if given.write:
        write(given.write, found)
    else:
        print(found)
