"""FFmpeg's errors as ours."""

from __future__ import annotations

import socket

import av

from ovstream.errors import (
    SourceAuthError,
    SourceError,
    SourceNotFound,
    SourceProtocolError,
    SourceRefused,
    SourceTimeout,
)


def translate(error: Exception, name: str) -> SourceError:
    """The error of ours that says what FFmpeg's `error` means; its text has `name` for the URL.

    Raise it outside of the `except` block: FFmpeg's text contains the URL with the password.
    """
    reason = getattr(error, "strerror", None) or type(error).__name__
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return SourceAuthError(f"{name}: user name or password is missing or wrong ({reason})")
    if isinstance(error, av.error.HTTPNotFoundError | FileNotFoundError):
        return SourceNotFound(f"{name} does not exist ({reason})")
    if isinstance(error, ConnectionRefusedError):
        return SourceRefused(f"{name}: nothing listens at this address and port ({reason})")
    if isinstance(error, PermissionError):
        return SourceAuthError(f"{name} may not be read ({reason})")
    if isinstance(error, TimeoutError | av.error.ExitError):
        return SourceTimeout(f"{name} does not answer in time")
    return SourceProtocolError(f"{name} cannot be read ({reason})")


def host_is_unknown(host: str) -> bool:
    """Whether a name has no address: FFmpeg calls that an input/output error."""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return True
    return False
