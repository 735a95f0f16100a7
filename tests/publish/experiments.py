"""What publisher and subscriber survive, as a table: `python -m tests.publish.experiments [--long]`.

Every experiment sends messages whose content follows from their number, hurts somebody, and counts at the end:
*lost* (sent and still kept, but not delivered), *duplicated*, *corrupt*, *unreported* (neither delivered nor in a gap).
All four must be 0; *told* are the numbers in gaps, where some cannot be had any more by design.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from ovstream.config import PublishConfig
from ovstream.publish import Publisher, subscribe
from tests.publish.tally import HEAD, Row, Tally, numbered, outcome, read_until, resident_kib

ROOT = Path(__file__).parents[2]


@contextmanager
def lossy_line(endpoint: str, *, share: float, seed: int = 1) -> Iterator[str]:
    """Passes messages on, but loses them in bursts of 1 to 100."""
    context = zmq.Context()
    receiving, sending = context.socket(zmq.SUB), context.socket(zmq.PUB)
    for socket in (receiving, sending):
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = 100_000
    receiving.subscribe("")
    receiving.connect(endpoint)
    port = sending.bind_to_random_port("tcp://127.0.0.1")
    stop = threading.Event()

    def run() -> None:
        random_ = random.Random(seed)
        burst = 0
        while not stop.is_set():
            if not receiving.poll(50):
                continue
            frames = receiving.recv_multipart()
            if burst:
                burst -= 1
            elif random_.random() < share:
                burst = random_.choice([0, 0, 0, 3, 20, 100])
            else:
                sending.send_multipart(frames)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        stop.set()
        thread.join()
        receiving.close()
        sending.close()
        context.term()


def bursty_loss(count: int) -> Row:
    """A line that loses a quarter of everything, heartbeats and ends included."""
    names = ["door", "yard", "gate", "roof"]
    tally = Tally()
    with Publisher("tcp://127.0.0.1:*") as publisher, lossy_line(publisher.endpoint, share=0.016) as line:
        for name in names:
            publisher.announce(name)
        with subscribe(
            line, replay=publisher.replay_endpoint, policy="lossless", start="oldest", recover_seconds=60
        ) as events:
            time.sleep(0.3)
            stop = threading.Event()

            def send() -> None:
                for seq in range(count):
                    for name in names:
                        publisher.publish(numbered(seq, stream_id=name))
                    if seq % 50 == 0:
                        publisher.heartbeat(time.time_ns())
                        time.sleep(0.01)
                while not stop.wait(0.1):
                    publisher.heartbeat(time.time_ns())

            thread = threading.Thread(target=send)
            thread.start()
            try:
                read_until(events, tally, lambda: all(tally.seen(name) == count for name in names))
            finally:
                stop.set()
                thread.join()
            stats = events.stats
    share = stats.recovered / (count * len(names))
    sent = dict.fromkeys(names, range(count))
    return outcome(
        "bursty loss",
        tally,
        stats.recovered,
        sent,
        remark=f"{share:.0%} came only by asking, in {stats.requests} requests",
    )


PUBLISHER = """
import select, sys, time
from ovstream.config import PublishConfig
from ovstream.publish import Publisher
from tests.publish.tally import end_with_parent, numbered
end_with_parent()
endpoint, folder, pause, count = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
config = PublishConfig(journal=folder, journal_bytes=1 << 26, journal_sync_seconds=0.1)
with Publisher(endpoint, config=config) as publisher:
    epoch, seq = publisher.resume("door")
    publisher.announce("door", epoch=epoch, next_seq=seq)
    print(publisher.endpoint, seq, flush=True)
    end = seq + count
    while True:
        if seq % 20 == 0 or seq >= end:
            publisher.heartbeat(time.time_ns())
        if seq < end:
            publisher.publish(numbered(seq, epoch=epoch))
            seq += 1
        select.select([], [], [], pause)  # time.sleep refuses a clock that jumps
