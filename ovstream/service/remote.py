"""A stream that runs in a worker's process, as the service sees it: what is known of it, and where its results go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ovstream.config import StreamConfig
from ovstream.errors import FencedError, OvstreamError
from ovstream.service.checkpoints import Fence
from ovstream.service.facts import Facts, Origin, State, added
from ovstream.service.home import OwnHome
from ovstream.service.packing import unpacked_second, unpacked_unit
from ovstream.service.preserve import as_plain
from ovstream.service.timeline import Timeline
from ovstream.sinks import Sink
from ovstream.types import Checkpoint, StreamEvent
from ovstream.wire import decode, decode_checkpoint, encode_checkpoint

_OVER = ("ended", "failed")

_log = logging.getLogger("ovstream")


class Host(Protocol):
    """The worker, as its streams use it."""

    def tell(self, kind: str, stream_id: str, body: Any = None) -> None:
        """See `Link`."""

    async def ask(self, kind: str, stream_id: str, body: Any = None) -> Any:
        """See `Link`."""


class RemoteCamera:
    """Has the methods of `Camera`, and does them over the link of a worker.

    The worker gives the numbers, but the service counts what it received: a worker that dies with results on their way
    leaves no gap and uses no number twice, for its successor goes on behind the last that came out.

    Args:
        config: Of the stream.
        home: The service.
        host: The worker.
        origin: Who named it.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        config: StreamConfig,
        home: OwnHome,
        host: Host,
        *,
        origin: Origin = "file",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.origin: Origin = origin
        self.timeline = Timeline()
        self.opened = asyncio.Event()
        self._home = home
        self._host = host
        self._clock = clock
        self._wanted = False
        self._state: State = "paused" if config.supervise.paused else "stopped"
        self._trouble = ""
        self._level = 0
        self._life = 0
        self._facts = Facts(state=self._state)  # of the worker that lives
        self._past = Facts(state=self._state)  # counters of those that died
        self._stand: Checkpoint | None = None
        self._sinks: Sequence[Sink] = ()
        self._results = False
        self._sink_errors = 0

    @property
    def stream_id(self) -> str:
        """Its name."""
        return self.config.stream_id

    @property
    def state(self) -> State:
        """How it is, in one word."""
        return self._facts.state if self._wanted and not self._trouble else self._state

    def facts(self) -> Facts:
        """How it is."""
        now, past = self._facts, self._past
        counts = zip(past.latency_counts, now.latency_counts, strict=True)
        return replace(
            now,
            state=self.state,
            detail=self._trouble or (now.detail if self._wanted else ""),
            opened=self.opened.is_set(),
            restarts=past.restarts + now.restarts,
            totals=added(added(past.totals, now.totals), {"sink_errors": self._sink_errors}),
            latency_counts=[one + other for one, other in counts],
            latency_seconds=past.latency_seconds + now.latency_seconds,
        )

    def start(self) -> None:
        """Begins, unless it runs already or is paused."""
        if not self._wanted and not self.config.supervise.paused:
            self._wanted = True
            self._put()

    async def stop(self, state: State = "stopped") -> None:
        """Ends the stream and remembers where it stood; may be called twice."""
        if self._wanted:
            with contextlib.suppress(OvstreamError):  # a worker that is gone has no stream any more
                entry = await self._host.ask("stop", self.stream_id)
                if entry is not None:
                    self.pulse(entry)
        self._wanted, self._state = False, state

    def begin_stop(self) -> None:
        """Begins the end without waiting for it; `stop` waits."""
        if self._wanted:
            self._host.tell("begin_stop", self.stream_id)

    async def reconfigure(self, config: StreamConfig) -> None:
        """Goes on under another configuration of the same name, with the next number."""
        await self.stop()
        self.config = config
        self._trouble = ""
        self._state = "paused" if config.supervise.paused else "stopped"
        self.start()

    def ease(self, level: int, reason: str) -> None:
        """See `Camera`."""
        self._level = level
        self._host.tell("ease", self.stream_id, (level, reason))

    def checkpoint(self) -> Checkpoint | None:
        """Where it stands; None before its first life."""
        return self._stand

    def tick(self) -> None:
        """Nothing: the worker looks after its streams."""

    async def picture(self, *, width: int, fresh: bool) -> bytes | None:
        """See `Camera`."""
        with contextlib.suppress(OvstreamError):
            found: bytes | None = await self._host.ask(
                "picture", self.stream_id, {"width": width, "fresh": fresh}
            )
            return found
        return None

    async def overlay(self, *, after: int = 0) -> tuple[int, dict[str, Any]] | None:
        """See `Camera`."""
        with contextlib.suppress(OvstreamError):
            found = await self._host.ask("overlay", self.stream_id, after)
            return None if found is None else (found[0], found[1])
        return None

    def move(self, host: Host) -> None:
        """From now on it lives in another worker, which will say when it is there; in this one it does no more."""
        self._host = host
        self._past = self._counted()
        self._facts = Facts(state=self._facts.state, detail=self._facts.detail, seen=self._facts.seen)

    def attached(self) -> None:
        """A worker is there: it gets the stream, unless that is over."""
        if self._wanted and self._facts.state not in _OVER:
            self._put()

    def detached(self, why: str) -> None:
        """The worker is gone."""
        now = self._counted()
        fresh = Facts(state="waiting", seen=now.seen)
        self.opened.set()  # tried at least
        if self._wanted and self._facts.state not in _OVER:
            self._past = replace(now, restarts=now.restarts + 1)
            self._facts = fresh
            self._trouble, self._state = why, "waiting"
            self._home.tell(self.stream_id, "error", why)
        else:
            self._past, self._facts = now, replace(fresh, state=self._facts.state, detail=self._facts.detail)

    def _counted(self) -> Facts:
        """All counters so far, as those of the past: another process begins at zero."""
        return replace(self.facts(), totals=added(self._past.totals, self._facts.totals))

    def _put(self) -> None:
        self._life += 1
        self._facts = replace(self._facts, state="starting", detail="")
        body = {"config": as_plain(self.config), "level": self._level, "life": self._life}
        self._host.tell("put", self.stream_id, body)

    def pulse(self, entry: dict[str, Any]) -> None:
        """Takes what the worker says once a second."""
        if entry["life"] != self._life:
            return  # of an earlier configuration
        self._trouble = ""
        self._facts = Facts.from_dict(entry["facts"])
        if self._facts.opened:
            self.opened.set()
        if entry["second"] is not None:
            self.timeline.add(unpacked_second(entry["second"]))
        if entry["stand"] is not None and (not self._results or self._stand is None):
            self._stand = decode_checkpoint(entry["stand"])  # nobody gets numbers: none can be lost

    async def begin(self) -> dict[str, Any]:
        """A life begins: opens the outputs, and answers what the worker must know of them.

        Raises:
            ConfigError: One cannot be opened.
        """
        life = await self._home.begin(self.config, self._where)
        outputs = [sink for sink in life.sinks if not isinstance(sink, Fence)]
        known = [found for sink in outputs if (found := sink.resume(self.stream_id)) is not None]
        restore = self._stand or life.restore
        self._sinks, self._results = life.sinks, bool(outputs)
        return {
            "restore": None if restore is None else encode_checkpoint(restore),
            "resume": (max(one for one, _ in known), max(one for _, one in known)) if known else None,
            "results": bool(outputs),
            "packets": any(_takes_packets(sink) for sink in outputs),
        }

    def heard(self, kind: str, body: Any) -> None:
        """Takes one word of the worker, in order."""
        name = self.stream_id
        if kind == "publish":
            embedding = decode(body)
            self._each(lambda sink: sink.publish(embedding))
            if self._stand is not None:
                self._stand = replace(self._stand, epoch=embedding.epoch, next_seq=embedding.seq + 1)
        elif kind == "announce":
            epoch, next_seq, stand = body
            self._stand = replace(decode_checkpoint(stand), epoch=epoch, next_seq=next_seq)
            self._each(lambda sink: sink.announce(name, epoch=epoch, next_seq=next_seq))
        elif kind == "stand":
            self._stand = decode_checkpoint(body)
            self._home.save(self._stand)
        elif kind == "heartbeat":
            self._each(lambda sink: sink.heartbeat(body, stream_id=name))
        elif kind == "packet":
            unit = unpacked_unit(body)
            self._each(lambda sink: sink.packet(name, unit))
        elif kind == "sink_event":
            event = StreamEvent(body[0], name, body[1], body[2])
            self._each(lambda sink: sink.event(event))
        elif kind == "end":
            self._each(lambda sink: sink.end(name))
        elif kind == "event":
            self._home.tell(name, *body)

    def _where(self) -> Checkpoint:
        assert self._stand is not None, "nothing is announced before it stands somewhere"
        return self._stand

    def _each(self, call: Callable[[Sink], None]) -> None:
        """Calls every sink; one that fails is counted and told about once, and costs the others nothing."""
        for sink in self._sinks:
            try:
                call(sink)
            except FencedError:  # somebody else runs this stream now: what still comes must not go out
                self._sinks = ()
                self._host.tell("fence", self.stream_id)
                return
            except Exception:
                if not self._sink_errors:
                    _log.exception("%s: a sink failed: %r", self.stream_id, sink)
                self._sink_errors += 1


def _takes_packets(sink: Sink) -> bool:
    """Whether a sink does anything with compressed pictures."""
    from ovstream.publish import Publisher

    return not isinstance(sink, Publisher) and type(sink).packet is not Sink.packet
