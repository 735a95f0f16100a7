"""What does receiving a camera cost, and how late is a picture when its last packet has arrived?

Side by side in one run, for 1 and for 16 cameras: our RTSP client, FFmpeg's demuxer through PyAV, and the latter
with its decoder. The cameras run in a process of their own; they send an encoded scene in real time, RTP over
TCP, so that no packet is lost. CPU seconds are those of the receiving process, in percent of one core and per
camera, and per picture. The latency runs from the moment when the last packet of a picture was written to the socket (the
camera shares the monotonic clock with us) to the moment when its access unit is in our hands. Cameras have one core,
receivers another; rounds are interleaved, and medians printed as a table in Markdown.

    python -m benchmarks.ingest [--cameras 1 16] [--seconds 10] [--rounds 3] [--size 1280x720] [--kbit 2000]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import multiprocessing
import os
import re
import statistics
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import av

from ovstream.config import SourceConfig
from ovstream.nal import nal_type
from ovstream.sources import open_source

FPS = 25
PAYLOAD_BYTES = 1400
STAMP = b"ovstream bench  "  # the UUID of an SEI message, H.264 D.1.7: unregistered user data
SETTLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Result:
    """What one way of receiving did.

    Attributes:
        cpu_percent: Of one core, per camera.
        cpu_ms: Per picture.
        share: Of the pictures that were due, those that arrived.
        latencies_ms: Of every picture.
        memory_mib: Growth of the resident size, per camera.
    """

    cpu_percent: float
    cpu_ms: float
    share: float
    latencies_ms: list[float]
    memory_mib: float


def encode(folder: Path, width: int, height: int, kbit: int) -> list[list[bytes]]:
    """NAL units of four seconds of noise that moves, a keyframe every two."""
    path = folder / "scene.264"
    graph = f"testsrc2=size={width}x{height}:rate={FPS}:duration=4,noise=alls=8:allf=t"
    with av.open(graph, format="lavfi") as source, av.open(str(path), "w", format="h264") as target:
        options = {"preset": "veryfast", "tune": "zerolatency", "g": str(2 * FPS), "x264-params": "aud=0"}
        stream = target.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 1000 * kbit
        for frame in source.decode(video=0):
            target.mux(stream.encode(frame.reformat(format="yuv420p")))
        target.mux(stream.encode(None))
    return split_units(path.read_bytes())


def split_units(stream: bytes) -> list[list[bytes]]:
    """Cuts an H.264 byte stream (Annex B) into access units of NAL units."""
    units: list[list[bytes]] = []
    for nal in stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]:
        if (
            nal[0] & 0x1F in (1, 5)
            and nal[1] & 0x80
            and units
            and any(n[0] & 0x1F in (1, 5) for n in units[-1])
        ):
            units.append([])
        if not units or (nal[0] & 0x1F in (6, 7) and any(n[0] & 0x1F in (1, 5) for n in units[-1])):
            units.append([])
        units[-1].append(nal)
    return units


class Camera:
    """Sends the scene to one client after the other; each picture carries the time when it was sent.

    Args:
        units: Access units of NAL units, sent again and again.
        fps: How many a second.
        apart: Clients get the scene from different places on, as if each had a camera of its own that was started some
            time; else all begin with the first picture, so that all keyframes fall together.
    """

    def __init__(self, units: list[list[bytes]], *, fps: int = FPS, apart: bool = False) -> None:
        self._units = units
        self._fps = fps
        self._apart = apart
        self._clients = 0
        sets = {nal_type(nal, "h264"): base64.b64encode(nal).decode() for nal in units[0]}
        self._sdp = (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\n"
            f"a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets[7]},{sets[8]}\r\n"
            "a=control:track\r\n"
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one client until it goes."""
        playing: asyncio.Task[None] | None = None
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first = await reader.readexactly(1)
                if first == b"$":
                    await reader.readexactly(int.from_bytes((await reader.readexactly(3))[1:], "big"))
                    continue
                head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
                writer.write(self._answer(head))
                if head.startswith("PLAY"):
                    playing = asyncio.create_task(self._play(writer))
        if playing is not None:
            playing.cancel()
        writer.close()

    def _answer(self, head: str) -> bytes:
        sequence = re.search(r"CSeq: *(\d+)", head)
        assert sequence is not None
        body = self._sdp if head.startswith("DESCRIBE") else ""
        extra = "Content-Type: application/sdp\r\n" if body else ""
        if head.startswith("SETUP"):
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        return (
            f"RTSP/1.0 200 OK\r\nCSeq: {sequence[1]}\r\nPublic: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            f"{extra}Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        phase = self._clients * 0.618 % 1  # pictures are never in step
        first = int(phase * len(self._units)) if self._apart else 0
        start, sequence, index = time.monotonic() + phase / self._fps, 0, 0
        with suppress(ConnectionError):
            while not writer.is_closing():
                await asyncio.sleep(start + index / self._fps - time.monotonic())
                nals = list(self._units[(first + index) % len(self._units)])
                at = next(i for i, nal in enumerate(nals) if nal[0] & 0x1F in (1, 5))
                nals.insert(at, stamp(time.monotonic_ns()))
                packets = list(payloads(nals))
                picture = bytearray()
                for number, payload in enumerate(packets):
                    marker = 0x80 if number == len(packets) - 1 else 0
                    header = struct.pack(
                        "!BBHII",
                        0x80,
                        marker | 96,
                        sequence & 0xFFFF,
                        index * 90_000 // self._fps & 0xFFFFFFFF,
                        7,
                    )
                    sequence += 1
                    packet = header + payload
                    picture += b"$\0" + len(packet).to_bytes(2, "big") + packet
                writer.write(picture)
                await writer.drain()
                index += 1


def stamp(now_ns: int) -> bytes:
    """An SEI NAL unit with a time, in digits so that no emulation prevention is needed."""
    text = STAMP + f"{now_ns:020d}".encode()
    return b"\x06\x05" + bytes((len(text),)) + text + b"\x80"


def payloads(nals: list[bytes], most_bytes: int = PAYLOAD_BYTES) -> list[bytes]:
    """Single NAL units and FU-A (RFC 6184 5.6, 5.8)."""
    out = []
    for nal in nals:
        if len(nal) <= most_bytes:
            out.append(nal)
            continue
        body = nal[1:]
        for at in range(0, len(body), most_bytes):
            ends = (0x80 if at == 0 else 0) | (0x40 if at + most_bytes >= len(body) else 0)
            out.append(bytes((nal[0] & 0xE0 | 28, ends | nal[0] & 0x1F)) + body[at : at + most_bytes])
    return out


def run_camera(units: list[list[bytes]], port: Connection) -> None:
    """The process of the cameras: one server for any number of clients."""
    pin(1)

    async def serve() -> None:
        server = await asyncio.start_server(Camera(units).serve, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with suppress(KeyboardInterrupt):
        asyncio.run(serve())


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def delay_ms(data: bytes) -> float:
    at = data.index(STAMP) + len(STAMP)
    return (time.monotonic_ns() - int(data[at : at + 20])) / 1e6


def with_source(backend: str, url: str, cameras: int, seconds: float) -> Result:
    """Receives as the pipeline does: an event loop that takes access units."""
    return asyncio.run(_with_source(backend, url, cameras, seconds))


async def _with_source(backend: str, url: str, cameras: int, seconds: float) -> Result:
    meter = Meter(cameras)

    async def receive() -> None:
        config = SourceConfig.model_validate({"backend": backend})
        async with aclosing(open_source(url, config=config).units()) as units:
            async for unit in units:
                meter.take(unit.data)

    tasks = [asyncio.create_task(receive()) for _ in range(cameras)]
    await asyncio.sleep(SETTLE_SECONDS)
    meter.start()
    await asyncio.sleep(seconds)
    result = meter.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return result


def with_pyav(decode: bool, url: str, cameras: int, seconds: float) -> Result:
    """Receives with one thread per camera that demuxes, or demuxes and decodes."""
    meter, stopping = Meter(cameras), threading.Event()

    def receive() -> None:
        options = {"rtsp_transport": "tcp", "probesize": "32", "analyzeduration": "0"}
        with av.open(url, options=options, timeout=(10.0, 2.0)) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            for packet in container.demux(stream):
                if stopping.is_set():
                    return
                if decode:
                    packet.decode()
                meter.take(bytes(packet))

    threads = [threading.Thread(target=receive) for _ in range(cameras)]
    for thread in threads:
        thread.start()
    time.sleep(SETTLE_SECONDS)
    meter.start()
    time.sleep(seconds)
    result = meter.stop()
    stopping.set()
    for thread in threads:
        thread.join()
    return result


class Meter:
    """Counts between `start` and `stop`."""

    def __init__(self, cameras: int) -> None:
        self._cameras = cameras
        self._running = False
        self._delays: list[float] = []
        self._memory_bytes = resident_bytes()

    def take(self, data: bytes) -> None:
        """Counts one picture."""
        if self._running:
            self._delays.append(delay_ms(data))

    def start(self) -> None:
        """Everybody is connected: what comes now counts."""
        self._cpu, self._wall, self._running = time.process_time(), time.monotonic(), True

    def stop(self) -> Result:
        """What came since `start`."""
        self._running = False
        cpu, wall = time.process_time() - self._cpu, time.monotonic() - self._wall
        memory_mib = (resident_bytes() - self._memory_bytes) / self._cameras / 2**20
        return Result(
            cpu_percent=100 * cpu / wall / self._cameras,
            cpu_ms=1000 * cpu / max(len(self._delays), 1),
            share=len(self._delays) / (wall * FPS * self._cameras),
            latencies_ms=self._delays,
            memory_mib=memory_mib,
        )


WAYS: dict[str, Callable[[str, int, float], Result]] = {
    "own client": lambda url, cameras, seconds: with_source("native", url, cameras, seconds),
    "FFmpeg backend": lambda url, cameras, seconds: with_source("ffmpeg", url, cameras, seconds),
    "PyAV demux": lambda url, cameras, seconds: with_pyav(False, url, cameras, seconds),
    "PyAV demux + decode": lambda url, cameras, seconds: with_pyav(True, url, cameras, seconds),
}


def measure(way: str, url: str, cameras: int, seconds: float) -> Result:
    """Runs one way in a fresh process, so that nothing of the others counts."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (way, url, cameras, seconds))


def _measure(way: str, url: str, cameras: int, seconds: float) -> Result:
    pin(0)
    return WAYS[way](url, cameras, seconds)


def pin(number: int) -> None:
    """Keeps this process, and what it starts, on one core of those that it may use, if there are two."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[number]})


def arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options that both benchmarks of receiving have, and their values."""
    parser.add_argument("--seconds", type=float, default=10, help="of each way and round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--size", default="1280x720")
    return parser.parse_args()


def scene(args: argparse.Namespace) -> list[list[bytes]]:
    """The encoded scene that the options describe, which is printed."""
    width, height = (int(side) for side in args.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        units = encode(Path(folder), width, height, args.kbit)
    bits = 8 * sum(len(nal) for unit in units for nal in unit)
    rate = bits / len(units) * FPS / 1e6
    print(
        f"{args.size}, {FPS} pictures a second, {rate:.2f} Mbit/s each; {args.rounds} x {args.seconds:g} s\n"
    )
    return units


def table(
    unit: str,
    ways: Iterable[str],
    counts: list[int],
    rounds: int,
    measured: Callable[[str, int], Result],
) -> None:
    """Measures every way and count, in turns, and prints the medians in Markdown."""
    print(f"| | {unit} | CPU each | CPU per picture | p50 | p99 | pictures | memory each |\n|{'---|' * 8}")
    for count in counts:
        results: dict[str, list[Result]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, found in results.items():
                found.append(measured(way, count))
        for way, found in results.items():
            print(f"| {way} | {count} | {' | '.join(_cells(found))} |", flush=True)


def _cells(results: list[Result]) -> list[str]:
    cuts = [statistics.quantiles(result.latencies_ms, n=100) for result in results]
    return [
        f"{statistics.median(result.cpu_percent for result in results):.2f} %",
        f"{statistics.median(result.cpu_ms for result in results):.2f} ms",
        f"{statistics.median(cut[49] for cut in cuts):.1f} ms",
        f"{statistics.median(cut[98] for cut in cuts):.1f} ms",
        f"{100 * statistics.median(result.share for result in results):.0f} %",
        f"{statistics.median(result.memory_mib for result in results):.1f} MiB",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--kbit", type=int, default=2000)
    args = arguments(parser)
    units = scene(args)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=run_camera, args=(units, theirs))
    process.start()
    url = f"rtsp://127.0.0.1:{ours.recv()}/cam"
    try:
        table(
            "cameras",
            WAYS,
            args.cameras,
            args.rounds,
            lambda way, cameras: measure(way, url, cameras, args.seconds),
        )
    finally:
        process.terminate()
        process.join()


if __name__ == "__main__":
    main()
