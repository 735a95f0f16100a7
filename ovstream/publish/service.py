"""The thread beside a publisher: answers who missed something, lets in who may, brings the journal to the disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import zmq

from ovstream.errors import ConfigError, WireError
from ovstream.publish.guard import ZAP_ENDPOINT, Guard
from ovstream.publish.journal import Journal
from ovstream.publish.sending import bind
from ovstream.wire import Reply, Request, encode_reply, parse_request
from ovstream.wire.limits import MAX_HEADER_BYTES

_TURN_MS = 100
_REFRESH_SECONDS = 0.25  # between looks at the list of keys
_BATCH_MESSAGES = 256
_BATCH_BYTES = 1 << 20
_REPLIES_WAITING = 8  # per subscriber: a stopped one costs at most so many batches
_REQUESTS_WAITING = 64
_REQUESTS_PER_TURN = 16
_CLIENT_SECONDS = 10.0  # without a request: gone
_MAX_CLIENTS = 1024
_BEAT_SECONDS = 0.1
_IDLE_SECONDS = 0.5  # without a request while closing: all have what they want
_BEHIND_SECONDS = (
    5.0  # the same where somebody was not given all: a busy one asks late, a lost answer is asked for again
)

_log = logging.getLogger("ovstream")


@dataclass(slots=True)
class ServiceStats:
    """What the thread has done.

    Attributes:
        requests: Answered.
        replayed: Messages sent again.
        invalid: Requests that are none.
        failures: Turns of the thread that went wrong; it goes on with the next one.
        restarts: Times that the thread died all the same and was started again.
        failed_syncs: Syncs of the journal that failed.
    """

    requests: int = 0
    replayed: int = 0
    invalid: int = 0
    failures: int = 0
    restarts: int = 0
    failed_syncs: int = 0


class Service:
    """Owns the replay socket and, with a guard, the socket that ZeroMQ asks for permission.

    Args:
        context: Of the publisher.
        journal: To answer from.
        guard: None: everybody may connect.
        catalogue: Gives the frames of a heartbeat of every stream.
        sync_seconds: Between syncs of the journal.
        configure: Sets the options that all sockets of the publisher have.
        private: See `sending.bind`.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        journal: Journal,
        *,
        guard: Guard | None,
        catalogue: Callable[[], list[list[bytes]]],
        sync_seconds: float,
        configure: Callable[[zmq.Socket[bytes]], None],
        private: bool,
    ) -> None:
        self.stats = ServiceStats()
        self.revoked = threading.Event()  # somebody lost the permission: cut all connections
        self._context = context
        self._journal = journal
        self._guard = guard
        self._catalogue = catalogue
        self._sync_seconds = sync_seconds
        self._private = private
        self._stop = threading.Event()
        self._asked_at = 0.0
        self._refreshed = 0.0
        self._clients: dict[bytes, float] = {}
        self._behind: set[bytes] = set()  # of these, who will ask for more
        self._zap = self._permission_socket()
        self._router = context.socket(zmq.ROUTER)
        configure(self._router)
        self._router.setsockopt(zmq.SNDHWM, _REPLIES_WAITING)
        self._router.setsockopt(zmq.RCVHWM, _REQUESTS_WAITING)
        self._router.setsockopt(zmq.MAXMSGSIZE, MAX_HEADER_BYTES)
        self._router.setsockopt(zmq.LINGER, 0)
        self._endpoint = ""
        self._threads: list[threading.Thread] = []

    def bind(self, address: str) -> None:
        """Binds the replay socket.

        Raises:
            zmq.ZMQError: It cannot be bound.
        """
        self._endpoint = bind(self._router, address, private=self._private)

    @property
    def endpoint(self) -> str:
        """Where it is bound."""
        return self._endpoint

    def start(self) -> None:
        """Starts to answer."""
        works = [("ovstream-replay", self._answer)]
        if self._sync_seconds:
            works.append(("ovstream-journal", self._sync))
        self._threads = [threading.Thread(target=run, name=name, daemon=True) for name, run in works]
        for thread in self._threads:
            thread.start()

    def supervise(self) -> None:
        """Starts the answering thread again if it died; until then nobody new was let in.

        The sockets stay: those that wait for a permission have a pipe to them that must not be cut.
        """
        if not self._threads or self._threads[0].is_alive() or self._stop.is_set():
            return
        self.stats.restarts += 1
        _log.error("the replay thread died; started again")
        self._threads[0] = threading.Thread(target=self._answer, name="ovstream-replay", daemon=True)
        self._threads[0].start()

    def drain(self, seconds: float, beat: Callable[[], None]) -> None:
        """Goes on answering until nobody asks any more, at most for so long.

        Args:
            seconds: Longest time.
            beat: Says again what was sent: the last messages may have been lost.
        """
        begin = time.monotonic()
        while self._clients and (now := time.monotonic()) < begin + seconds and self._threads:
            if now - max(self._asked_at, begin) > (_BEHIND_SECONDS if self._behind else _IDLE_SECONDS):
                return
            beat()
            self._stop.wait(_BEAT_SECONDS)

    def close(self) -> None:
        """Ends the threads and closes the sockets; may be called twice."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._threads = []
        self._router.close(linger=0)
        if self._zap is not None:
            self._zap.close(linger=0)

    def _permission_socket(self) -> zmq.Socket[bytes] | None:
        if self._guard is None:
            return None
        socket = self._context.socket(zmq.ROUTER)  # has no state that an unanswered question could upset
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind(ZAP_ENDPOINT)
        return socket

    def _answer(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        if self._zap is not None:
            poller.register(self._zap, zmq.POLLIN)
        while not self._stop.is_set():
            ready = dict(poller.poll(_TURN_MS))
            try:
                self._turn(ready)
            except Exception:
                if not self.stats.failures:
                    _log.exception("the replay thread goes on after")
                self.stats.failures += 1
                self._stop.wait(_TURN_MS / 1000)

    def _turn(self, ready: dict[object, int]) -> None:
        now = time.monotonic()
        if self._zap is not None and self._guard is not None:
            if now - self._refreshed >= _REFRESH_SECONDS:
                self._refreshed = now
                self._refresh(self._guard)
            if self._zap in ready:
                self._permit(self._zap, self._guard)
        if self._router in ready:
            started = time.thread_time()
            self._serve(now)
            # Half of the time belongs to the pipeline, however many requests there are.
            self._stop.wait(time.thread_time() - started)

    @staticmethod
    def _permit(zap: zmq.Socket[bytes], guard: Guard) -> None:
        """Answers one question for permission; whoever cannot be judged is turned away for now."""
        identity, empty, *frames = zap.recv_multipart()
        try:
            answer = guard.answer(frames)
        except Exception:
            zap.send_multipart([identity, empty, *guard.not_now(frames)])
            raise
        zap.send_multipart([identity, empty, *answer])

    def _refresh(self, guard: Guard) -> None:
        if not guard.refresh():
            return
        self.revoked.set()
        self._router.unbind(self._endpoint)
        while not self._stop.is_set():
            try:
                bind(self._router, self._endpoint, private=self._private)
                return
            except (zmq.ZMQError, ConfigError):  # the port is not free yet
                self._stop.wait(0.01)

    def _serve(self, now: float) -> None:
        for _ in range(_REQUESTS_PER_TURN):
            try:
                identity, *frames = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                request = parse_request(frames)
            except WireError:
                self.stats.invalid += 1
                continue
            if request.kind == "bye":
                self._forget(identity)
                continue
            self._asked_at = now
            self._remember(identity, now)
            self._behind.add(identity)
            reply = self._reply(request)
            self.stats.requests += 1
            try:
                self._router.send_multipart([identity, *encode_reply(reply)], zmq.NOBLOCK)
            except zmq.Again:
                continue
            self.stats.replayed += len(reply.messages)
            if self._is_all(request, reply):
                self._behind.discard(identity)

    def _is_all(self, request: Request, reply: Reply) -> bool:
        """Whether an answer went up to the newest message."""
        position = self._journal.position(request.stream_id, request.channel)
        end = 0 if position is None else position.next_seq
        return request.kind == "get" and max(reply.last + 1, request.first) >= end

    def _forget(self, identity: bytes) -> None:
        self._clients.pop(identity, None)
        self._behind.discard(identity)

    def _remember(self, identity: bytes, now: float) -> None:
        self._clients.pop(identity, None)
        self._clients[identity] = now
        oldest = next(iter(self._clients))
        if len(self._clients) > _MAX_CLIENTS or now - self._clients[oldest] > _CLIENT_SECONDS:
            self._forget(oldest)

    def _reply(self, request: Request) -> Reply:
        if request.kind == "list":
            return Reply("list", request.tag, messages=self._catalogue())
        stream_id, channel = request.stream_id, request.channel
        position = self._journal.position(stream_id, channel)
        kind: Literal["find", "get"] = "find" if request.kind == "find" else "get"
        if position is None:
            return Reply(kind, request.tag)
        oldest = self._journal.oldest(stream_id, channel)
        if kind == "find":
            found = self._journal.find(stream_id, channel, request.time_ns)
            return Reply(kind, request.tag, stream_id, channel, oldest=oldest, found=found)
        last = min(request.last, position.next_seq - 1)
        if oldest is not None and last < oldest:  # all of them are gone, and so are those up to the oldest
            return Reply(kind, request.tag, stream_id, channel, oldest - 1, oldest)
        if last < request.first:
            return Reply(kind, request.tag, stream_id, channel, oldest=oldest)
        batch = self._journal.read(
            stream_id, channel, request.first, last, count=_BATCH_MESSAGES, size=_BATCH_BYTES
        )
        messages = [cast(Sequence[bytes], record.frames) for record in batch.records]  # read back: bytes
        return Reply(kind, request.tag, stream_id, channel, batch.last, oldest, messages=messages)

    def _sync(self) -> None:
        while not self._stop.wait(self._sync_seconds):
            try:
                self._journal.sync()
            except Exception as error:  # whatever it is, the next turn may go well
                if not self.stats.failed_syncs:
                    _log.error("the journal cannot be brought to the disk: %s", error)
                self.stats.failed_syncs += 1
