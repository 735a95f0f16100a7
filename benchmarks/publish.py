"""How many embeddings a second go from publishers to subscribers on one core, how late, and for how much CPU?

All processes are pinned to the same core, over TCP on this machine. Throughput: as fast as the subscriber asks for
more (a window of messages, so that none is lost). Latency: at 1000 messages a second (50 with further subscribers, each of
which is sent every message), from before `encode` to after `decode`. CPU: of publishers and subscriber together per message of the throughput run; unlike the other columns it
hardly depends on what else the core does. "raw" is pyzmq alone, PUB and SUB with frames of the same sizes and the
same encryption, without encoding; "ratio" is the CPU against it, in the same run, each the better of `--rounds` rounds.
"zenoh" is Eclipse zenoh, peer to peer over TCP, blocking rather than dropping, with one payload of the same size.

    python -m benchmarks.publish [--seconds 2] [--rounds 2] [--core 0] [--quick] [--only zenoh]
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import socket as socketlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from ovstream.config import PublishConfig
from ovstream.publish import KeyPair, Publisher, SubscriberKeys, subscribe
from ovstream.publish.keys import ALLOWED, PUBLISHER_KEY, save_key, write_allowed
from ovstream.types import Embedding
from ovstream.wire import encode

RATE_HZ = 1000
CROWD_RATE_HZ = 50  # of a publisher with 200 subscribers: 10,000 deliveries a second
# Messages on their way are at most 1.5 windows. ZeroMQ learns of read messages in steps of half its
# high-water mark (1000), so only half of it is sure to be free.
WINDOW = 300
GRID = (14, 14)
LOST = "| messages were lost | | | | |"


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured.

    Attributes:
        kib: Of the vector: 512 or 2048 numbers of 16 bits.
        curve: Encrypted.
        journal: Kept on disk; otherwise in memory.
        publishers: Processes that send to one subscriber.
        listeners: Further subscribers of the first publisher.
        raw: pyzmq alone.
        zenoh: Eclipse zenoh instead.
    """

    kib: int = 4
    curve: bool = False
    journal: bool = False
    publishers: int = 1
    listeners: int = 0
    raw: bool = False
    zenoh: bool = False

    @property
    def rate_hz(self) -> int:
        """Messages a second while ages are measured."""
        return CROWD_RATE_HZ if self.listeners else RATE_HZ

    def __str__(self) -> str:
        """The first columns of a row."""
        sender = "raw pyzmq" if self.raw else "zenoh" if self.zenoh else "ovstream"
        journal = "" if self.raw or self.zenoh else "disk" if self.journal else "memory"
        return f"| {sender} | {self.kib} KB | {'CURVE' if self.curve else 'plain'} | {journal} | {self.publishers} | {self.listeners + 1} "


@dataclass(frozen=True, slots=True)
class Result:
    """Of one run: messages per second, CPU per message, ages at `Case.rate_hz`."""

    throughput_hz: float
    cpu_us: float
    ages_ms: Sequence[float]

    def columns(self, raw: Result | None) -> str:
        """The other columns of a row."""
        p50, p99 = np.percentile(self.ages_ms, [50, 99])
        ratio = f"{self.cpu_us / raw.cpu_us:.1f}" if raw else ""
        return f"| {self.throughput_hz:,.0f} | {self.cpu_us:.0f} | {ratio} | {p50:.2f} | {p99:.2f} |"


def sample(kib: int, name: str = "cam") -> Embedding:
    """An embedding as a pipeline makes them, with a tenth of the patches changed."""
    random = np.random.default_rng(0)
    names = "frames_parsed frames_decoded frames_encoded patches_encoded patches_total source_lost parse_errors dropped"
    return Embedding(
        stream_id=name, epoch=0, seq=0, pts_seconds=12.5, capture_time_ns=time.time_ns(), publish_time_ns=0,
        kind="scene", vector=random.standard_normal(kib * 512, np.float32), changed=random.random(GRID) < 0.1,
        action="sparse", reason="change", keep_ratio=0.1, decoded=True, drift=0.01, staleness_frames=7,
        model_id="ovstream-tiny", model_digest="0123456789abcdef", trained=False,
        counters=dict.fromkeys(names.split(), 123_456),
    )  # fmt: skip