"""


@contextmanager
def publishing(
    folder: Path, *, endpoint: str, pause: float, count: int = 10**9, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A publisher in a process of its own; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", PUBLISHER, endpoint, str(folder), str(pause), str(count)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def announced(process: subprocess.Popen[str]) -> tuple[str, int]:
    """(endpoint, first number) of a publisher process."""
    assert process.stdout is not None
    endpoint, seq = process.stdout.readline().split()
    return endpoint, int(seq)


def kills(times: int) -> Row:
    """kill -9 at random moments, also during the start; the successor goes on in the same journal."""
    random_ = random.Random(3)
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        endpoint = f"ipc://{folder}/e"
        with subscribe(endpoint, policy="lossless", start="oldest", recover_seconds=60) as events:
            for turn in range(times):
                with publishing(Path(folder) / "j", endpoint=endpoint, pause=0.0005) as process:
                    if turn % 4:
                        announced(process)
                    end = time.monotonic() + random_.uniform(0.02, 0.5)
                    read_until(events, tally, lambda end=end: time.monotonic() > end or not tally.delivered)
            with publishing(Path(folder) / "j", endpoint=endpoint, pause=0.0005, count=200) as process:
                last = announced(process)[1] + 200
                read_until(events, tally, lambda: tally.seen() >= last)
            recovered = events.stats.recovered
    return outcome(
        "kill -9 of the publisher", tally, recovered, {"door": range(last)}, remark=f"{times} times"
    )


def late_joiner(count: int) -> Row:
    """A subscriber that comes when everything was sent."""
    tally = Tally()
    with Publisher("tcp://127.0.0.1:*") as publisher:
        for seq in range(count):
            publisher.publish(numbered(seq))
        with subscribe(publisher.endpoint, start="oldest", recover_seconds=60) as events:
            read_until(events, tally, lambda: tally.seen() == count)
            recovered = events.stats.recovered
    return outcome("late joiner", tally, recovered, {"door": range(count)})


def retention_overrun(count: int) -> Row:
    """A subscriber that comes when the window has moved on: what left it is told."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        config = PublishConfig(journal=f"{folder}/j", journal_bytes=1 << 20)
        with Publisher("tcp://127.0.0.1:*", config=config) as publisher:
            publisher.resume("door")
            for seq in range(count):
                publisher.publish(numbered(seq))
            oldest = publisher._journal.oldest("door", "e") or 0
            with subscribe(publisher.endpoint, start=0) as events:
                read_until(events, tally, lambda: tally.seen() == count)
                recovered = events.stats.recovered
    return outcome(
        "retention overrun", tally, recovered, {"door": range(count)}, may_be_told=lambda seq: seq < oldest
    )


def gone_before_the_ask() -> Row:
    """A publisher that is killed before anybody can ask for what the line lost, and does not come back."""
    tally = Tally()
    with (
        tempfile.TemporaryDirectory() as folder,
        publishing(Path(folder) / "j", endpoint="tcp://127.0.0.1:*", pause=0.001) as process,
    ):
        endpoint, _ = announced(process)
        with lossy_line(endpoint, share=0.05) as line:
            # Nobody answers at this address, as if the publisher died before every ask.
            nobody = f"ipc://{folder}/nobody"
            with subscribe(line, replay=nobody, policy="lossless", recover_seconds=0.2) as events:
                read_until(events, tally, lambda: len(tally.delivered.get("door", [])) > 150)
                process.kill()
    first, last = tally.delivered["door"][0], tally.seen()
    return outcome(
        "publisher gone before the ask", tally, 0, {"door": range(first, last)}, may_be_told=lambda seq: True
    )


SUBSCRIBER = """
import sys
from ovstream.publish import subscribe
from tests.publish.tally import Tally, end_with_parent, read_until
end_with_parent()
tally, last = Tally(), int(sys.argv[2])
with subscribe(sys.argv[1], policy="lossless", start="oldest", recover_seconds=60) as events:
    print("ready", flush=True)
    read_until(events, tally, lambda: tally.seen() == last, seconds=100)
    gone = tally.gaps.get("door", [])
    print(events.stats.recovered, tally.corrupt, len(gone), *gone, *tally.delivered["door"], flush=True)
"""


