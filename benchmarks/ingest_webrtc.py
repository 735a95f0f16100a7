"""What does a publisher over WebRTC cost, and how late is a picture, against aiortc with its own decoder?

Side by side in one run, for 1 and for 16 publishers. They run in a process of their own and send an encoded scene in
real time through aiortc. CPU seconds are those of the receiving process, in percent of one core and per publisher, and
per picture that arrived, which also counts on a machine that is busy with other things; transport (ICE, DTLS, SRTP, feedback) is aiortc's in both ways. The latency runs from the moment when a publisher
takes a picture to send it to the moment when its access unit, or its decoded picture, is in our hands.

    python -m benchmarks.ingest_webrtc [--publishers 1 16] [--seconds 10] [--size 1280x720] [--kbit 1500]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiortc.rtcrtpreceiver
import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription

from benchmarks.ingest import FPS, SETTLE_SECONDS, STAMP, Meter, Result, encode, stamp
from ovstream.sources.webrtc import WhipEndpoint

START_CODE = b"\0\0\0\1"
TICKS = 90_000 // FPS


class ClipTrack(MediaStreamTrack):
    """Hands out the scene, compressed; each picture carries the time when it was taken."""

    kind = "video"

    def __init__(self, units: list[list[bytes]], phase_seconds: float) -> None:
        super().__init__()
        self._units = units
        self._phase_seconds = phase_seconds
        self._start: float | None = None  # connecting takes its time
        self._index = 0

    async def recv(self) -> av.Packet:
        """The next picture, when its time has come."""
        if self._start is None:
            self._start = time.monotonic() + self._phase_seconds
        await asyncio.sleep(self._start + self._index / FPS - time.monotonic())
        nals = list(self._units[self._index % len(self._units)])
        at = next(i for i, nal in enumerate(nals) if nal[0] & 0x1F in (1, 5))
        nals.insert(at, stamp(time.monotonic_ns()))
        packet = av.Packet(b"".join(START_CODE + nal for nal in nals))
        packet.pts, packet.time_base = self._index * TICKS, Fraction(1, 90_000)
        self._index += 1
        return packet


async def publish(units: list[list[bytes]], publishers: int, port: Connection) -> None:
    """Offers, takes the answers, and sends until the other end closes."""
    connections = []
    for number in range(publishers):
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        track = ClipTrack(units, number * 0.618 % 1 / FPS)  # cameras are not in step
        transceiver = connection.addTransceiver(track, direction="sendonly")
        codecs = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([codec for codec in codecs if codec.name in ("H264", "rtx")])
        await connection.setLocalDescription(await connection.createOffer())
        port.send(connection.localDescription.sdp)
        answer = await asyncio.to_thread(port.recv)
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        connections.append(connection)
    with suppress(EOFError):
        await asyncio.to_thread(port.recv)


def run_publishers(units: list[list[bytes]], publishers: int, port: Connection) -> None:
    """The process of the publishers."""
    asyncio.run(publish(units, publishers, port))


async def receive_access_units(publishers: int, port: Connection, seconds: float) -> Result:
    """Our way: access units, nothing is decoded."""
    meter, endpoint = Meter(publishers), WhipEndpoint(max_publishers=publishers)

    async def take(name: str) -> None:
        async with aclosing(endpoint.source(name).units()) as units:
            async for unit in units:
                meter.take(unit.data)

    tasks = [asyncio.create_task(take(f"cam{number}")) for number in range(publishers)]
    await asyncio.sleep(0)
    for number in range(publishers):
        offer = await asyncio.to_thread(port.recv)
        port.send((await endpoint.publish(f"cam{number}", offer)).answer)
    return await _measured(meter, seconds, tasks)


async def receive_pictures(publishers: int, port: Connection, seconds: float) -> Result:
    """Aiortc's way: its jitter buffer, a decoder thread for each publisher, decoded pictures."""
    meter = Meter(publishers)
    original = aiortc.rtcrtpreceiver.get_decoder

    class Timed:
        def __init__(self, codec: Any) -> None:
            self._decoder = original(codec)

        def decode(self, frame: Any) -> Any:
            pictures = self._decoder.decode(frame)
            if pictures and STAMP in frame.data:  # after a loss it hands on what is left of a picture
                meter.take(frame.data)
            return pictures

    aiortc.rtcrtpreceiver.get_decoder = Timed  # type: ignore[assignment]

    async def take(track: MediaStreamTrack) -> None:
        while True:
            await track.recv()

    tasks, connections = [], []
    for _ in range(publishers):
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connections.append(connection)
        offer = await asyncio.to_thread(port.recv)
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        tasks.append(asyncio.create_task(take(connection.getReceivers()[0].track)))
        await connection.setLocalDescription(await connection.createAnswer())
        port.send(connection.localDescription.sdp)
    result = await _measured(meter, seconds, tasks)
    for connection in connections:
        await connection.close()
    return result


async def _measured(meter: Meter, seconds: float, tasks: list[asyncio.Task[None]]) -> Result:
    await asyncio.sleep(2 * SETTLE_SECONDS)
    meter.start()
    await asyncio.sleep(seconds)
    result = meter.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return result


WAYS: dict[str, Callable[[int, Connection, float], Awaitable[Result]]] = {
    "access units": receive_access_units,
    "aiortc's pictures": receive_pictures,
}


def run_receiver(way: str, publishers: int, port: Connection, seconds: float, out: Connection) -> None:
    """The process that is measured."""

    async def run() -> None:
        out.send(await WAYS[way](publishers, port, seconds))

    asyncio.run(run())


def measure(way: str, units: list[list[bytes]], publishers: int, seconds: float) -> Result:
    """Runs one way in fresh processes, so that nothing of the others counts."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    result, out = context.Pipe(duplex=False)
    sender = context.Process(target=run_publishers, args=(units, publishers, theirs))
    receiver = context.Process(target=run_receiver, args=(way, publishers, ours, seconds, out))
    sender.start()
    receiver.start()
    out.close()
    try:
        measured: Result = result.recv()
        return measured
    finally:
        for process in (receiver, sender):
            process.terminate()
            process.join()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--publishers", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--kbit", type=int, default=1500)
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        units = encode(Path(folder), width, height, args.kbit)
    bits = 8 * sum(len(nal) for unit in units for nal in unit)
    print(f"{args.size}, {FPS}/s, {bits / len(units) * FPS / 1e6:.2f} Mbit/s per publisher")
    heads = ("publishers", "CPU % each", "CPU ms/pict.", "p50 ms", "p99 ms", "pictures", "MiB")
    print(" " * 18 + "".join(f"{head:>13}" for head in heads))
    for publishers in args.publishers:
        for way in WAYS:
            result = measure(way, units, publishers, args.seconds)
            cut = statistics.quantiles(result.latencies_ms, n=100)
            cpu_ms = 10 * result.cpu_percent * publishers * args.seconds / result.pictures
            print(
                f"{way:18}{publishers:13}{result.cpu_percent:13.2f}{cpu_ms:13.2f}{cut[49]:13.2f}"
                f"{cut[98]:13.2f}{result.pictures:13}{result.memory_mib:13.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
