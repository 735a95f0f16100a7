"""What every source is: an async iterator of access units with counters and events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol

from ovstream.types import AccessUnit, EventKind

OnEvent = Callable[[EventKind, str], None]

MAX_QUEUE_BYTES = 32 << 20  # between source and parser; a unit may have 16 MiB: their number bounds little


@dataclass(slots=True)
class SourceStats:
    """Counters of one source, from its creation on.

    Attributes:
        units: Access units handed to the consumer.
        bytes: Their size.
        reconnects: Connections after the first one.
        lost: Places where data did not arrive or arrived damaged.
        dropped: Access units left out on purpose: no room in the queue, or no keyframe yet.
        unusable: Of these, those that came before a keyframe, at a beginning or after loss: nobody was too slow.
    """

    units: int = 0
    bytes: int = 0
    reconnects: int = 0
    lost: int = 0
    dropped: int = 0
    unusable: int = 0


class Source(Protocol):
    """A camera, a file, or something that behaves like one.

    Attributes:
        name: For people and logs; never contains credentials.
        live: Time goes on without the consumer: a slow one loses access units up to the next keyframe.
            The others wait for their consumer.
    """

    name: str
    live: bool

    @property
    def stats(self) -> SourceStats:
        """Counters."""
        ...

    def units(self) -> AsyncGenerator[AccessUnit, None]:
        """Yields access units in coded order; one iteration at a time.

        Raises:
            SourceError: The source cannot be opened, or breaks for good.
        """
        ...

    async def aclose(self) -> None:
        """Ends a running iteration and frees threads, sockets and files; may be called again."""
        ...


def ignore_event(kind: EventKind, detail: str) -> None:
    """Is the `on_event` of those who do not care."""
