"""WHIP (RFC 9725) without HTTP: which streams take publishers, and who publishes."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ovstream.config import SourceConfig
from ovstream.errors import ConfigError, SourceError
from ovstream.sources.base import OnEvent, ignore_event
from ovstream.sources.live import LiveQueue, LiveSource
from ovstream.sources.rtp_intake import RtpIntake
from ovstream.sources.webrtc.names import check_stream_name
from ovstream.sources.webrtc.sdp import BadDescription, Fragment, Offer, UnacceptableMedia
from ovstream.sources.webrtc.session import MediaSession

DEFAULT_MAX_PUBLISHERS = 16
# A publisher that is silent for so long may be replaced: it comes back after a crash, under a new session.
REPLACE_AFTER_SECONDS = 2.0
RETRY_AFTER_SECONDS = 5


class Refused(Exception):  # noqa: N818 - becomes an HTTP answer
    """A request that is not fulfilled.

    Args:
        status: Of the HTTP answer.
        detail: For people.
        headers: Of the answer.
    """

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Publication:
    """One publisher at work.

    Attributes:
        session_id: Last part of its URL; nobody can guess it.
        etag: Entity tag of its ICE session (RFC 9725 4.3.1).
        ice_ufrag: ICE user name fragment of its offer.
        answer: Our session description.
        session: Receives its packets.
    """

    session_id: str
    etag: str
    ice_ufrag: str
    answer: str = field(repr=False)
    session: MediaSession = field(repr=False)


class Place(NamedTuple):
    """Where a source waits.

    Attributes:
        endpoint: It takes the publishers.
        url: Base of its addresses, for people; empty when somebody else serves it.
    """

    endpoint: WhipEndpoint
    url: str


Listen = Callable[[], AbstractAsyncContextManager[Place]]


class WhipSource(LiveSource):
    """Receives whoever publishes under one name, one publisher after the other.

    It waits for ever: a publisher that goes, or falls silent for `config.read_timeout_seconds`, makes room for
    the next one, which counts `epoch` up.

    Args:
        stream_name: Last part of the URL to publish to.
        listen: Opens the place that publishers come to.
        name: See `Source`.
        config: Uses `token`, the timeouts, `queue_units` and `max_pixels`.
        on_event: Called in the event loop.
    """

    def __init__(
        self, stream_name: str, listen: Listen, *, name: str, config: SourceConfig, on_event: OnEvent
    ) -> None:
        super().__init__(name, queue_units=config.queue_units, on_event=on_event)
        self.stream_name = check_stream_name(stream_name)
        self.token = config.token.get_secret_value() if config.token else None
        self.config = config
        self.answering = asyncio.Lock()
        self._listen = listen
        self._intake = RtpIntake(name, stats=self.stats, max_pixels=config.max_pixels, on_event=on_event)
        self._publication: Publication | None = None
        self._published = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def publication(self) -> Publication | None:
        """Who publishes now."""
        return self._publication

    @property
    def busy(self) -> bool:
        """Somebody publishes, and is heard."""
        current = self._publication
        return current is not None and current.session.silent_seconds() < REPLACE_AFTER_SECONDS

    def new_session(self) -> MediaSession:
        """A session that feeds this source once it is handed over."""
        return MediaSession(self.name, intake=self._intake, config=self.config)

    def hand_over(self, publication: Publication) -> None:
        """Lets a publisher take the place of the one before."""
        if self._publication is not None:
            replaced = self._publication.session
            replaced.end(SourceError(f"{self.name}: another publisher came"))
            closing = asyncio.create_task(
                replaced.aclose()
            )  # it may have been replaced before it was followed
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        self._publication = publication
        self._published.set()

    async def _receive(self, queue: LiveQueue) -> None:
        self._intake.queue = queue
        async with self._listen() as place:
            place.endpoint.add(self)
            try:
                self._on_event("waiting", f"{self.name}: {self._invitation(place.url)}")
                while True:
                    await self._published.wait()
                    failure = await self._follow()
                    self._on_event("reconnecting", f"{failure}; waiting for a publisher")
            finally:
                place.endpoint.remove(self)
                if self._publication is not None:
                    await self._publication.session.aclose()
                await asyncio.gather(*self._closing)

    async def _follow(self) -> SourceError:
        """Receives from the newest publisher until it ends."""
        self._published.clear()
        publication = self._publication
        assert publication is not None
        try:
            return await publication.session.run()
        finally:
            if self._publication is publication:
                self._publication = None
            await publication.session.aclose()

    def _invitation(self, url: str) -> str:
        if not url:
            return "waiting for a publisher"
        return f"waiting for a publisher at {url}/{self.stream_name}, or open {url}/publish"


class WhipEndpoint:
    """Takes publishers for any number of streams.

    ```python
    endpoint = WhipEndpoint(token="...")
    app.mount("/whip", endpoint.app())          # POST /whip/door, and the page /whip/publish
    async with ovstream.open(endpoint.source("door")) as stream:
        ...
    ```

    Args:
        token: What publishers must show, unless their stream has a token of its own. Without any token only
            programs and pages of this machine may publish.
        max_publishers: Most at once; more are told to come back later.

    Attributes:
        url: Where the application can be reached, for people; empty: unknown.

    Raises:
        ConfigError: The token is empty.
    """

    def __init__(self, *, token: str | None = None, max_publishers: int = DEFAULT_MAX_PUBLISHERS) -> None:
        if token == "":
            raise ConfigError(
                "an empty token lets everybody publish: give one, or None for this machine only"
            )
        self.max_publishers = max_publishers
        self.url = ""
        self._token = token
        self._sources: dict[str, WhipSource] = {}
        self._answering = 0

    def app(self) -> Any:
        """The ASGI application, to be mounted or served.

        Raises:
            MissingExtraError: starlette is not installed.
        """
        from ovstream.sources.webrtc.app import whip_app

        return whip_app(self)

    def source(
        self, stream_name: str, *, config: SourceConfig | None = None, on_event: OnEvent = ignore_event
    ) -> WhipSource:
        """Makes the source of one name; publishers are taken while it is iterated.

        Raises:
            ConfigError: The name is none that a URL can have.
        """

        @asynccontextmanager
        async def listen() -> AsyncGenerator[Place]:
            yield Place(self, self.url)

        used = config or SourceConfig()
        return WhipSource(stream_name, listen, name=f"whip:{stream_name}", config=used, on_event=on_event)

    @property
    def stream_names(self) -> list[str]:
        """Streams that take publishers now."""
        return sorted(self._sources)

    def add(self, source: WhipSource) -> None:
        """Opens a name.

        Raises:
            ConfigError: Another source has it.
        """
        if source.stream_name in self._sources:
            raise ConfigError(f"{source.name}: '{source.stream_name}' is used by two streams of one address")
        self._sources[source.stream_name] = source

    def remove(self, source: WhipSource) -> None:
        """Closes a name."""
        if self._sources.get(source.stream_name) is source:
            del self._sources[source.stream_name]

    def token_of(self, stream_name: str) -> str | None:
        """What a publisher of this stream must show; None when nothing is asked."""
        source = self._sources.get(stream_name)
        return self._token if source is None or source.token is None else source.token

    def admits(self, stream_name: str, authorization: str) -> bool:
        """Whether the value of an Authorization field fits (RFC 6750 2.1)."""
        token = self.token_of(stream_name)
        scheme, _, shown = authorization.partition(" ")
        return token is None or (
            scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token.encode())
        )

    async def publish(self, stream_name: str, text: str) -> Publication:
        """Takes an offer.

        Raises:
            Refused: With the status that says why.
        """
        source = self._source(stream_name)
        try:
            offer = Offer.parse(text)
        except BadDescription as error:
            raise Refused(400, str(error)) from None
        except UnacceptableMedia as error:
            raise Refused(422, str(error)) from None
        async with source.answering:
            self._check_room(source)
            return await self._accept(source, offer)

    async def _accept(self, source: WhipSource, offer: Offer) -> Publication:
        self._answering += 1
        session = source.new_session()
        try:
            answer = await session.answer(offer)
            self._source(source.stream_name)  # it may have closed meanwhile
            publication = Publication(
                secrets.token_urlsafe(16), f'"{secrets.token_hex(8)}"', offer.ice_ufrag, answer, session
            )
            source.hand_over(publication)
        except BaseException as error:
            await session.aclose()
            if isinstance(error, BadDescription):
                raise Refused(400, str(error)) from None
            if isinstance(error, UnacceptableMedia):
                raise Refused(422, str(error)) from None
            raise
        finally:
            self._answering -= 1
        return publication

    async def trickle(self, stream_name: str, session_id: str, *, if_match: str | None, text: str) -> None:
        """Takes candidates that come after the offer (RFC 9725 4.3.2).

        Raises:
            Refused: With the status that says why.
        """
        publication = self._publication(stream_name, session_id)
        if if_match is None:
            raise Refused(428, "If-Match with the ETag of the session is missing")
        if if_match == "*":
            raise Refused(422, "ICE restarts are not supported: DELETE the session and POST again")
        if if_match != publication.etag:
            raise Refused(412, "If-Match is not the ETag of the session")
        try:
            fragment = Fragment.parse(text)
        except BadDescription as error:
            raise Refused(400, str(error)) from None
        if fragment.ice_ufrag not in (None, publication.ice_ufrag):
            raise Refused(422, "ICE restarts are not supported: DELETE the session and POST again")
        await publication.session.transport.add_candidates(fragment.candidates, ended=fragment.ended)

    def end(self, stream_name: str, session_id: str) -> None:
        """Ends a publication on the wish of its publisher.

        Raises:
            Refused: There is no such session.
        """
        publication = self._publication(stream_name, session_id)
        publication.session.end(SourceError(f"{self._sources[stream_name].name} ended the stream"))

    def _source(self, stream_name: str) -> WhipSource:
        source = self._sources.get(stream_name)
        if source is None:
            raise Refused(404, "no stream of this name takes publishers")
        return source

    def _publication(self, stream_name: str, session_id: str) -> Publication:
        publication = self._source(stream_name).publication
        if publication is None or not hmac.compare_digest(
            publication.session_id.encode(), session_id.encode()
        ):
            raise Refused(404, "no such session")
        return publication

    def _check_room(self, source: WhipSource) -> None:
        if source.busy:
            raise Refused(
                409, "somebody publishes this stream already", Retry_After=str(int(REPLACE_AFTER_SECONDS))
            )
        others = sum(one.publication is not None for one in self._sources.values() if one is not source)
        if others + self._answering >= self.max_publishers:
            detail = f"{self.max_publishers} publishers at once are the most here"
            raise Refused(503, detail, Retry_After=str(RETRY_AFTER_SECONDS))
