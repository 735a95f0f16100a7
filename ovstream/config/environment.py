"""Options from environment variables: `OVSTREAM_PLAN__KEEP_RATIO=0.06`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import create_model

from ovstream.config.layers import Path, suggestion
from ovstream.config.sections import StreamConfig
from ovstream.errors import ConfigError

PREFIX = "OVSTREAM_"
_DELIMITER = "__"
_PER_STREAM = frozenset({"url", "stream_id"})  # one value for all streams would make no sense


@dataclass(frozen=True, slots=True)
class EnvironmentLayer:
    """Values of environment variables; they hold for every stream."""

    values: Mapping[str, Any]

    @property
    def written(self) -> Mapping[str, Any]:
        """The values."""
        return self.values

    def place(self, path: Path) -> str:
        """Names the variable."""
        return PREFIX + _DELIMITER.join(str(part).upper() for part in path)


def read_environment() -> EnvironmentLayer:
    """Reads all variables that name an option of `StreamConfig`.

    Raises:
        ConfigError: A variable names no section, or a whole one and does not hold JSON.
    """
    _refuse_unknown(os.environ)
    from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsError

    fields: dict[str, Any] = {
        name: (field.annotation, None)
        for name, field in StreamConfig.model_fields.items()
        if name not in _PER_STREAM
    }
    settings = create_model("Settings", __base__=BaseSettings, **fields)
    try:
        source = EnvSettingsSource(settings, env_prefix=PREFIX, env_nested_delimiter=_DELIMITER)
        return EnvironmentLayer(source())
    except SettingsError as error:
        problem = str(error)
    raise ConfigError(f"environment: {problem}; set single options, such as {PREFIX}ENCODE{_DELIMITER}MODE")


def _refuse_unknown(names: Iterable[str]) -> None:
    """Others may well begin with OVSTREAM_ (secrets for the file, say); with two underscores they mean an option."""
    for name in names:
        section, delimiter, _ = name.upper().removeprefix(PREFIX).partition(_DELIMITER)
        if not name.upper().startswith(PREFIX) or not delimiter:
            continue
        known = [one.upper() for one in StreamConfig.model_fields if one not in _PER_STREAM]
        if section not in known:
            raise ConfigError(f"environment: {name}: no such section; {suggestion(section, known)}")
