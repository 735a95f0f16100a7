"""Where a camera's user name and password come from: options, a file, or the URL."""

from __future__ import annotations

from pathlib import Path

from ovstream.config import SourceConfig
from ovstream.errors import SourceAuthError
from ovstream.sources.urls import CameraUrl

MAX_PASSWORD_BYTES = 4096


def credentials(config: SourceConfig, url: CameraUrl) -> tuple[str | None, str | None]:
    """User name and password; options win over the URL. The file is read each time: passwords change.

    Raises:
        SourceAuthError: The file cannot be read, or holds no password.
    """
    username = config.username or url.username
    if config.password is not None:
        return username, config.password.get_secret_value()
    if config.password_file is not None:
        return username, _read(config.password_file)
    return username, url.password


def _read(path: str) -> str:
    """The first line of a file."""
    try:
        with Path(path).open("rb") as file:
            first = file.read(MAX_PASSWORD_BYTES).splitlines()[:1]
        password = first[0].decode() if first else ""
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    else:
        if password:
            return password
        problem = "its first line is empty"
    raise SourceAuthError(f"password_file {path} cannot be used: {problem}")
