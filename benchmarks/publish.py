"""How many embeddings a second go from a publisher to a subscriber on one core, and how late are they?

Publisher and subscriber are two processes pinned to the same core, over TCP on this machine. Throughput:
as fast as the subscriber asks for more (a window of messages, so that none is lost). Latency: at 1000
messages a second, from before `encode` to after `decode`. CPU: both processes together, per message of the
throughput run; unlike the other columns it hardly depends on what else the core does. "raw" is pyzmq alone with frames of the same
sizes, without encoding, in the same run.

    python benchmarks/publish.py [--seconds 3] [--core 0]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zmq

from ovstream.config import PublishConfig
from ovstream.publish import Publisher, subscribe
from ovstream.types import Embedding
from ovstream.wire import encode

DIMS = (192, 1024)
RATE_HZ = 1000
# Messages on their way are at most 1.5 windows. ZeroMQ learns of read messages in steps of half its
# high-water mark (1000), so only half of it is sure to be free.
WINDOW = 300
GRID = (14, 14)


@dataclass(frozen=True, slots=True)
class Result:
    """Of one run: messages per second, CPU per message, ages at `RATE_HZ`, lost messages."""

    throughput_hz: float
    cpu_us: float
    ages_ms: list[float]
    lost: int = 0

    def row(self, name: str, dim: int) -> str:
        """A line of the table."""
        p50, p99 = np.percentile(self.ages_ms, [50, 99])
        return f"{name:9} {dim:5} {self.throughput_hz:11,.0f} {self.cpu_us:11.0f} {p50:9.2f} {p99:9.2f} {self.lost:6}"


def sample(dim: int) -> Embedding:
    """An embedding as a pipeline makes them, with a tenth of the patches changed."""
    random = np.random.default_rng(0)
    names = "frames_parsed frames_decoded frames_encoded patches_encoded patches_total source_lost parse_errors dropped"
    return Embedding(
        stream_id="cam", epoch=0, seq=0, pts_seconds=12.5, capture_time_ns=time.time_ns(), publish_time_ns=0,
        kind="scene", vector=random.standard_normal(dim, np.float32), changed=random.random(GRID) < 0.1,
        action="sparse", reason="change", keep_ratio=0.1, decoded=True, drift=0.01, staleness_frames=7,
        model_id="ovstream-tiny", model_digest="0123456789abcdef", trained=False,
        counters=dict.fromkeys(names.split(), 123_456),
    )  # fmt: skip


def with_place(one: Embedding, seq: int) -> Embedding:
    """The same embedding with the next number and the present time."""
    values = {name: getattr(one, name) for name in Embedding.__dataclass_fields__}
    return Embedding(**{**values, "seq": seq, "publish_time_ns": time.time_ns()})


def raw_sender(dim: int) -> tuple[str, Callable[[int], None]]:
    """(endpoint, send) of pyzmq alone: the frames of one message, with the time in place of the first header bytes."""
    topic, header, *payload = encode(sample(dim))
    socket = zmq.Context().socket(zmq.PUB)
    port = socket.bind_to_random_port("tcp://127.0.0.1")

    def send(seq: int) -> None:
        stamped = time.time_ns().to_bytes(8, "little") + header[8:]
        socket.send_multipart([topic, stamped, *payload], zmq.NOBLOCK)

    return f"tcp://127.0.0.1:{port}", send


def ovstream_sender(dim: int) -> tuple[str, Callable[[int], None]]:
    """(endpoint, send) of a `Publisher`."""
    one = sample(dim)
    publisher = Publisher("tcp://127.0.0.1:*", config=PublishConfig(linger_seconds=0))
    return publisher.endpoint, lambda seq: publisher.publish(with_place(one, seq))


def serve(dim: int, *, raw: bool) -> None:
    """The publishing process: reads "N messages, at R per second" (R = 0: at once) from stdin, line by line."""
    endpoint, send = raw_sender(dim) if raw else ovstream_sender(dim)
    print(endpoint, flush=True)
    seq = 0
    for line in sys.stdin:
        count, rate = map(int, line.split())
        started = time.perf_counter()
        for number in range(count):
            if rate:
                time.sleep(max(0.0, started + number / rate - time.perf_counter()))
            send(seq)
            seq += 1


class Peer:
    """The publishing process, seen from the subscriber."""

    def __init__(self, dim: int, *, raw: bool) -> None:
        command = [sys.executable, __file__, "--serve", str(dim), *(["--raw"] if raw else [])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.endpoint = self._process.stdout.readline().strip()

    def ask(self, count: int, *, rate: int = 0) -> None:
        """Wants so many messages."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count} {rate}\n")
        self._process.stdin.flush()

    def cpu_seconds(self) -> float:
        """CPU time of both processes up to now."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


async def measure(dim: int, seconds: float) -> Result:
    """Publisher and subscription."""
    peer = Peer(dim, raw=False)
    try:
        async with subscribe(peer.endpoint, policy="lossless") as events:
            while not events.streams():
                peer.ask(1)
                await asyncio.sleep(0.05)
            async with asyncio.timeout(seconds * 10 + 10):
                started, cpu_before, received = time.perf_counter(), peer.cpu_seconds(), 0
                peer.ask(WINDOW)
                while time.perf_counter() - started < seconds:
                    peer.ask(WINDOW // 2)
                    for _ in range(WINDOW // 2):
                        await anext(events)
                    received += WINDOW // 2
                throughput_hz = received / (time.perf_counter() - started)
                cpu_us = (peer.cpu_seconds() - cpu_before) / received * 1e6
                for _ in range(WINDOW):
                    await anext(events)
                count = int(seconds * RATE_HZ)
                peer.ask(count, rate=RATE_HZ)
                ages = []
                for _ in range(count):
                    await anext(events)
                    ages.append(events.stats.age_ms)
                return Result(throughput_hz, cpu_us, ages, events.stats.lost)
    finally:
        peer.close()


def measure_raw(dim: int, seconds: float) -> Result:
    """The same with pyzmq alone."""
    peer = Peer(dim, raw=True)
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    try:
        socket.connect(peer.endpoint)
        socket.subscribe("")
        socket.rcvtimeo = 5000
        while not socket.poll(50):
            peer.ask(1)
        time.sleep(0.2)
        while socket.poll(0):
            socket.recv_multipart()
        started, cpu_before, received = time.perf_counter(), peer.cpu_seconds(), 0
        peer.ask(WINDOW)
        while time.perf_counter() - started < seconds:
            peer.ask(WINDOW // 2)
            for _ in range(WINDOW // 2):
                socket.recv_multipart()
            received += WINDOW // 2
        throughput_hz = received / (time.perf_counter() - started)
        cpu_us = (peer.cpu_seconds() - cpu_before) / received * 1e6
        for _ in range(WINDOW):
            socket.recv_multipart()
        count = int(seconds * RATE_HZ)
        peer.ask(count, rate=RATE_HZ)
        ages = []
        for _ in range(count):
            header = socket.recv_multipart()[1]
            ages.append((time.time_ns() - int.from_bytes(header[:8], "little")) * 1e-6)
        return Result(throughput_hz, cpu_us, ages)
    finally:
        socket.close(linger=0)
        context.term()
        peer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)))
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--raw", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve, raw=arguments.raw)
        return
    os.sched_setaffinity(0, {arguments.core})
    print("                 messages/s  us CPU/msg    p50 ms    p99 ms   lost")
    for dim in DIMS:
        print(asyncio.run(measure(dim, arguments.seconds)).row("ovstream", dim))
        print(measure_raw(dim, arguments.seconds).row("raw pyzmq", dim))


if __name__ == "__main__":
    main()
