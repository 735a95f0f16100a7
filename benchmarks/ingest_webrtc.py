"""What does a publisher over WebRTC cost, without decoding and with aiortc's own decoder, and how late is a picture?

The publishers run in a process of their own and send an encoded scene in real time: packets that were made before, over aiortc's
transport, so that sixteen of them fit on one core. CPU seconds are those of the receiving process, in percent of one core and per
publisher, and per picture that arrived, which also counts on a machine that is busy with other things; transport (ICE, DTLS, SRTP,
feedback) is aiortc's in both ways. The latency runs from the moment before a publisher sends the first packet of a picture to the
moment when its access unit, or its decoded picture, is in our hands. Publishers have one core, receivers another.

    python -m benchmarks.ingest_webrtc [--publishers 1 16] [--seconds 10] [--rounds 3] [--size 1280x720] [--kbit 1500]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from multiprocessing.connection import Connection
from typing import Any

import aiortc.rtcrtpreceiver
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription

from benchmarks.ingest import (
    FPS,
    SETTLE_SECONDS,
    STAMP,
    Meter,
    Result,
    arguments,
    payloads,
    pin,
    scene,
    stamp,
    table,
)
from ovstream.sources.webrtc import WhipEndpoint

TICKS = 90_000 // FPS
MTU_BYTES = 1180  # of an RTP payload


class Clip:
    """The scene as RTP payloads; those of a picture, but for its first, are made once for all publishers."""

    def __init__(self, units: list[list[bytes]]) -> None:
        self._units = [([nal for nal in unit if nal[0] & 0x1F not in (1, 5)], unit) for unit in units]
        self._pictures = [payloads(unit[len(sets) :], MTU_BYTES) for sets, unit in self._units]

    def payloads(self, index: int) -> list[bytes]:
        """Of the next picture, with the time in front of its slices."""
        sets, _ = self._units[index % len(self._units)]
        return [*sets, stamp(time.monotonic_ns()), *self._pictures[index % len(self._pictures)]]


async def send(clip: Clip, sender: Any, payload_type: int, phase_seconds: float) -> None:
    """Sends pictures in real time until cancelled."""
    start, sequence, index = time.monotonic() + phase_seconds, 0, 0
    while True:
        await asyncio.sleep(start + index / FPS - time.monotonic())
        parts = clip.payloads(index)
        for number, payload in enumerate(parts):
            last = number == len(parts) - 1
            header = struct.pack(
                "!BBHII",
                0x80,
                last << 7 | payload_type,
                sequence & 0xFFFF,
                index * TICKS & 0xFFFFFFFF,
                sender._ssrc,
            )
            with suppress(ConnectionError):
                await sender.transport._send_rtp(header + payload)
            sequence += 1
        index += 1


def connected_of(connection: RTCPeerConnection, connected: asyncio.Event) -> Callable[[], None]:
    """Sets the event when the connection stands."""
    return lambda: connected.set() if connection.connectionState == "connected" else None


async def publish(units: list[list[bytes]], publishers: int, port: Connection) -> None:
    """Offers, takes the answers, and sends until the other end closes."""
    clip, running = Clip(units), []
    for number in range(publishers):
        connection, connected = RTCPeerConnection(RTCConfiguration(iceServers=[])), asyncio.Event()
        connection.on("connectionstatechange", connected_of(connection, connected))
        transceiver = connection.addTransceiver("video", direction="sendonly")
        codecs = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([codec for codec in codecs if codec.name == "H264"])
        await connection.setLocalDescription(await connection.createOffer())
        port.send(connection.localDescription.sdp)
        answer = await asyncio.to_thread(port.recv)
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await connected.wait()
        phase_seconds = number * 0.618 % 1 / FPS  # cameras are not in step
        payload_type = transceiver._codecs[0].payloadType
        running.append(asyncio.create_task(send(clip, transceiver.sender, payload_type, phase_seconds)))
    with suppress(EOFError):
        await asyncio.to_thread(port.recv)


def run_publishers(units: list[list[bytes]], publishers: int, port: Connection) -> None:
    """The process of the publishers."""
    pin(1)
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
    pin(0)

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
    parser.add_argument("--kbit", type=int, default=1500)
    args = arguments(parser)
    units = scene(args)
    table(
        "publishers",
        WAYS,
        args.publishers,
        args.rounds,
        lambda way, publishers: measure(way, units, publishers, args.seconds),
    )


if __name__ == "__main__":
    main()
