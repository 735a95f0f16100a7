"""Options as keyword arguments, by section or flat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from ovstream.config.environment import read_environment
from ovstream.config.layers import Layer, Path, build, dotted, suggestion
from ovstream.config.sections import StreamConfig
from ovstream.errors import ConfigError

# Of a stream whose results are for its caller alone, whatever the environment says.
PRIVATE: Mapping[str, Any] = {"publish": {"endpoint": None}, "record": {"path": None}, "sinks": ()}


def stream_config(url: str, **options: Any) -> StreamConfig:
    """Builds the configuration of one stream.

    Args:
        url: See `StreamConfig.url`.
        **options: Any option by its own name (`keep_ratio=0.06`), or a section as mapping or object
            (`plan={"keep_ratio": 0.06}`, `plan=PlanConfig(keep_ratio=0.06)`).

    Raises:
        ConfigError: An option is unknown, given twice, or has a wrong value.
    """
    return build(StreamConfig, _layer({"url": url, **options}), below=[read_environment()])


def nested_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Brings options, flat or by section, `url` among them, into sections: so they can be kept and merged.

    Raises:
        ConfigError: An option is unknown or given twice.
    """
    return _layer(options).values


def added_config(asked: Mapping[str, Any], *, defaults: Mapping[str, Any]) -> StreamConfig:
    """Builds the configuration of a stream that was added while a service runs.

    Args:
        asked: Nested options; they win over the environment.
        defaults: Of the service's file; they give way to both.

    Raises:
        ConfigError: An option is unknown or has a wrong value.
    """
    below: list[Layer] = [_OptionLayer(dict(defaults), word="default"), read_environment()]
    return build(StreamConfig, _OptionLayer(dict(asked)), below=below)


def changed_config(config: StreamConfig, changes: Mapping[str, Any]) -> StreamConfig:
    """Applies changes, nested as in the model, to a configuration; what they do not name stays.

    Raises:
        ConfigError: An option is unknown or has a wrong value.
    """
    below = _OptionLayer(config.model_dump(exclude_unset=True))
    return build(StreamConfig, _OptionLayer(dict(changes)), below=[below])


def _layer(options: Mapping[str, Any]) -> _OptionLayer:
    layer = _OptionLayer({})
    sections = _sections()
    homes = _homes(sections)
    for name, value in options.items():
        if name in sections:
            layer.add_section(name, value)
        elif name in StreamConfig.model_fields:
            layer.values[name] = value
        elif name in homes:
            layer.add(_only_home(name, homes[name]), name, value)
        else:
            raise ConfigError(
                f"unknown option '{name}'; {suggestion(name, {*homes, *StreamConfig.model_fields})}"
            )
    return layer


@dataclass(slots=True)
class _OptionLayer:
    """Keyword options, nested as in the model."""

    values: dict[str, Any]
    word: str = "option"
    _flat: set[Path] = field(default_factory=set)

    @property
    def written(self) -> Mapping[str, Any]:
        return self.values

    def place(self, path: Path) -> str:
        return f"{self.word} {path[-1] if path in self._flat else dotted(path)}"

    def add(self, section: str, name: str, value: Any) -> None:
        self._set(section, name, value)
        self._flat.add((section, name))

    def add_section(self, section: str, values: Any) -> None:
        if isinstance(values, BaseModel):
            values = {name: getattr(values, name) for name in values.model_fields_set}
        if not isinstance(values, Mapping):
            raise ConfigError(f"option {section}: is a section; give it a mapping")
        for name, value in values.items():
            self._set(section, name, value)

    def _set(self, section: str, name: str, value: Any) -> None:
        inside = self.values.setdefault(section, {})
        if name in inside:
            raise ConfigError(f"option {name} is given twice: alone and in '{section}'")
        inside[name] = value


def _sections() -> dict[str, type[BaseModel]]:
    annotations = {name: info.annotation for name, info in StreamConfig.model_fields.items()}
    return {
        name: inner
        for name, inner in annotations.items()
        if isinstance(inner, type) and issubclass(inner, BaseModel)
    }


def _homes(sections: Mapping[str, type[BaseModel]]) -> dict[str, list[str]]:
    """Maps the name of every option to the sections that have it."""
    homes: dict[str, list[str]] = {}
    for section, model in sections.items():
        for name in model.model_fields:
            homes.setdefault(name, []).append(section)
    return homes


def _only_home(name: str, sections: list[str]) -> str:
    if len(sections) > 1:
        choices = " or ".join(f"{section}={{'{name}': ...}}" for section in sections)
        raise ConfigError(f"option '{name}' exists more than once: say {choices}")
    return sections[0]