def raw_sender(case: Case, keys: Path) -> tuple[str, Callable[[int], None]]:
    """(endpoint, send) of pyzmq alone: the frames of one message, with the time in place of the first header bytes."""
    topic, header, *payload = encode(sample(case.kib))
    socket = zmq.Context().socket(zmq.PUB)
    if case.curve:
        socket.curve_server = True
        socket.curve_secretkey = _pair(keys, PUBLISHER_KEY).secret.encode()
    port = socket.bind_to_random_port("tcp://127.0.0.1")

    def send(seq: int) -> None:
        stamped = time.time_ns().to_bytes(8, "little") + header[8:]
        socket.send_multipart([topic, stamped, *payload], zmq.NOBLOCK)

    return f"tcp://127.0.0.1:{port}", send


def zenoh_sender(case: Case) -> tuple[str, Callable[[int], None]]:
    """(endpoint, send) of zenoh: the bytes of one message, with the time in front."""
    import zenoh

    body = b"".join(encode(sample(case.kib)))[8:]
    with socketlib.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = f"tcp/127.0.0.1:{port}"
    session = zenoh.open(zenoh_config(listen=[endpoint]))
    publisher = session.declare_publisher("e/cam", congestion_control=zenoh.CongestionControl.BLOCK)

    def send(seq: int) -> None:
        assert not session.is_closed()  # and keeps it: zenoh closes a session that nobody holds
        publisher.put(time.time_ns().to_bytes(8, "little") + body)

    return endpoint, send


def zenoh_config(**places: list[str]) -> Any:
    """Peer to peer, without looking for others."""
    import zenoh

    config = zenoh.Config()
    config.insert_json5("mode", '"peer"')
    config.insert_json5("scouting/multicast/enabled", "false")
    for key in ("listen", "connect"):
        config.insert_json5(f"{key}/endpoints", json.dumps(places.get(key, [])))
    return config


def ovstream_sender(case: Case, keys: Path, number: int) -> tuple[str, Callable[[int], None]]:
    """(endpoint, send) of a `Publisher`, of one embedding with ever new numbers: making one is the pipeline's work."""
    one = sample(case.kib, f"cam{number}")
    config = PublishConfig(
        linger_seconds=0,
        keys=str(keys) if case.curve else None,
        journal=tempfile.mkdtemp(prefix="ovstream-bench-", dir=keys) if case.journal else None,
    )
    publisher = Publisher("tcp://127.0.0.1:*", config=config)
    publisher.announce(one.stream_id)
    renumber = object.__setattr__  # embeddings are frozen

    def send(seq: int) -> None:
        renumber(one, "seq", seq)
        renumber(one, "publish_time_ns", time.time_ns())
        publisher.publish(one)

    return publisher.endpoint, send


def serve(case: Case, keys: Path, number: int) -> None:
    """The publishing process: reads "N messages, at R per second" (R = 0: at once) from stdin, line by line."""
    if case.zenoh:
        endpoint, send = zenoh_sender(case)
    else:
        endpoint, send = raw_sender(case, keys) if case.raw else ovstream_sender(case, keys, number)
    print(endpoint, flush=True)
    seq = itertools.count()
    for line in sys.stdin:
        count, rate = map(int, line.split())
        started = time.perf_counter()
        for at in range(count):
            if rate:
                time.sleep(max(0.0, started + at / rate - time.perf_counter()))
            send(next(seq))


def listen(case: Case, keys: Path, endpoint: str) -> None:
    """Further subscribers, all in one process, that read and throw away."""
    context = zmq.Context(io_threads=1)
    poller = zmq.Poller()
    for _ in range(case.listeners):
        socket = context.socket(zmq.SUB)
        _arm(socket, case, keys)
        socket.subscribe("")
        socket.connect(endpoint)
        poller.register(socket, zmq.POLLIN)
    print("ready", flush=True)
    while True:
        for socket, _ in poller.poll():
            while socket.poll(0):
                socket.recv_multipart()