def stopped_subscriber(count: int) -> Row:
    """SIGSTOP of a subscriber while everything is sent: the publisher neither waits nor grows."""
    tally = Tally()
    with (
        tempfile.TemporaryDirectory() as folder,
        Publisher(
            "tcp://127.0.0.1:*", config=PublishConfig(high_water_mark=200, journal=f"{folder}/j")
        ) as publisher,
    ):
        publisher.announce("door")
        command = [sys.executable, "-c", SUBSCRIBER, publisher.endpoint, str(count)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            process.stdout.readline()
            for seq in range(100):
                publisher.publish(numbered(seq))
            time.sleep(0.2)
            process.send_signal(signal.SIGSTOP)
            before, waited = resident_kib(), 0.0
            for seq in range(100, count):
                message = numbered(seq)
                started = time.perf_counter() - time.thread_time()
                publisher.publish(message)
                waited = max(waited, time.perf_counter() - time.thread_time() - started)
            grown = resident_kib() - before
            process.send_signal(signal.SIGCONT)
            reading = threading.Thread(target=lambda: _read_numbers(process, tally))
            reading.start()
            while reading.is_alive():
                publisher.heartbeat(time.time_ns())
                reading.join(0.2)
        finally:
            process.kill()
            process.communicate()
    return outcome(
        "stopped subscriber",
        tally,
        count - 100,
        {"door": range(count)},
        remark=f"publisher grew {grown / 1024:.0f} MiB",
    )


def _read_numbers(process: subprocess.Popen[str], tally: Tally) -> None:
    assert process.stdout is not None
    _, tally.corrupt, gone, *numbers = map(int, process.stdout.readline().split() or [0, 0, 0])
    tally.gaps["door"], tally.delivered["door"] = numbers[:gone], numbers[gone:]


DISK_FULL = """
import sys, time
from pathlib import Path
from ovstream.config import PublishConfig
from ovstream.publish import Publisher
from tests.publish.tally import end_with_parent, numbered
folder, count = Path(sys.argv[1]), int(sys.argv[2])
config = PublishConfig(journal=str(folder / "j"), journal_bytes=1 << 22)
with Publisher("tcp://127.0.0.1:*", config=config) as publisher:
    publisher.resume("door")
    print(publisher.endpoint, flush=True)
    sys.stdin.readline()
    end_with_parent()
    for seq in range(count):
        if count // 3 <= seq < 2 * count // 3:  # somebody else takes every byte that is free
            with (folder / "other").open("ab", buffering=0) as other:
                try:
                    while other.write(bytes(1 << 12)):
                        pass
                except OSError:
                    pass
        if seq == 2 * count // 3:
            (folder / "other").unlink()
        publisher.publish(numbered(seq))
        if seq % 50 == 0:
            publisher.heartbeat(time.time_ns())
            time.sleep(0.01)
    print(publisher.stats.published, publisher.stats.unkept, publisher._journal.oldest("door", "e"), flush=True)
    while True:
        publisher.heartbeat(time.time_ns())
        time.sleep(0.1)
"""


def disk_full(count: int) -> Row | None:
    """A disk of 6 MiB that somebody else fills: live goes on, the window shrinks. None: no disk can be mounted here."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        script = f'mount -t tmpfs -o size=6m tmpfs "{folder}" && exec "$@"'
        command = [
            "unshare",
            "--mount",
            *([] if os.geteuid() == 0 else ["--map-root-user"]),
            "sh",
            "-c",
            script,
            "sh",
        ]
        if (
            shutil.which("unshare") is None
            or subprocess.run([*command, "true"], capture_output=True).returncode
        ):
            return None
        process = subprocess.Popen(
            [*command, sys.executable, "-c", DISK_FULL, folder, str(count)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdin is not None
            endpoint = process.stdout.readline().strip()
            with subscribe(endpoint, policy="lossless", start="oldest") as events:
                process.stdin.write("go\n")
                process.stdin.flush()
                read_until(events, tally, lambda: tally.seen() == count, seconds=60 + count / 100)
            published, unkept, oldest = map(int, process.stdout.readline().split())
            late = Tally()
            with subscribe(endpoint, start=0) as events:
                read_until(events, late, lambda: late.seen() == count)
            whole = outcome("", late, 0, {"door": range(count)}, may_be_told=lambda seq: True)
        finally:
            process.kill()
            process.communicate()
    told = [event.kind for event in tally.events]
    assert published == count
    assert bool(unkept) == (told.count("journal") >= 2), told  # that it stopped, and that it works again
    assert not whole.unreported
    return outcome(
        "disk full",
        tally,
        0,
        {"door": range(count)},
        may_be_told=lambda seq: bool(unkept),
        remark=f"{unkept} could not be kept, the window began at {oldest}",
    )


def damaged_journal(count: int) -> Row:
    """Flipped bits and a torn tail while the publisher is down: exactly the hit messages are told."""
    tally = Tally()
    random_ = random.Random(5)
    with tempfile.TemporaryDirectory() as folder:
        config = PublishConfig(journal=f"{folder}/j", journal_bytes=1 << 24)
        with Publisher("tcp://127.0.0.1:*", config=config) as publisher:
            publisher.resume("door")
            for seq in range(count):
                publisher.publish(numbered(seq))
        paths = sorted(Path(folder, "j").glob("*.ovj"))
        for _ in range(10):
            path = random_.choice(paths)
            data = bytearray(path.read_bytes())
            data[random_.randrange(8, len(data) - 2000)] ^= 1 << random_.randrange(8)
            path.write_bytes(data)
        paths[-1].write_bytes(paths[-1].read_bytes()[:-3])
        with Publisher("tcp://127.0.0.1:*", config=config) as publisher:
            epoch, seq = publisher.resume("door") or (0, 0)
            publisher.announce("door", epoch=epoch, next_seq=seq)
            publisher.publish(numbered(seq, epoch=epoch))
            with subscribe(publisher.endpoint, start=0) as events:
                read_until(events, tally, lambda: tally.seen() == seq + 1)
                recovered = events.stats.recovered
    told = set(tally.gaps.get("door", []))
    remark = f"10 bits flipped and the tail torn: {len(told)} messages hit"
    assert len(told) <= 11, told
    return outcome(
        "damaged journal",
        tally,
        recovered,
        {"door": range(seq + 1)},
        may_be_told=told.__contains__,
        remark=remark,
    )


def clock_jumps(seconds: float) -> Row | None:
    """The publisher's wall clock is set forward and back by hours. None: libfaketime is not installed."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        return None
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        clock = Path(folder) / "clock"
        clock.write_text("+0")
        env = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        with publishing(Path(folder) / "j", endpoint="tcp://127.0.0.1:*", pause=0.001, env=env) as process:
            endpoint, _ = announced(process)
            with subscribe(endpoint, policy="lossless", start="oldest") as events:
                for jump in ("+3h", "-2d", "+0", "-1h"):
                    clock.write_text(jump)
                    end = time.monotonic() + seconds / 4
                    read_until(events, tally, lambda end=end: time.monotonic() > end)
                recovered = events.stats.recovered
    return outcome(
        "clock jumps", tally, recovered, {"door": range(tally.seen())}, remark="+3 h, -2 d, back, -1 h"
    )


def main() -> None:
    """Runs all of them and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="as long as in the documentation")
    long = parser.parse_args().long
    runs: list[Callable[[], Row | None]] = [
        lambda: bursty_loss(2500 if long else 300),
        lambda: kills(20 if long else 4),
        *([lambda: kills(100)] if long else []),
        lambda: late_joiner(10_000 if long else 300),
        lambda: retention_overrun(20_000 if long else 2500),
        gone_before_the_ask,
        lambda: stopped_subscriber(20_000 if long else 1500),
        lambda: disk_full(20_000 if long else 6000),
        lambda: damaged_journal(5000 if long else 300),
        lambda: clock_jumps(8.0 if long else 1.2),
    ]
    faulthandler.enable()
    signal.signal(signal.SIGTERM, _ended)
    print(HEAD, flush=True)
    for run in runs:
        row = run()
        if row is not None:
            print(row, flush=True)
            assert (row.duplicated, row.corrupt, row.unreported) == (0, 0, 0), row


def _ended(number: int, _: object) -> None:
    """Somebody ends this process: says so, and takes the children along, which a signal alone would leave behind."""
    raise SystemExit(f"ended by {signal.Signals(number).name}")


if __name__ == "__main__":
    main()
