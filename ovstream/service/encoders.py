"""Encoders that streams share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from ovstream.config import EncodeConfig
from ovstream.encode import Encoder
from ovstream.pipeline import AT_WORK, encoder_of


@dataclass(slots=True)
class _Shared:
    loading: asyncio.Task[Encoder]
    users: set[str] = field(default_factory=set)


class EncoderPool:
    """Loads every model once, however many streams use it, and lets it go with the last of them."""

    def __init__(self) -> None:
        self._shared: dict[EncodeConfig, _Shared] = {}

    @property
    def loaded(self) -> int:
        """Models in memory."""
        return len(self._shared)

    async def take(self, config: EncodeConfig, user: str) -> Encoder:
        """Gives the encoder of a configuration to a stream.

        Raises:
            ModelError: It cannot be loaded; the next to ask tries again.
        """
        shared = self._shared.get(config)
        if shared is None:
            loading = asyncio.to_thread(AT_WORK.run, user, lambda: encoder_of(config))
            shared = _Shared(asyncio.create_task(loading))
            self._shared[config] = shared
        shared.users.add(user)
        try:
            return await asyncio.shield(shared.loading)
        except BaseException:
            self.give_back(config, user)
            raise

    def give_back(self, config: EncodeConfig, user: str) -> None:
        """Ends the use by a stream."""
        shared = self._shared.get(config)
        if shared is not None:
            shared.users.discard(user)
            if not shared.users:
                del self._shared[config]
