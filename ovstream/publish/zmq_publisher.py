"""Publishes embeddings on a ZeroMQ PUB socket, and again to those who missed some."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import zmq

from ovstream.config import PublishConfig
from ovstream.errors import ConfigError
from ovstream.publish.binding import bind_address
from ovstream.publish.guard import Guard
from ovstream.publish.journal import Journal
from ovstream.publish.leases import Leases
from ovstream.publish.numbering import Numbering
from ovstream.publish.segment import Channel, Record
from ovstream.publish.sending import SendingSocket, configure
from ovstream.publish.service import Service
from ovstream.publish.standing import Standing
from ovstream.publish.terminating import terminate
from ovstream.types import AccessUnit, Embedding, EventKind, SinkCounts, StreamEvent
from ovstream.wire import Forms

_MEMORY_BYTES = 16 << 20  # of messages kept for replay where no journal is configured

_log = logging.getLogger("ovstream")


@dataclass(slots=True)
class PublisherStats:
    """What a publisher has done so far.

    Attributes:
        published: Embeddings handed to the socket; a subscriber too slow for them asks for them again.
        bytes: Of those, all frames.
        heartbeats: Sent.
        events: Status messages sent.
        refused: Messages that the socket did not take.
        unkept: Messages that the journal did not take: sent, but not to be had again.
        replayed: Messages sent again to those who asked.
    """

    published: int = 0
    bytes: int = 0
    heartbeats: int = 0
    events: int = 0
    refused: int = 0
    unkept: int = 0
    replayed: int = 0


class Publisher:
    """Sends embeddings of one or more streams to whoever listens; no send ever waits for a subscriber.

    Every message is written to a journal before it is sent, and a thread beside answers those who missed some.
    The caller brings time with `heartbeat`, once a second, and uses the publisher from one thread at a time.
    Use it as a context manager, or call `close`.

    Args:
        endpoint: ZeroMQ endpoint to bind; port `*` lets the system choose one, see `endpoint`.
        config: Vector dtype, journal, keys, high-water mark, time to flush at the end.
        context: Of the caller; `inproc://` endpoints meet only inside one context. None: an own one.

    Raises:
        InsecureBindError: The endpoint would be open to the network, and there are no keys to guard it.
        ConfigError: The endpoint cannot be bound, or the journal or the keys cannot be used.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        config: PublishConfig | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        self._config = config = config or PublishConfig()
        guarded = config.keys is not None
        address, *others = [
            bind_address(one, guarded=guarded, allow_insecure=config.allow_insecure)
            for one in (endpoint, config.replay_endpoint)
            if one is not None
        ]
        if guarded and context is not None:
            raise ConfigError("a publisher with keys needs a ZeroMQ context of its own")
        self._guard = Guard(Path(config.keys)) if config.keys is not None else None
        self._stats = PublisherStats()
        self._forms = Forms()
        self._keeping = True  # so far; a change is told once
        self._closed = False
        folder = None if config.journal is None else Path(config.journal)
        self._exit = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            size = _MEMORY_BYTES if folder is None else config.journal_bytes
            self._journal = Journal(folder, max_bytes=size)
            stack.callback(self._journal.close)
            leases = self._open_leases(folder)
            if leases is not None:
                stack.callback(leases.close)
            self._numbering = Numbering(self._journal, leases)
            stack.callback(self._numbering.close)
            self._standing = Standing(self._numbering, self._journal)
            if context is None:
                context = zmq.Context()
                stack.callback(terminate, context, linger_seconds=config.linger_seconds)
            private = not (guarded or config.allow_insecure)
            self._service = Service(
                context,
                self._journal,
                guard=self._guard,
                catalogue=self._standing.catalogue,
                sync_seconds=config.journal_sync_seconds if folder is not None else 0,
                configure=self._configure,
                private=private,
            )
            stack.callback(self._service.close)
            socket = context.socket(zmq.PUB)
            stack.callback(socket.close, linger=round(config.linger_seconds * 1000))
            self._configure(socket)
            self._socket = SendingSocket(socket, private=private)
            self._socket.bind_beside(
                address, other=others[0] if others else None, bind_other=self._service.bind
            )
            self._exit = stack.pop_all()
        self._service.start()

    @property
    def endpoint(self) -> str:
        """Where it is bound, with the port that the system chose."""
        return self._socket.endpoint

    @property
    def replay_endpoint(self) -> str:
        """Where to ask for what was missed."""
        return self._service.endpoint

    @property
    def public_key(self) -> str | None:
        """To be given to subscribers; None: messages are not encrypted."""
        return None if self._guard is None else self._guard.pair.public

    @property
    def stats(self) -> PublisherStats:
        """A copy of the counters."""
        return replace(self._stats, replayed=self._service.stats.replayed, refused=self._socket.refused)

    @property
    def counts(self) -> SinkCounts:
        """Embeddings handed to the socket, and those that it did not take."""
        return SinkCounts(sent=self._stats.published, failed=self._socket.refused)

    def packet(self, stream_id: str, unit: AccessUnit) -> None:
        """Does nothing: no picture leaves, not even a compressed one."""

    def resume(self, stream_id: str) -> tuple[int, int] | None:
        """Takes a stream over and says where to go on: (epoch, number); None: nothing is known of it.

        Whoever published it before, and still lives, is refused from now on (with a lease store).

        Raises:
            ConfigError: The lease store cannot be written.
        """
        return self._numbering.resume(stream_id)

    def announce(self, stream_id: str, *, epoch: int = 0, next_seq: int = 0) -> None:
        """Starts an epoch before its first embedding, so that heartbeats already speak of the stream.

        Raises:
            WireError: A later epoch was already published.
            FencedError: Another publisher has taken the stream over.
        """
        self._numbering.announce(stream_id, epoch=epoch, next_seq=next_seq)

    def publish(self, embedding: Embedding) -> None:
        """Sends one embedding, without waiting.

        Raises:
            WireError: It cannot be sent at all (see `wire.encode`), or its number or epoch was already used.
            FencedError: Another publisher has taken the stream over.
        """
        self._check_open()
        stream_id, seq = embedding.stream_id, embedding.seq
        sequence = self._numbering.advance(stream_id, embedding.epoch, seq)
        form = self._forms.fill(
            embedding,
            dtype=self._config.vector_dtype,
            first_seq=sequence.first_seq,
            previous_seq=sequence.previous_seq,
        )
        self._standing.time_ns = embedding.publish_time_ns
        kept = self._keep("e", stream_id, sequence.epoch, seq, form.frames, form.joined)
        sequence.next_seq, sequence.ended = (
            seq + 1,
            False,
        )  # only now: the thread beside tells what can be asked for
        self._notice(stream_id, kept)
        if self._send(form.frames):
            self._stats.published += 1
            self._stats.bytes += form.size

    def heartbeat(self, now_ns: int, *, stream_id: str | None = None) -> None:
        """Sends a sign of life; to be called once a second.

        Of a stream that has ended it says that again: the first time may have been lost.

        Args:
            now_ns: Wall clock (UTC, Unix).
            stream_id: Of this stream only; None: of all.
        """
        self._check_open()
        self._standing.time_ns = now_ns
        self._service.supervise()
        self._beat_all(stream_id)

    def event(self, event: StreamEvent) -> None:
        """Tells subscribers what happened to a stream; dated with the last time that this publisher heard of."""
        self._tell(event.stream_id, event.kind, event.detail)

    def end(self, stream_id: str) -> None:
        """Tells subscribers that the stream is over; it may go on in a later epoch."""
        self._tell(stream_id, "ended", "")
        self._numbering[stream_id].ended = True

    def close(self) -> None:
        """Sends what is on its way and answers who still asks, for at most `linger_seconds`. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._service.drain(self._config.linger_seconds, self._beat_all)
        self._exit.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _beat_all(self, stream_id: str | None = None) -> None:
        """Says of every stream, or of one, what was sent."""
        for name, sequence in self._numbering.items():
            if stream_id in (None, name) and self._send(self._standing.beat(name, sequence)):
                self._stats.heartbeats += not sequence.ended

    def _open_leases(self, folder: Path | None) -> Leases | None:
        if self._config.leases is not None:
            return Leases(Path(self._config.leases), journal_id=self._journal.identity)
        return None if folder is None else Leases(folder / "leases.sqlite", journal_id=self._journal.identity)

    def _configure(self, socket: zmq.Socket[bytes]) -> None:
        configure(socket, high_water_mark=self._config.high_water_mark, guard=self._guard)

    def _keep(
        self,
        channel: Channel,
        stream_id: str,
        epoch: int,
        seq: int,
        frames: Sequence[bytes | memoryview],
        joined: memoryview | None = None,
    ) -> bool:
        """Writes a message to the journal, if that takes it."""
        record = Record((stream_id, channel), seq, epoch, self._standing.time_ns, frames, joined)
        kept = self._journal.append(record)
        self._stats.unkept += not kept
        return kept

    def _notice(self, stream_id: str, kept: bool) -> None:
        """Tells once when messages are not kept any more, and once when they are again."""
        if kept is self._keeping:
            return
        self._keeping = kept
        detail = (
            "messages are kept again" if kept else "the journal's disk takes no more: messages are live only"
        )
        _log.warning("%s", detail)
        self._tell(stream_id, "journal", detail)

    def _tell(self, stream_id: str, kind: EventKind, detail: str) -> None:
        self._check_open()
        sequence = self._numbering[stream_id]
        seq = sequence.next_event
        frames = self._standing.status(stream_id, sequence, kind, detail, number=seq)
        kept = self._keep("s", stream_id, sequence.epoch, seq, frames)
        sequence.next_event += 1
        self._notice(stream_id, kept)
        self._stats.events += self._send(frames)

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigError("the publisher is closed")

    def _send(self, frames: Sequence[bytes | memoryview]) -> bool:
        """Hands a message to the socket, after everybody was made to connect again where that is due."""
        if self._service.revoked.is_set() and self._socket.cut_connections():
            self._service.revoked.clear()
        return self._socket.send(frames)
