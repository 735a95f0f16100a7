"""What may be named through the API: no file of this machine but those that the configuration file allows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ovstream.config import ServiceConfig
from ovstream.errors import ConfigError
from ovstream.sources import redact_url

_PATHS = (
    ("source", "password_file"),
    ("source", "tls_ca_file"),
    ("encode", "model"),
    ("publish", "journal"),
    ("publish", "leases"),
    ("publish", "keys"),
    ("record", "path"),
)
_SINK_PATHS = ("path", "spool", "file", "folder", "dir")  # ends of names, also of sinks of other packages


class Reach:
    """Refuses options of a request that would read or write files elsewhere, or open a door without keys.

    Whoever holds the token rules the cameras, not the machine: without this, a sink or a recording could be written
    anywhere, and any file be shown as a picture or sent to a camera as its password.

    Args:
        config: `http.allowed_paths` and `state_folder` may be used.
    """

    def __init__(self, config: ServiceConfig) -> None:
        own = (config.state_folder,) if config.state_folder else ()
        self._roots = tuple(Path(one).resolve() for one in (*config.http.allowed_paths, *own))

    def check(self, options: Mapping[str, Any]) -> None:
        """Looks at nested options; what is of a wrong type is refused elsewhere.

        Raises:
            ConfigError: One names a path beyond the reach, or opens a door without keys.
        """
        for name, path in _paths(options):
            if not any(Path(path).resolve().is_relative_to(root) for root in self._roots):
                raise ConfigError(
                    f"option {name}: {redact_url(path)} is not among the files that may be named through the API: add its "
                    "folder to service.http.allowed_paths, or write this into the configuration file"
                )
        for name, section in (("publish", _section(options, "publish")), *_sinks(options)):
            if section.get("allow_insecure"):
                raise ConfigError(f"option {name}.allow_insecure: belongs into the configuration file")


def _paths(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    url = options.get("url")
    if isinstance(url, str) and (path := _local(url)) is not None:
        yield "url", path
    for section, name in _PATHS:
        value = _section(options, section).get(name)
        if isinstance(value, (str, os.PathLike)) and (name != "model" or _is_folder(str(value))):
            yield f"{section}.{name}", str(value)
    for name in ("endpoint", "replay_endpoint"):
        value = _section(options, "publish").get(name)
        if isinstance(value, str) and value.startswith("ipc://") and not value.startswith("ipc://@"):
            yield f"publish.{name}", value.removeprefix("ipc://")
    for place, sink in _sinks(options):
        for name, value in sink.items():
            if isinstance(value, str) and name.endswith(_SINK_PATHS):
                yield f"{place}.{name}", value


def _local(url: str) -> str | None:
    """The path that a URL stands for; None where it is an address."""
    scheme, separator, rest = url.partition("://")
    if separator:
        return unquote(rest) if scheme.lower() == "file" else None
    return None if url.lower().startswith(("synthetic:", "whip:")) else url


def _is_folder(model: str) -> bool:
    """Whether a model is named by its folder, not by the name of an embedded one."""
    return "/" in model or os.path.isdir(model)


def _section(options: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = options.get(name)
    return found if isinstance(found, Mapping) else {}


def _sinks(options: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    found = options.get("sinks")
    sinks = found if isinstance(found, Sequence) and not isinstance(found, str) else ()
    return [(f"sinks[{number}]", one) for number, one in enumerate(sinks) if isinstance(one, Mapping)]