class Peers:
    """The other processes, seen from the subscriber."""

    def __init__(self, case: Case, keys: Path) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        self._publishers = [
            self._start("serve", case, keys, str(number)) for number in range(case.publishers)
        ]
        self.endpoints = [self._line(one) for one in self._publishers]
        if case.listeners:
            self._line(self._start("listen", case, keys, self.endpoints[0]))

    def ask(self, count: int, *, rate: int = 0) -> None:
        """Wants so many messages, of all publishers together."""
        share, rest = divmod(count, len(self._publishers))
        for number, process in enumerate(self._publishers):
            assert process.stdin is not None
            process.stdin.write(f"{share + (number < rest)} {rate // len(self._publishers)}\n")
            process.stdin.flush()

    def cpu_seconds(self) -> float:
        """CPU time of publishers and subscriber up to now."""
        ticks = 0
        for process in self._publishers:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")

    def settle(self) -> None:
        """Waits until publishers rest: what waits for further subscribers would be part of the ages."""
        before = -1.0
        while (now := self.cpu_seconds()) - before > 0.02:
            before = now
            time.sleep(0.5)

    def close(self) -> None:
        """Ends the processes."""
        for process in self._processes:
            process.kill()
            process.communicate()

    def _start(self, role: str, case: Case, keys: Path, extra: str) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "benchmarks.publish",
            "--role",
            role,
            json.dumps(asdict(case)),
            str(keys),
            extra,
        ]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        return process

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()


def attempt(case: Case, seconds: float, keys: Path) -> Result | None:
    """Like `measure`; None where messages did not arrive, which raw PUB and SUB do not mend."""
    try:
        return measure(case, seconds, keys)
    except zmq.Again:
        return None


def measure(case: Case, seconds: float, keys: Path) -> Result:
    """Runs one case."""
    peers = Peers(case, keys)
    try:
        if case.zenoh:
            return _zenoh(seconds, peers)
        return _raw(case, seconds, keys, peers) if case.raw else _ovstream(case, seconds, keys, peers)
    finally:
        peers.close()


def _ovstream(case: Case, seconds: float, keys: Path, peers: Peers) -> Result:
    mine = _subscriber_keys(keys) if case.curve else None
    with subscribe(peers.endpoints, policy="lossless", keys=mine) as events:

        def take() -> None:
            while not isinstance(next(events), Embedding):
                pass

        with _trickle(peers, case.publishers):  # until all connections stand
            while len(events.streams()) < case.publishers:
                take()
        result = _run(peers, seconds, case.rate_hz, take, lambda: events.stats.age_ms)
        assert events.stats.lost == 0, events.stats
        return result


