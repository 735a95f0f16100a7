"""Names of streams in WHIP URLs, and which addresses belong to this machine."""

from __future__ import annotations

import ipaddress
import re

from ovstream.errors import ConfigError

PAGE_NAME = "publish"
_STREAM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_stream_name(name: str) -> str:
    """Returns a name that may be the last part of a URL.

    Raises:
        ConfigError: It may not.
    """
    if not _STREAM_NAME.fullmatch(name) or name == PAGE_NAME:
        raise ConfigError(
            f"'{name}' cannot be the name of a WHIP stream: one part of letters, digits, '.', '_' and '-', "
            f"other than '{PAGE_NAME}', as in whip://127.0.0.1:8080/cam1"
        )
    return name


def is_local(host: str) -> bool:
    """Whether a host, as it stands in a URL, is certainly this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
