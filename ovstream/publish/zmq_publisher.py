"""Publishes embeddings on a ZeroMQ PUB socket."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import zmq

from ovstream.config import PublishConfig
from ovstream.errors import ConfigError, WireError
from ovstream.publish.binding import bind_address
from ovstream.types import Embedding, EventKind, StreamEvent
from ovstream.wire import Heartbeat, Status, encode, encode_heartbeat, encode_status

# Kernel buffers hide old messages from the high-water mark: 256 KiB are some 300 messages of 768 bytes.
_SOCKET_BUFFER_BYTES = 256 << 10
_PING_MS = 5_000  # ZMTP ping: drops subscribers that vanished without a word
_PING_TIMEOUT_MS = 15_000
_BACKLOG = 128


@dataclass(slots=True)
class PublisherStats:
    """What a publisher has done so far.

    Attributes:
        published: Embeddings handed to the socket; a subscriber too slow for them loses some, and sees it.
        bytes: Of those, all frames.
        heartbeats: Sent.
        events: Status messages sent.
        refused: Messages that the socket did not take.
    """

    published: int = 0
    bytes: int = 0
    heartbeats: int = 0
    events: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Sequence:
    """Where the numbering of one stream stands."""

    epoch: int
    first_seq: int
    next_seq: int
    ended: bool = False

    @property
    def previous_seq(self) -> int | None:
        return self.next_seq - 1 if self.next_seq > self.first_seq else None


class Publisher:
    """Sends embeddings of one or more streams to whoever listens; no send ever waits for a subscriber.

    It has no thread and no clock: the caller brings time with `heartbeat`, once a second, and uses it from
    one thread at a time. Use it as a context manager, or call `close`.

    Args:
        endpoint: ZeroMQ endpoint to bind; port `*` lets the system choose one, see `endpoint`.
        config: Vector dtype, high-water mark, time to flush at the end.
        context: Of the caller; `inproc://` endpoints meet only inside one context. None: an own one.

    Raises:
        InsecureBindError: The endpoint would be open to the network.
        ConfigError: The endpoint cannot be bound.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        config: PublishConfig | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        self._config = config or PublishConfig()
        address = bind_address(endpoint, allow_insecure=self._config.allow_insecure)
        self._sequences: dict[str, _Sequence] = {}
        self._time_ns = 0
        self._stats = PublisherStats()
        self._own_context = context is None
        self._context = zmq.Context() if context is None else context
        self._socket = self._context.socket(zmq.PUB)
        try:
            self._bind(address)
        except zmq.ZMQError as error:
            self._socket.close(linger=0)
            if self._own_context:
                self._context.term()
            raise ConfigError(f"cannot bind {endpoint}: {error}") from None
        self._endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    @property
    def endpoint(self) -> str:
        """Where it is bound, with the port that the system chose."""
        return self._endpoint

    @property
    def stats(self) -> PublisherStats:
        """A copy of the counters."""
        return replace(self._stats)

    def announce(self, stream_id: str, *, epoch: int = 0, next_seq: int = 0) -> None:
        """Starts an epoch before its first embedding, so that heartbeats already speak of the stream.

        Raises:
            WireError: A later epoch was already published.
        """
        known = self._sequences.get(stream_id)
        if known is not None and epoch <= known.epoch:
            raise WireError(f"{stream_id}: epoch {epoch} after epoch {known.epoch}")
        self._sequences[stream_id] = _Sequence(epoch, next_seq, next_seq)

    def publish(self, embedding: Embedding) -> None:
        """Sends one embedding, without waiting.

        Raises:
            WireError: It cannot be sent at all (see `wire.encode`), or its number or epoch was already used.
        """
        sequence = self._advance(embedding)
        frames = encode(
            embedding,
            dtype=self._config.vector_dtype,
            first_seq=sequence.first_seq,
            previous_seq=sequence.previous_seq,
        )
        self._time_ns = embedding.publish_time_ns
        if self._send(frames):
            sequence.next_seq = embedding.seq + 1
            self._stats.published += 1
            self._stats.bytes += sum(map(len, frames))

    def heartbeat(self, now_ns: int, *, stream_id: str | None = None) -> None:
        """Sends a sign of life; to be called once a second.

        Of a stream that has ended it says that again: the first time may have been lost.

        Args:
            now_ns: Wall clock (UTC, Unix).
            stream_id: Of this stream only; None: of all.
        """
        self._time_ns = now_ns
        for name, sequence in self._sequences.items():
            if stream_id not in (None, name):
                continue
            if sequence.ended:
                self._send_status(name, "ended", "")
                continue
            beat = Heartbeat(name, sequence.epoch, sequence.first_seq, sequence.next_seq, now_ns)
            if self._send(encode_heartbeat(beat)):
                self._stats.heartbeats += 1

    def event(self, event: StreamEvent) -> None:
        """Tells subscribers what happened to a stream; dated with the last time that this publisher heard of."""
        self._send_status(event.stream_id, event.kind, event.detail)

    def end(self, stream_id: str) -> None:
        """Tells subscribers that the stream is over; it may go on in a later epoch."""
        self._sequences.setdefault(stream_id, _Sequence(0, 0, 0)).ended = True
        self._send_status(stream_id, "ended", "")

    def close(self) -> None:
        """Sends what is on its way for at most `linger_seconds`, then closes. May be called twice."""
        if self._socket.closed:
            return
        self._socket.close(linger=round(self._config.linger_seconds * 1000))
        if self._own_context:
            self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _bind(self, address: str) -> None:
        options = {
            zmq.SNDHWM: self._config.high_water_mark,
            zmq.SNDBUF: _SOCKET_BUFFER_BYTES,
            zmq.HEARTBEAT_IVL: _PING_MS,
            zmq.HEARTBEAT_TIMEOUT: _PING_TIMEOUT_MS,
            zmq.BACKLOG: _BACKLOG,
            zmq.MAXMSGSIZE: 4096,  # subscribers send nothing but short subscriptions
            zmq.IPV6: int("[" in address),
        }
        for option, value in options.items():
            self._socket.setsockopt(option, value)
        self._socket.bind(address)

    def _advance(self, embedding: Embedding) -> _Sequence:
        """Finds the numbering that an embedding continues, or starts a new one."""
        sequence = self._sequences.get(embedding.stream_id)
        if sequence is not None and embedding.epoch == sequence.epoch:
            if embedding.seq < sequence.next_seq:
                raise WireError(
                    f"{embedding.stream_id}: number {embedding.seq} after {sequence.next_seq - 1}"
                )
            sequence.ended = False
            return sequence
        if sequence is not None and embedding.epoch < sequence.epoch:
            raise WireError(f"{embedding.stream_id}: epoch {embedding.epoch} after epoch {sequence.epoch}")
        sequence = _Sequence(embedding.epoch, embedding.seq, embedding.seq)
        self._sequences[embedding.stream_id] = sequence
        return sequence

    def _send_status(self, stream_id: str, kind: EventKind, detail: str) -> None:
        sequence = self._sequences.get(stream_id) or _Sequence(0, 0, 0)
        status = Status(
            stream_id, sequence.epoch, sequence.first_seq, sequence.next_seq, self._time_ns, kind, detail
        )
        if self._send(encode_status(status)):
            self._stats.events += 1

    def _send(self, frames: list[bytes]) -> bool:
        """Hands a message to the socket; PUB drops for slow subscribers and never blocks."""
        if self._socket.closed:
            raise ConfigError("the publisher is closed")
        try:
            self._socket.send_multipart(frames, flags=zmq.NOBLOCK)
        except zmq.Again:
            self._stats.refused += 1
            return False
        return True
