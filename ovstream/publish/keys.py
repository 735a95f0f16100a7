"""CURVE keys and who may listen: small text files, readable by their owner alone.

```
publisher.key   public = "...", secret = "..."                     of a publisher
allowed         NAME KEY, a line each                              public keys of its subscribers
NAME.key        public = "...", secret = "...", server = "..."     of a subscriber
```
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from ovstream.errors import ConfigError

PUBLISHER_KEY = "publisher.key"
ALLOWED = "allowed"

_PUBLIC_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")  # Z85
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair, in Z85.

    Attributes:
        public: May be told to anybody.
        secret: Never leaves its file; not shown.
    """

    public: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> KeyPair:
        """Makes a fresh pair, whose public key no command line takes for an option."""
        while True:
            public, secret = zmq.curve_keypair()
            if not public.startswith(b"-"):
                return cls(public.decode(), secret.decode())


@dataclass(frozen=True, slots=True)
class SubscriberKeys:
    """What a subscriber needs to listen to a guarded publisher.

    Attributes:
        public: Its own public key, which the publisher must allow.
        secret: Its own secret key.
        server: The publisher's public key: nobody else can pretend to be it.
    """

    public: str
    secret: str = field(repr=False)
    server: str

    @classmethod
    def load(cls, path: str | Path, *, server: str | None = None) -> SubscriberKeys:
        """Reads a key file.

        Args:
            path: That `ovstream keys new NAME --server KEY` wrote.
            server: The publisher's public key, if the file does not name it.

        Raises:
            ConfigError: The file is no key file, or others can read it.
        """
        values = _read(Path(path))
        server = server or values.get("server")
        if server is None:
            raise ConfigError(f'{path} does not name the publisher\'s key: add server = "..."')
        return cls(values["public"], values["secret"], check_public_key(server))


def check_public_key(text: str) -> str:
    """Returns a public key as it is.

    Raises:
        ConfigError: It is none.
    """
    if not _PUBLIC_KEY.fullmatch(text):
        raise ConfigError(f"{text!r} is no public key: 40 letters, as 'ovstream keys new' prints them")
    return text


def save_key(path: Path, pair: KeyPair, *, server: str | None = None) -> None:
    """Writes a key file that only its owner can read.

    Raises:
        ConfigError: There is one already, or it cannot be written.
    """
    lines = [f'public = "{pair.public}"', f'secret = "{pair.secret}"']
    if server is not None:
        lines.append(f'server = "{check_public_key(server)}"')
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
    except FileExistsError:
        raise ConfigError(f"{path} exists: remove it first if nobody needs that key any more") from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None


def load_pair(path: Path) -> KeyPair:
    """Reads a key file.

    Raises:
        ConfigError: It is none, or others can read it.
    """
    values = _read(path)
    return KeyPair(values["public"], values["secret"])


def public_key_of(text: str) -> str:
    """Reads a public key, or takes it out of a key file.

    Raises:
        ConfigError: It is neither.
    """
    if _PUBLIC_KEY.fullmatch(text):
        return text
    if not Path(text).is_file():
        raise ConfigError(f"{text!r} is neither a public key nor a key file")
    return _read(Path(text))["public"]


def read_allowed(path: Path) -> dict[str, str]:
    """Names of subscribers by their public keys.

    Raises:
        ConfigError: The file cannot be read, others can write it, or a line is none.
    """
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"{path} can be written by others, who may let anybody in: chmod 600 {path}")
    allowed = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if len(words) != 2 or not _NAME.fullmatch(words[0]) or not _PUBLIC_KEY.fullmatch(words[1]):
            raise ConfigError(f"{path}:{number}: expected 'NAME KEY'")
        allowed[words[1]] = words[0]
    return allowed


def write_allowed(path: Path, allowed: dict[str, str]) -> None:
    """Replaces the list in one step: a publisher reads the old one or the new one.

    Raises:
        ConfigError: It cannot be written, or a name is none.
    """
    for name in allowed.values():
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name: letters, digits, '.', '_', '-'")
    text = "".join(f"{name} {key}\n" for key, name in sorted(allowed.items(), key=lambda one: one[1]))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".allowed-")  # mode 0600
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None


def _read(path: Path) -> dict[str, str]:
    try:
        mode = path.stat().st_mode
        values = tomllib.loads(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        raise ConfigError(f"no key file {path}: 'ovstream keys new' makes one") from None
    except (OSError, ValueError):
        raise ConfigError(f"{path} is no readable key file") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path} can be read by others: chmod 600 {path}, or better make a new key")
    if not all(_PUBLIC_KEY.fullmatch(str(values.get(name, ""))) for name in ("public", "secret")):
        raise ConfigError(f"{path} is no key file")
    return values
