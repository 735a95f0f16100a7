"""The streams that there are: made, started again under other options, and taken away with the outputs that they used."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ovstream.config import StreamConfig
from ovstream.errors import ConfigError
from ovstream.pipeline import Outputs, close_all
from ovstream.service.facts import Origin
from ovstream.service.load import LoadPolicy
from ovstream.service.placement import Placement
from ovstream.service.watched import Watched


class NoSuchStream(ConfigError):  # noqa: N818 - reads as what it is
    """There is no stream of that name."""


class StreamExists(ConfigError):  # noqa: N818
    """A stream of that name is there already."""


class TooManyStreams(ConfigError):  # noqa: N818
    """The service has as many streams as it may."""


class Roster:
    """All streams by name, and the steps that change them; whoever takes several in a row sees to it that he is alone.

    Args:
        placement: Makes them.
        outputs: Publishers and sinks of all.
        load: Forgets those that are gone.
        max_streams: Most of them.
        many: There will be several from the beginning.

    Attributes:
        cameras: By name.
    """

    def __init__(
        self, placement: Placement, outputs: Outputs, load: LoadPolicy, *, max_streams: int, many: bool
    ) -> None:
        self.cameras: dict[str, Watched] = {}
        self._placement = placement
        self._outputs = outputs
        self._load = load
        self._max_streams = max_streams
        self._many = many

    def camera(self, stream_id: str) -> Watched:
        """The stream of a name.

        Raises:
            NoSuchStream: There is none.
        """
        try:
            return self.cameras[stream_id]
        except KeyError:
            raise NoSuchStream(f"there is no stream '{stream_id}'") from None

    def check_room(self, names: Iterable[str]) -> None:
        """Sees to it that streams of these names may all be there.

        Raises:
            TooManyStreams: They may not.
        """
        count = len(set(names))
        if count > self._max_streams:
            raise TooManyStreams(f"{count} streams are wanted; service.max_streams = {self._max_streams}")

    def put(self, config: StreamConfig, origin: Origin) -> Watched:
        """Makes a stream and starts it.

        Args:
            config: Of the stream.
            origin: Who named it.

        Raises:
            TooManyStreams: `max_streams` are there.
        """
        self.check_room({*self.cameras, config.stream_id})
        camera = self._placement.make(config, origin, alone=not self.cameras and not self._many)
        self.cameras[config.stream_id] = camera
        camera.start()
        return camera

    async def drop(self, stream_id: str) -> None:
        """Ends a stream and forgets it."""
        camera = self.camera(stream_id)
        del self.cameras[stream_id]
        self._load.forget(stream_id)
        await camera.stop()
        self._placement.forget(stream_id)
        await self._release(stream_id)

    async def reconfigure(self, camera: Watched, config: StreamConfig) -> None:
        """Has a stream go on under other options."""
        await self.stop(camera, config)
        await self.go_on(camera, config)

    async def stop(self, camera: Watched, config: StreamConfig) -> None:
        """Ends a camera that goes on with `config`, and outputs that it used alone and will not use any more."""
        await camera.stop()
        await self._release(camera.stream_id, keep=config)

    async def go_on(self, camera: Watched, config: StreamConfig) -> None:
        """Starts a stopped camera again."""
        self.cameras[camera.stream_id] = await self._placement.go_on(camera, config)

    async def _release(self, stream_id: str, *, keep: StreamConfig | None = None) -> None:
        """Closes outputs that no stream uses any more."""
        gone = self._outputs.release(stream_id, keep=keep)
        if gone:
            await asyncio.to_thread(close_all, gone)
