"""The subscriber's front door: checks the wishes, makes the subscription."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, get_args

import zmq

from ovstream.errors import ConfigError, WireError
from ovstream.publish.binding import split_endpoint
from ovstream.publish.receiving import ReceivingSocket
from ovstream.publish.ring import Policy, Ring
from ovstream.publish.subscription import Subscription
from ovstream.publish.tracker import Gap
from ovstream.wire import Status, topics


def subscribe(
    endpoint: str | Sequence[str],
    *,
    streams: Sequence[str] | None = None,
    start: str = "live",
    policy: Policy = "bounded",
    keys: Any = None,
    capacity: int = 1024,
    max_age_seconds: float | None = None,
    until_end: bool = False,
    on_gap: Callable[[Gap], None] | None = None,
    on_status: Callable[[Status], None] | None = None,
    context: zmq.Context[zmq.Socket[bytes]] | None = None,
    clock_ns: Callable[[], int] = time.time_ns,
) -> Subscription:
    """Subscribes to the embeddings of one or more publishers.

    ```python
    async with ovstream.subscribe("tcp://127.0.0.1:5555", streams=["door"]) as events:
        async for embedding in events:
            print(embedding.seq, events.stats.lost)
    ```

    Args:
        endpoint: ZeroMQ endpoint of a publisher, or several; none of them needs to be there yet.
        streams: Names of the streams wanted; None: all of them.
        start: "live": from the moment that the connection stands.
        policy: What happens when the reader is slow. "latest": only the newest embedding per stream and kind
            is kept. "bounded": the newest `capacity` ones. "lossless": nothing is dropped here; a reader
            slower than the stream makes the publisher drop, which shows as gaps.
        keys: Encryption keys; not available yet.
        capacity: Embeddings that wait for the reader.
        max_age_seconds: Skips embeddings published longer ago than this; needs clocks that agree.
        until_end: Ends the iteration once every stream wanted (or heard) has ended.
        on_gap: Called for each `Gap`, when it is found: before what came after it is delivered.
        on_status: Called for each `wire.Status`.
        context: ZeroMQ context; needed for `inproc://`, shared with the publisher.
        clock_ns: Wall clock (UTC, Unix).

    Raises:
        ConfigError: An argument makes no sense.
    """
    endpoints = [endpoint] if isinstance(endpoint, str) else list(endpoint)
    if not endpoints:
        raise ConfigError("no endpoint to subscribe to")
    for each in endpoints:
        split_endpoint(each)
    if isinstance(streams, str):
        raise ConfigError(f"streams must be a list of names: [{streams!r}]")
    if start != "live":
        raise ConfigError(f"start={start!r} is not supported; only 'live' is: no publisher keeps a journal")
    if keys is not None:
        raise ConfigError("keys are not supported: publishers do not encrypt")
    if policy not in get_args(Policy):
        raise ConfigError(f"policy={policy!r}; choose {', '.join(map(repr, get_args(Policy)))}")
    if capacity < 1:
        raise ConfigError(f"capacity={capacity}; it must be 1 or more")
    try:
        topic_prefixes = topics(streams)
    except WireError as error:
        raise ConfigError(str(error)) from None
    return Subscription(
        lambda: ReceivingSocket(endpoints, topic_prefixes, context=context),
        streams=None if streams is None else list(streams),
        ring=Ring(policy, capacity=capacity),
        max_age_seconds=max_age_seconds,
        until_end=until_end,
        on_gap=on_gap,
        on_status=on_status,
        clock_ns=clock_ns,
    )
