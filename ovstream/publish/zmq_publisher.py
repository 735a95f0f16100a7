"""Publishes embeddings on a ZeroMQ PUB socket, and again to those who missed some."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import zmq

from ovstream.config import PublishConfig
from ovstream.errors import ConfigError, WireError
from ovstream.publish.binding import bind_address, is_ipv6, refuse_taken, replay_address
from ovstream.publish.guard import Guard
from ovstream.publish.journal import Journal
from ovstream.publish.leases import BLOCK, Leases
from ovstream.publish.segment import Channel, Record
from ovstream.publish.service import Service
from ovstream.types import AccessUnit, Embedding, EventKind, SinkCounts, StreamEvent
from ovstream.wire import Heartbeat, Status, encode, encode_heartbeat, encode_status

# Kernel buffers hide old messages from the high-water mark: 256 KiB are some 300 messages of 768 bytes.
_SOCKET_BUFFER_BYTES = 256 << 10
_PING_MS = 5_000  # ZMTP ping: drops subscribers that vanished without a word
_PING_TIMEOUT_MS = 15_000
_BACKLOG = 128
_HANDSHAKE_MS = (
    5_000  # libzmq keeps a refused connection until then; only afterwards does its owner try again
)
_LAST = int(zmq.NOBLOCK)  # as numbers: adding members of the enumeration costs more than sending
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_PORT_TRIES = 50
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


@dataclass(slots=True)
class _Sequence:
    """Where the numbering of one stream stands."""

    epoch: int
    first_seq: int
    next_seq: int
    first_event: int = 0
    next_event: int = 0
    reserved: int | None = None  # numbers below may be used; None: there are no leases
    ended: bool = False

    @property
    def previous_seq(self) -> int | None:
        return self.next_seq - 1 if self.next_seq > self.first_seq else None


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
        address = bind_address(endpoint, guarded=guarded, allow_insecure=config.allow_insecure)
        self._replay_address = config.replay_endpoint and bind_address(
            config.replay_endpoint, guarded=guarded, allow_insecure=config.allow_insecure
        )
        if guarded and context is not None:
            raise ConfigError("a publisher with keys needs a ZeroMQ context of its own")
        self._guard = Guard(Path(config.keys)) if config.keys is not None else None
        self._sequences: dict[str, _Sequence] = {}
        self._time_ns = 0
        self._stats = PublisherStats()
        self._keeping = self._leasing = True  # so far; a change is told once
        self._closed = False
        folder = None if config.journal is None else Path(config.journal)
        size = _MEMORY_BYTES if folder is None else config.journal_bytes
        self._exit = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            self._journal = Journal(folder, max_bytes=size)
            stack.callback(self._journal.close)
            self._leases = self._open_leases(folder)
            if self._leases is not None:
                stack.callback(self._leases.close)
            if context is None:
                context = zmq.Context()
                stack.callback(context.term)
            self._service = Service(
                context,
                self._journal,
                guard=self._guard,
                catalogue=self._catalogue,
                sync_seconds=config.journal_sync_seconds if folder is not None else 0,
                configure=self._configure,
            )
            stack.callback(self._service.close)
            self._socket = context.socket(zmq.PUB)
            stack.callback(self._close_socket)
            self._configure(self._socket)
            self._bind(endpoint, address)
            self._exit = stack.pop_all()
        self._service.start()

    @property
    def endpoint(self) -> str:
        """Where it is bound, with the port that the system chose."""
        return self._endpoint

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
        return replace(self._stats, replayed=self._service.stats.replayed)

    @property
    def counts(self) -> SinkCounts:
        """Embeddings handed to the socket, and those that it did not take."""
        return SinkCounts(sent=self._stats.published, failed=self._stats.refused)

    def packet(self, stream_id: str, unit: AccessUnit) -> None:
        """Does nothing: no picture leaves, not even a compressed one."""

    def resume(self, stream_id: str) -> tuple[int, int] | None:
        """Takes a stream over and says where to go on: (epoch, number); None: nothing is known of it.

        Whoever published it before, and still lives, is refused from now on (with a lease store).

        Raises:
            ConfigError: The lease store cannot be written.
        """
        position = self._journal.position(stream_id, "e")
        epoch = 0 if position is None else position.epoch + 1
        next_seq = 0 if position is None else position.next_seq
        if self._leases is None:
            return None if position is None else (epoch, next_seq)
        lease = self._leases.claim(stream_id, at_least_epoch=epoch, next_seq=next_seq)
        if not lease.same_journal:
            next_seq = lease.reserved  # the last messages may have been sent without reaching this journal
        event = self._journal.position(stream_id, "s")
        next_event = 0 if event is None else event.next_seq
        self._sequences[stream_id] = _Sequence(
            lease.epoch, next_seq, next_seq, next_event, next_event, reserved=lease.reserved
        )
        return lease.epoch, next_seq

    def announce(self, stream_id: str, *, epoch: int = 0, next_seq: int = 0) -> None:
        """Starts an epoch before its first embedding, so that heartbeats already speak of the stream.

        Raises:
            WireError: A later epoch was already published.
            FencedError: Another publisher has taken the stream over.
        """
        known = self._sequences.get(stream_id)
        if known is not None and known.reserved is not None and epoch == known.epoch:
            known.first_seq = known.next_seq = max(next_seq, known.next_seq)  # the epoch that `resume` gave
            return
        self._enter(stream_id, epoch, next_seq)

    def publish(self, embedding: Embedding) -> None:
        """Sends one embedding, without waiting.

        Raises:
            WireError: It cannot be sent at all (see `wire.encode`), or its number or epoch was already used.
            FencedError: Another publisher has taken the stream over.
        """
        self._check_open()
        sequence = self._advance(embedding)
        frames = encode(
            embedding,
            dtype=self._config.vector_dtype,
            first_seq=sequence.first_seq,
            previous_seq=sequence.previous_seq,
        )
        self._time_ns = embedding.publish_time_ns
        seq = embedding.seq
        if sequence.reserved is not None and seq >= sequence.reserved:
            self._reserve(embedding.stream_id, sequence, seq)
        sequence.next_seq = seq + 1
        self._keep("e", embedding.stream_id, sequence.epoch, seq, frames)
        if self._send(frames):
            self._stats.published += 1
            self._stats.bytes += sum(map(len, frames))

    def heartbeat(self, now_ns: int, *, stream_id: str | None = None) -> None:
        """Sends a sign of life; to be called once a second.

        Of a stream that has ended it says that again: the first time may have been lost.

        Args:
            now_ns: Wall clock (UTC, Unix).
            stream_id: Of this stream only; None: of all.
        """
        self._check_open()
        self._time_ns = now_ns
        self._service.supervise()
        self._beat_all(stream_id)

    def event(self, event: StreamEvent) -> None:
        """Tells subscribers what happened to a stream; dated with the last time that this publisher heard of."""
        self._send_event(event.stream_id, event.kind, event.detail)

    def end(self, stream_id: str) -> None:
        """Tells subscribers that the stream is over; it may go on in a later epoch."""
        self._send_event(stream_id, "ended", "")
        self._sequences[stream_id].ended = True

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
        for name, sequence in self._sequences.items():
            if stream_id not in (None, name):
                continue
            if sequence.ended:
                self._send(self._end_of(name, sequence))
            elif self._send(encode_heartbeat(self._beat(name, sequence))):
                self._stats.heartbeats += 1

    def _open_leases(self, folder: Path | None) -> Leases | None:
        if self._config.leases is not None:
            return Leases(Path(self._config.leases), journal_id=self._journal.identity)
        return None if folder is None else Leases(folder / "leases.sqlite", journal_id=self._journal.identity)

    def _configure(self, socket: zmq.Socket[bytes]) -> None:
        options = {
            zmq.SNDHWM: self._config.high_water_mark,
            zmq.SNDBUF: _SOCKET_BUFFER_BYTES,
            zmq.HEARTBEAT_IVL: _PING_MS,
            zmq.HEARTBEAT_TIMEOUT: _PING_TIMEOUT_MS,
            zmq.BACKLOG: _BACKLOG,
            zmq.HANDSHAKE_IVL: _HANDSHAKE_MS,
            zmq.MAXMSGSIZE: 4096,  # subscribers send nothing but short subscriptions
        }
        for option, value in options.items():
            socket.setsockopt(option, value)
        if self._guard is not None:
            self._guard.apply(socket)

    def _bind(self, endpoint: str, address: str) -> None:
        """Binds the two sockets, by default on neighbouring ports."""
        self._socket.setsockopt(zmq.IPV6, is_ipv6(address))
        chosen = address.endswith((":*", ":0"))
        refuse_taken(address)
        try:
            for left in reversed(range(_PORT_TRIES if chosen else 1)):
                self._socket.bind(address)
                self._endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
                try:
                    self._service.bind(self._replay_address or replay_address(self._endpoint))
                    return
                except (zmq.ZMQError, ConfigError) as error:
                    if not left:
                        raise ConfigError(
                            f"cannot bind {replay_address(self._endpoint)}, where subscribers ask for what they "
                            f"missed: {error}; publish.replay_endpoint may name another place"
                        ) from None
                    self._socket.unbind(self._endpoint)
        except zmq.ZMQError as error:
            raise ConfigError(f"cannot bind {endpoint}: {error}") from None

    def _close_socket(self) -> None:
        self._socket.close(linger=round(self._config.linger_seconds * 1000))

    def _advance(self, embedding: Embedding) -> _Sequence:
        """Finds the numbering that an embedding continues, or starts a new one."""
        sequence = self._sequences.get(embedding.stream_id)
        if sequence is None or embedding.epoch != sequence.epoch:
            return self._enter(embedding.stream_id, embedding.epoch, embedding.seq)
        if embedding.seq < sequence.next_seq:
            raise WireError(f"{embedding.stream_id}: number {embedding.seq} after {sequence.next_seq - 1}")
        sequence.ended = False
        return sequence

    def _enter(self, stream_id: str, epoch: int, next_seq: int) -> _Sequence:
        """Begins an epoch."""
        if self._leases is not None and stream_id not in self._sequences:
            self.resume(stream_id)
        known = self._sequences.get(stream_id)
        last = self._journal.position(stream_id, "e") if known is None else None
        last_epoch = known.epoch if known else last.epoch if last else -1
        fresh = known is not None and known.reserved is not None and known.next_seq == known.first_seq
        if epoch < last_epoch or (epoch == last_epoch and not fresh):
            raise WireError(f"{stream_id}: epoch {epoch} after epoch {last_epoch}; see Publisher.resume")
        if self._leases is not None:
            self._with_leases(lambda leases: leases.advance(stream_id, epoch=epoch))
        event = self._journal.position(stream_id, "s")
        next_event = known.next_event if known else event.next_seq if event else 0
        sequence = _Sequence(
            epoch, next_seq, next_seq, next_event, next_event, known.reserved if known else None
        )
        self._sequences[stream_id] = sequence
        return sequence

    def _reserve(self, stream_id: str, sequence: _Sequence, seq: int) -> None:
        up_to = seq + BLOCK
        self._with_leases(lambda leases: leases.reserve(stream_id, up_to=up_to))
        sequence.reserved = up_to

    def _with_leases(self, call: Callable[[Leases], None]) -> None:
        """Asks the lease store; one that cannot be written does not stop the live messages."""
        if self._leases is None:
            return
        try:
            call(self._leases)
            self._leasing = True
        except sqlite3.Error as error:
            if self._leasing:
                _log.error("lease store %s cannot be written: %s", self._leases.path, error)
            self._leasing = False

    def _keep(self, channel: Channel, stream_id: str, epoch: int, seq: int, frames: Sequence[bytes]) -> None:
        """Writes a message to the journal; tells once when that stops, and once when it works again."""
        kept = self._journal.append(Record((stream_id, channel), seq, epoch, self._time_ns, frames))
        self._stats.unkept += not kept
        if kept is self._keeping:
            return
        self._keeping = kept
        detail = (
            "messages are kept again" if kept else "the journal's disk takes no more: messages are live only"
        )
        _log.warning("%s", detail)
        self._send_event(stream_id, "journal", detail)

    def _send_event(self, stream_id: str, kind: EventKind, detail: str) -> None:
        self._check_open()
        sequence = self._sequences.get(stream_id)
        if sequence is None:
            sequence = self._sequences[stream_id] = _Sequence(0, 0, 0)
        seq = sequence.next_event
        frames = encode_status(self._status(stream_id, sequence, kind, detail, seq))
        sequence.next_event += 1
        self._keep("s", stream_id, sequence.epoch, seq, frames)
        self._stats.events += self._send(frames)

    def _status(self, name: str, sequence: _Sequence, kind: EventKind, detail: str, seq: int) -> Status:
        place = (name, sequence.epoch, sequence.first_seq, sequence.next_seq, self._time_ns)
        return Status(*place, kind, detail, event_seq=seq, first_event=sequence.first_event)

    def _beat(self, name: str, sequence: _Sequence) -> Heartbeat:
        oldest = self._journal.oldest(name, "e")
        oldest_event = self._journal.oldest(name, "s")
        return Heartbeat(
            name,
            sequence.epoch,
            sequence.first_seq,
            sequence.next_seq,
            self._time_ns,
            oldest_seq=sequence.next_seq if oldest is None else min(oldest, sequence.next_seq),
            first_event=sequence.first_event,
            next_event=sequence.next_event,
            oldest_event=sequence.next_event
            if oldest_event is None
            else min(oldest_event, sequence.next_event),
        )

    def _catalogue(self) -> list[list[bytes]]:
        """A heartbeat of every stream, and the end of those that ended; called by the thread beside."""
        known = list(self._sequences.items())
        beats = [encode_heartbeat(self._beat(name, one)) for name, one in known]
        return beats + [self._end_of(name, one) for name, one in known if one.ended]

    def _end_of(self, name: str, sequence: _Sequence) -> list[bytes]:
        """The last status message once more."""
        last = max(sequence.next_event - 1, sequence.first_event)
        return encode_status(self._status(name, sequence, "ended", "", last))

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigError("the publisher is closed")

    def _send(self, frames: list[bytes]) -> bool:
        """Hands a message to the socket; PUB drops for slow subscribers and never blocks."""
        if self._service.revoked.is_set():
            self._cut_connections()
        send = self._socket.send
        try:
            for frame in frames[:-1]:
                send(frame, _MORE)
            send(frames[-1], _LAST)
        except zmq.Again:
            self._stats.refused += 1
            return False
        return True

    def _cut_connections(self) -> None:
        """Makes everybody connect again: who lost the permission cannot, the others ask for what they missed."""
        with contextlib.suppress(zmq.ZMQError):
            self._socket.unbind(self._endpoint)
        try:
            self._socket.bind(self._endpoint)
        except zmq.ZMQError:
            return  # the port is not free yet: at the next message
        self._service.revoked.clear()
