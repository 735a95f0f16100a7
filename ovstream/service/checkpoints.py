"""Where every stream stands, on disk, so that a successor goes on with the next number."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ovstream.errors import ConfigError, WireError
from ovstream.sinks import Sink
from ovstream.types import Checkpoint, Embedding
from ovstream.wire.checkpoint import decode_checkpoint, encode_checkpoint

_SUFFIX = ".checkpoint"
_ADDED = "streams.json"
_COSTS = "costs.json"
_MOST_CORES = 64.0


class StateFolder:
    """Checkpoints, added streams and what streams cost; every file is replaced whole, or not at all.

    Args:
        folder: Made with mode 0700 if it is missing: added streams may hold passwords.

    Raises:
        ConfigError: It cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._lock = threading.Lock()
        self._newest: dict[str, tuple[int, int]] = {}
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder):
                pass
        except OSError as error:
            raise ConfigError(f"service.state_folder: {folder}: {error.strerror}") from None

    def load(self, stream_id: str) -> Checkpoint | None:
        """Reads a checkpoint; None where there is none, or none that can be read."""
        try:
            found = decode_checkpoint(self._path(stream_id).read_bytes())
        except (OSError, WireError):
            return None
        return found if found.stream_id == stream_id else None

    def save(self, checkpoint: Checkpoint, *, durable: bool = True) -> None:
        """Writes a checkpoint, from any thread; one older than what was written before is left out.

        Args:
            checkpoint: Of a stream.
            durable: Wait until the disk has it; else a crash of the machine, not of the process, may lose it.
        """
        stand = checkpoint.epoch, checkpoint.next_seq
        with self._lock:
            if stand >= self._newest.get(checkpoint.stream_id, (0, 0)):
                self._replace(
                    self._path(checkpoint.stream_id), encode_checkpoint(checkpoint), durable=durable
                )
                self._newest[checkpoint.stream_id] = stand

    def save_all(self, checkpoints: Iterable[Checkpoint], costs: Mapping[str, float] | None = None) -> None:
        """Writes many without waiting for the disk, and costs if given; a full one is no reason to stop a stream."""
        for checkpoint in checkpoints:
            with contextlib.suppress(OSError):
                self.save(checkpoint, durable=False)
        if costs is not None:
            with contextlib.suppress(OSError):
                self._replace(self._folder / _COSTS, json.dumps(costs).encode(), durable=False)

    def load_costs(self) -> dict[str, float]:
        """What streams cost, by name; none where that is not known: nothing depends on it but who sits where."""
        try:
            found = json.loads((self._folder / _COSTS).read_bytes())
            return {str(name): min(max(0.0, float(cores)), _MOST_CORES) for name, cores in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def forget(self, stream_id: str) -> None:
        """Removes a checkpoint: the stream is gone for good."""
        with self._lock, contextlib.suppress(OSError):
            self._newest.pop(stream_id, None)
            self._path(stream_id).unlink()

    def load_added(self) -> list[dict[str, Any]]:
        """Configurations of the streams that were added while the service ran.

        Raises:
            ConfigError: The file is damaged.
        """
        path = self._folder / _ADDED
        if not path.exists():
            return []
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            found = None
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise ConfigError(f"{path}: is damaged; remove it to start without added streams")
        return found

    def save_added(self, configs: list[Mapping[str, Any]]) -> None:
        """Writes them; the file may hold passwords and is readable for the owner alone."""
        self._replace(self._folder / _ADDED, json.dumps(configs, indent=1).encode())

    def _path(self, stream_id: str) -> Path:
        return self._folder / f"{stream_id}{_SUFFIX}"

    def _replace(self, path: Path, data: bytes, *, durable: bool = True) -> None:
        handle, name = tempfile.mkstemp(dir=self._folder)  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


class Fence(Sink):
    """Writes a checkpoint before the first embedding of every epoch, so that no epoch is ever used twice.

    A disk that refuses counts among the sink errors of the stream, which goes on: then a crash may use one again.

    Args:
        folder: Where to.
        checkpoint: Gives where the stream stands.
    """

    def __init__(self, folder: StateFolder, checkpoint: Callable[[], Checkpoint]) -> None:
        self._folder = folder
        self._checkpoint = checkpoint

    def publish(self, embedding: Embedding) -> None:
        """Does nothing: positions are written once in a while, and at the end."""

    def announce(self, stream_id: str, *, epoch: int = 0, next_seq: int = 0) -> None:
        """Writes the epoch that starts."""
        self._folder.save(self._checkpoint())
