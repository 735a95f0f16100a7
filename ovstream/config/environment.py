"""Options from environment variables: `OVSTREAM_PLAN__KEEP_RATIO=0.06`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import create_model

from ovstream.config.layers import Path
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
        ConfigError: A variable that names a whole section does not hold JSON.
    """
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
