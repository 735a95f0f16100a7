"""Who may connect: the list of allowed keys, read again whenever it changes, and the answers of ZAP (ZeroMQ RFC 27).

Whatever goes wrong here keeps everybody out: an unreadable list allows nobody, an error answers "no", and without
anybody to answer ZeroMQ refuses by itself (`ZAP_ENFORCE_DOMAIN`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import zmq
import zmq.utils.z85

from ovstream.publish.keys import ALLOWED, PUBLISHER_KEY, KeyPair, load_pair, read_allowed

DOMAIN = "ovstream"
ZAP_ENDPOINT = "inproc://zeromq.zap.01"

_log = logging.getLogger("ovstream")


@dataclass(slots=True)
class GuardStats:
    """Answers given.

    Attributes:
        accepted: Connections let in.
        refused: Connections turned away.
    """

    accepted: int = 0
    refused: int = 0


class Guard:
    """Keys of a publisher, and of those who may listen to it.

    Args:
        folder: With `publisher.key` and `allowed`.

    Raises:
        ConfigError: One of them is missing or wrong.
    """

    def __init__(self, folder: Path) -> None:
        self.stats = GuardStats()
        self.pair: KeyPair = load_pair(folder / PUBLISHER_KEY)
        self._path = folder / ALLOWED
        self._allowed = read_allowed(self._path)
        self._seen = _mark(self._path)

    def refresh(self) -> bool:
        """Reads the list again if it changed; returns whether anybody was taken off it."""
        seen = _mark(self._path)
        if seen == self._seen:
            return False
        self._seen, before = seen, self._allowed
        try:
            self._allowed = read_allowed(self._path)
        except Exception as error:
            self._allowed = {}
            _log.error("%s: nobody is allowed to listen until this is mended", error)
        return bool(before.keys() - self._allowed.keys())

    def answer(self, frames: Sequence[bytes]) -> list[bytes]:
        """Answers one ZAP request: 200 for an allowed key, 300 ("not now") for another one, 400 for all else."""
        key = _key_of(frames)
        name = None if key is None else self._allowed.get(key)
        if name is None:
            return self._refuse(frames, b"400" if key is None else b"300")
        self.stats.accepted += 1
        return [frames[0], frames[1], b"200", b"OK", name.encode(), b""]

    def not_now(self, frames: Sequence[bytes]) -> list[bytes]:
        """Turns a connection away that may try again; after "500" ZeroMQ would never."""
        return self._refuse(frames, b"300")

    def _refuse(self, frames: Sequence[bytes], code: bytes) -> list[bytes]:
        self.stats.refused += 1
        version, tag = (frames[0], frames[1]) if len(frames) > 1 else (b"1.0", b"")
        return [version, tag, code, b"not allowed", b"", b""]

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Makes a socket demand a key; to be called before it binds."""
        socket.curve_server = True
        socket.curve_publickey = self.pair.public.encode()
        socket.curve_secretkey = self.pair.secret.encode()
        socket.setsockopt_string(zmq.ZAP_DOMAIN, DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def _key_of(frames: Sequence[bytes]) -> str | None:
    """The public key that a well-formed request asks about."""
    if len(frames) != 7 or frames[0] != b"1.0":
        return None
    _, _, domain, _, _, mechanism, key = frames
    if domain != DOMAIN.encode() or mechanism != b"CURVE" or len(key) != 32:
        return None
    return zmq.utils.z85.encode(key).decode()


def _mark(path: Path) -> tuple[int, int, int] | None:
    """Changes whenever the file does, or who may read and write it."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns, status.st_size
