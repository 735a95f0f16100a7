"""The subscriber's front door: checks the wishes, makes the subscription."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import zmq

from ovstream.errors import ConfigError, WireError
from ovstream.publish.binding import replay_address, split_endpoint
from ovstream.publish.follower import Rules
from ovstream.publish.following import Following
from ovstream.publish.keys import SubscriberKeys
from ovstream.publish.receiving import ReceivingSockets
from ovstream.publish.reception import Reception
from ovstream.publish.ring import Ring, parse_policy
from ovstream.publish.subscription import Subscription
from ovstream.wire import topics

_MAX_HELD = 4096
_BATCH = 256

Start = str | int | Mapping[str, int] | datetime | timedelta


def subscribe(
    endpoint: str | Sequence[str],
    *,
    streams: Sequence[str] | None = None,
    start: Start = "live",
    policy: str = "bounded",
    keys: SubscriberKeys | str | Path | None = None,
    capacity: int = 1024,
    max_age: float | None = None,
    until_end: bool = False,
    replay: str | Sequence[str] | None = None,
    recover: bool | None = None,
    recover_seconds: float = 10.0,
    context: zmq.Context[zmq.Socket[bytes]] | None = None,
    clock_ns: Callable[[], int] = time.time_ns,
) -> Subscription:
    """Subscribes to the embeddings of one or more publishers.

    ```python
    async with ovstream.subscribe("tcp://127.0.0.1:5555", streams=["door"]) as events:
        async for event in events:
            match event:
                case ovstream.Embedding():
                    print(event.seq, events.stats.recovered)
                case ovstream.Gap():
                    print(f"{event.count} are lost: {event.reason}")
    ```

    Events are `Embedding`, `Gap` (what cannot be had any more), `Reset` (a new epoch), `Stale` (too old, or silence)
    and `StreamEvent` (what happened to a stream; its `time_ns` is the publisher's wall clock). Without asyncio: `with`
    and `for`.

    Args:
        endpoint: ZeroMQ endpoint of a publisher, or several; none of them needs to be there yet.
        streams: Names of the streams wanted; None: all of them.
        start: "live": from the first message that arrives. "last": the newest embedding of each stream, then live.
            "oldest": everything that the publisher keeps. A number, or numbers by stream: from there. A `datetime`
            (with time zone) or a `timedelta` back from now: what was sent since.
        policy: What happens when the reader is slow. "latest": only the newest embedding per stream and kind
            is kept, and nobody is asked for missed ones. "bounded" or "bounded(N)": the newest `capacity` ones.
            "lossless": nothing is dropped; a reader may be slow for as long as the publisher keeps what it missed.
        keys: Key file, or keys, of a subscriber that the publisher allows; None: not encrypted.
        capacity: Embeddings that wait for the reader.
        max_age: Leaves out embeddings published more seconds ago, with a `Stale` event; needs clocks that agree.
        until_end: Ends the iteration once every stream wanted (or heard) has ended.
        replay: Where to ask for what was missed, one endpoint per publisher; None: see `wire-format.md`.
        recover: Whether to ask at all; None: unless the policy is "latest".
        recover_seconds: Longest wait for an answer; then what is missing becomes a `Gap`, and the rest goes on.
        context: ZeroMQ context; needed for `inproc://`, shared with the publisher.
        clock_ns: Wall clock (UTC, Unix).

    Raises:
        ConfigError: An argument makes no sense, or a key file cannot be used.
    """
    endpoints = [endpoint] if isinstance(endpoint, str) else list(endpoint)
    if not endpoints:
        raise ConfigError("no endpoint to subscribe to")
    for each in endpoints:
        split_endpoint(each)
    if isinstance(streams, str):
        raise ConfigError(f"streams must be a list of names: [{streams!r}]")
    known_policy, capacity = parse_policy(policy, capacity=capacity)
    asking = known_policy != "latest" if recover is None else recover
    rules, starts = _rules(start, recover=asking, give_up_seconds=recover_seconds, clock_ns=clock_ns)
    # What is held until an earlier message has come must find room in the ring when it has.
    if known_policy == "bounded":
        rules = replace(rules, max_held=min(_MAX_HELD, capacity), batch=max(1, min(_BATCH, capacity // 4)))
    late = rules.start != "live" or bool(starts)
    replays = _replays(endpoints, replay) if asking or late else []
    try:
        prefixes = topics(streams)
    except WireError as error:
        raise ConfigError(str(error)) from None
    if isinstance(keys, (str, Path)):
        keys = SubscriberKeys.load(keys)

    def connect() -> Reception:
        return Reception(
            ReceivingSockets(endpoints, replays, prefixes, keys=keys, context=context),
            Following(rules, starts=starts, publishers=len(replays)),
            Ring(known_policy, capacity=capacity),
            streams=None if streams is None else list(streams),
            early=late,
            max_age_seconds=max_age,
            until_end=until_end,
            clock_ns=clock_ns,
        )

    return Subscription(connect)


def _rules(
    start: Start, *, recover: bool, give_up_seconds: float, clock_ns: Callable[[], int]
) -> tuple[Rules, dict[str, int]]:
    rules = Rules(recover=recover, give_up_seconds=give_up_seconds)
    at: dict[str, int] = {}
    if isinstance(start, Mapping):
        at = dict(start)
    elif isinstance(start, bool):
        raise ConfigError(f"start={start!r}; {_CHOICES}")
    elif isinstance(start, int):
        rules = Rules("seq", start, recover, give_up_seconds=give_up_seconds)
    elif isinstance(start, (datetime, timedelta)):
        rules = Rules("time", _as_ns(start, clock_ns), recover=True, give_up_seconds=give_up_seconds)
    elif start == "live":
        pass
    elif start == "last":
        rules = Rules("last", recover=True, give_up_seconds=give_up_seconds)
    elif start == "oldest":
        rules = Rules("oldest", recover=True, give_up_seconds=give_up_seconds)
    else:
        raise ConfigError(f"start={start!r}; {_CHOICES}")
    if any(number < 0 for number in (*at.values(), rules.start_at)):
        raise ConfigError("start: numbers and times are not negative")
    return rules, at


_CHOICES = "choose 'live', 'last', 'oldest', a number, numbers by stream, a datetime or a timedelta"


def _as_ns(start: datetime | timedelta, clock_ns: Callable[[], int]) -> int:
    if isinstance(start, timedelta):
        return clock_ns() - round(start.total_seconds() * 1e9)
    if start.tzinfo is None:
        raise ConfigError(f"start={start!r} has no time zone: start.astimezone() gives it the local one")
    return round(start.timestamp() * 1e9)


def _replays(endpoints: Sequence[str], replay: str | Sequence[str] | None) -> list[str]:
    if replay is None:
        return [replay_address(each) for each in endpoints]
    replays = [replay] if isinstance(replay, str) else list(replay)
    for each in replays:
        split_endpoint(each)
    return replays
