"""Which process a stream is in."""

from __future__ import annotations

import time
from collections.abc import Callable

from ovstream.config import StreamConfig
from ovstream.service.camera import Camera
from ovstream.service.facts import Origin
from ovstream.service.home import OwnHome
from ovstream.service.publishers import Publishers
from ovstream.service.remote import RemoteCamera
from ovstream.service.watched import Watched
from ovstream.service.workers import Workers


class Placement:
    """Makes cameras, in this process or in a worker's.

    In a worker, where there are any, and in the one whose streams cost least: but one that is alone when it comes, and
    those that others publish to, stay here. A stream that runs is not moved, for that would be a gap of a group of
    pictures; one that begins again is, where it lightens the load.
    Those with an accelerator share one worker, and so what they keep there.

    Args:
        home: Of streams in this process.
        workers: The others.
        clock: Monotonic seconds.
    """

    def __init__(
        self, home: OwnHome, workers: Workers, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.workers = workers
        self._home = home
        self._clock = clock

    def make(self, config: StreamConfig, origin: Origin, *, alone: bool) -> Watched:
        """Makes a camera.

        Args:
            config: Of the stream.
            origin: Who named it.
            alone: There is no other stream.
        """
        if not self.workers or alone or Publishers.takes(config):
            return Camera(config, self._home, origin=origin, clock=self._clock)
        worker = self.workers.choose(accelerated=_accelerated(config))
        camera = RemoteCamera(config, self._home, worker, origin=origin)
        worker.add(camera)
        return camera

    async def go_on(self, camera: Watched, config: StreamConfig) -> Watched:
        """Starts a stopped camera again under another configuration; gives the one that goes on.

        That is another one where a stream of a worker takes publishers from now on.
        """
        if not Publishers.takes(config) or self.workers.of(camera.stream_id) is None:
            self.workers.settle(camera.stream_id, accelerated=_accelerated(config))
            await camera.reconfigure(config)
            return camera
        self.forget(camera.stream_id)
        moved = Camera(
            config, self._home, origin=camera.origin, restore=camera.checkpoint(), clock=self._clock
        )
        moved.start()
        return moved

    def forget(self, stream_id: str) -> None:
        """A stream was stopped and is gone."""
        self.workers.forget(stream_id)


def _accelerated(config: StreamConfig) -> bool:
    """Whether a stream's model runs on something that every process would have to open for itself."""
    return config.encode.provider in ("cuda", "tensorrt") or not config.encode.device.startswith("cpu")