@contextlib.contextmanager
def _trickle(peers: Peers, publishers: int) -> Iterator[None]:
    """Asks every publisher for a message now and then."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.05):
            peers.ask(publishers)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _raw(case: Case, seconds: float, keys: Path, peers: Peers) -> Result:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.rcvtimeo = 20_000
        _arm(socket, case, keys)
        socket.subscribe("")
        for endpoint in peers.endpoints:
            socket.connect(endpoint)
        while not socket.poll(50):
            peers.ask(case.publishers)
        time.sleep(0.3)
        while socket.poll(0):
            socket.recv_multipart()
        header = b""

        def take() -> None:
            nonlocal header
            header = socket.recv_multipart()[1]

        return _run(
            peers,
            seconds,
            case.rate_hz,
            take,
            lambda: (time.time_ns() - int.from_bytes(header[:8], "little")) * 1e-6,
        )


def _zenoh(seconds: float, peers: Peers) -> Result:
    import zenoh

    with zenoh.open(zenoh_config(connect=peers.endpoints)) as session:
        subscriber = session.declare_subscriber("e/cam")
        while subscriber.try_recv() is None:
            peers.ask(1)
            time.sleep(0.02)
        time.sleep(0.3)
        while subscriber.try_recv() is not None:
            pass
        header = b""

        def take() -> None:
            nonlocal header
            header = bytes(subscriber.recv().payload)

        return _run(
            peers,
            seconds,
            RATE_HZ,
            take,
            lambda: (time.time_ns() - int.from_bytes(header[:8], "little")) * 1e-6,
        )


def _run(
    peers: Peers, seconds: float, rate_hz: int, take: Callable[[], None], age_ms: Callable[[], float]
) -> Result:
    started, cpu_before, received = time.perf_counter(), peers.cpu_seconds(), 0
    peers.ask(WINDOW)
    while time.perf_counter() - started < seconds:
        peers.ask(WINDOW // 2)
        for _ in range(WINDOW // 2):
            take()
        received += WINDOW // 2
    throughput_hz = received / (time.perf_counter() - started)
    cpu_us = (peers.cpu_seconds() - cpu_before) / received * 1e6
    for _ in range(WINDOW):
        take()
    if rate_hz != RATE_HZ:
        peers.settle()
    count = int(seconds * rate_hz)
    peers.ask(count, rate=rate_hz)
    ages = []
    for _ in range(count):
        take()
        ages.append(age_ms())
    return Result(throughput_hz, cpu_us, ages)


def _pair(keys: Path, name: str) -> KeyPair:
    from ovstream.publish.keys import load_pair

    return load_pair(keys / name)


def _subscriber_keys(keys: Path) -> SubscriberKeys:
    return SubscriberKeys.load(keys / "me.key")


def _arm(socket: zmq.Socket[bytes], case: Case, keys: Path) -> None:
    if case.curve:
        mine = _subscriber_keys(keys)
        socket.curve_serverkey, socket.curve_publickey = mine.server.encode(), mine.public.encode()
        socket.curve_secretkey = mine.secret.encode()


def make_keys(folder: Path) -> None:
    """Keys of a publisher and of one subscriber."""
    server, mine = KeyPair.new(), KeyPair.new()
    save_key(folder / PUBLISHER_KEY, server)
    save_key(folder / "me.key", mine, server=server.public)
    write_allowed(folder / ALLOWED, {mine.public: "me"})


def cases(*, quick: bool) -> list[Case]:
    """Each is measured beside pyzmq alone."""
    chosen = [
        Case(kib, curve, journal)
        for kib in (1, 4)
        for curve in (False, True)
        for journal in (False, True)
        if not quick or (kib == 4 and curve == journal)
    ]
    if not quick:
        chosen += [Case(4, True, True, publishers=number) for number in (4, 16)]
        chosen.append(Case(4, True, True, listeners=199))
    chosen += [Case(kib, zenoh=True) for kib in ((4,) if quick else (1, 4))]
    return chosen


def main() -> None:
    """Prints the table, or plays one of the other roles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each of the two parts of a case")
    parser.add_argument("--rounds", type=int, default=2, help="of each case and of raw beside it, in turns")
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="4 KB only: plain, and CURVE with journal")
    parser.add_argument("--only", default="", help="rows that hold this text, as '| zenoh ' or '| 200 '")
    parser.add_argument("--role", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role:
        role, case, keys, extra = arguments.role
        if role == "listen":
            listen(Case(**json.loads(case)), Path(keys), extra)
        serve(Case(**json.loads(case)), Path(keys), int(extra))
        return
    os.sched_setaffinity(0, {arguments.core})
    print(
        "| | vector | | kept in | publishers | subscribers | messages/s | us CPU | ratio | p50 ms | p99 ms |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        make_keys(Path(folder))
        shown: set[Case] = set()
        for case in cases(quick=arguments.quick):
            if arguments.only not in str(case):
                continue
            beside = replace(case, raw=True, journal=False, zenoh=False)
            both = [
                [attempt(one, arguments.seconds, Path(folder)) for one in (beside, case)]
                for _ in range(arguments.rounds)
            ]
            raw, result = (
                min(filter(None, results), key=lambda one: one.cpu_us, default=None)
                for results in zip(*both, strict=True)
            )
            if beside not in shown:
                print(f"{beside}{raw.columns(None) if raw else LOST}", flush=True)
                shown.add(beside)
            print(f"{case}{result.columns(raw) if result else LOST}", flush=True)


if __name__ == "__main__":
    main()
