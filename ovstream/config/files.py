"""Options from a YAML file: `defaults:` for all streams, `streams:`, and `service:`."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from ovstream.config.environment import read_environment
from ovstream.config.layers import Layer, Path, build, dotted, lookup, suggestion
from ovstream.config.sections import RunConfig, StreamConfig
from ovstream.config.service import ServiceConfig
from ovstream.errors import ConfigError

_TOP_KEYS = ("defaults", "streams", "service")
_VARIABLE = re.compile(
    r"\$(?:\$|\{file:(?P<file>[^}]+)\}|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})"
)
_MAX_SECRET_BYTES = 65_536


def load_config(path: str | pathlib.Path, *, may_be_empty: bool = False) -> RunConfig:
    """Reads a file of streams.

    ```yaml
    defaults:
      plan: {keep_ratio: 0.06}
    streams:
      - url: rtsp://10.0.0.7/main
        stream_id: door
        source: {username: viewer, password: "${DOOR_PASSWORD}"}
    ```

    Every stream starts from `defaults`; environment variables (`OVSTREAM_PLAN__KEEP_RATIO`) win over both.
    `${NAME}` and `${NAME:-default}` stand for environment variables, `${file:PATH}` for the text of a file without
    the end of its last line (secrets), `$$` for a dollar sign.

    Args:
        path: YAML file, UTF-8.
        may_be_empty: The streams may come later.

    Raises:
        ConfigError: The file cannot be read, or something in it is wrong: with file, line and path.
    """
    document = _Document.read(pathlib.Path(path))
    for key in document.data:
        if key not in _TOP_KEYS:
            raise ConfigError(f"{document.place((key,))}: unknown option; {suggestion(str(key), _TOP_KEYS)}")
    defaults: list[Layer] = []
    if document.data.get("defaults") is not None:
        defaults.append(_FileLayer.at(document, ("defaults",)))
    streams = document.data.get("streams", [] if may_be_empty else None)
    if not isinstance(streams, list) or not (streams or may_be_empty):
        raise ConfigError(f"{document.place(('streams',))}: must be a list of at least one stream")
    environment = read_environment()
    built: list[StreamConfig] = []
    problems: list[str] = []
    for number in range(len(streams)):
        stream = _FileLayer.at(document, ("streams", number))
        try:
            built.append(build(StreamConfig, stream, below=defaults, above=[environment]))
        except ConfigError as error:
            problems += str(error).splitlines()
    service = ServiceConfig()
    if document.data.get("service") is not None:
        try:
            service = build(ServiceConfig, _FileLayer.at(document, ("service",)))
        except ConfigError as error:
            problems += str(error).splitlines()
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    values: dict[str, Any] = {"streams": tuple(built), "service": service}
    if defaults:
        values["defaults"] = defaults[0].values
    return build(RunConfig, _StreamsLayer(document, values))


@dataclass(frozen=True, slots=True)
class _Document:
    """A YAML file as values and as nodes, which know their lines."""

    path: pathlib.Path
    data: dict[str, Any]
    root: yaml.Node

    @classmethod
    def read(cls, path: pathlib.Path) -> _Document:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            raise ConfigError(f"{path}: {reason}") from None
        try:
            loader = yaml.SafeLoader(text)
        except yaml.YAMLError as error:  # control characters
            raise ConfigError(f"{path}{_yaml_problem(error)}") from None
        try:
            root = loader.get_single_node()
            data = None if root is None else loader.construct_document(root)
        except RecursionError:
            raise ConfigError(f"{path}: is nested too deeply") from None
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"{path}{_yaml_problem(error)}") from None
        finally:
            loader.dispose()
        if root is None or not isinstance(data, dict):
            raise ConfigError(f"{path}: must be a mapping with {' and '.join(_TOP_KEYS)}")
        document = cls(path, data, root)
        document.refuse_repeated_keys(root, set())
        return document

    def place(self, path: Path) -> str:
        """File, line and dotted path; the line of the nearest enclosing node if the path leads nowhere."""
        node = self.root
        for part in path:
            inner = _child(node, part)
            if inner is None:
                break
            node = inner
        return f"{self.path}:{node.start_mark.line + 1}: {dotted(path)}"

    def refuse_repeated_keys(self, node: yaml.Node, visited: set[int]) -> None:
        """YAML readers keep the last of two equal keys, in silence."""
        if id(node) in visited or isinstance(node, yaml.ScalarNode):
            return
        visited.add(id(node))
        children = list(node.value)
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, _ in children:
                if key.value in seen:
                    raise ConfigError(f"{self.path}:{key.start_mark.line + 1}: '{key.value}' is given twice")
                if isinstance(key.value, str):
                    seen.add(key.value)
            children = [value for _, value in children]
        for child in children:
            self.refuse_repeated_keys(child, visited)


@dataclass(frozen=True, slots=True)
class _FileLayer:
    """One mapping of a file."""

    document: _Document
    prefix: Path
    values: Mapping[str, Any]
    written: Mapping[str, Any]

    @classmethod
    def at(cls, document: _Document, prefix: Path) -> _FileLayer:
        written = lookup(document.data, prefix)
        if not isinstance(written, dict):
            raise ConfigError(f"{document.place(prefix)}: must be a mapping of options")
        return cls(document, prefix, _expand(written, document, prefix), written)

    def place(self, path: Path) -> str:
        return self.document.place(self.prefix + path)


@dataclass(frozen=True, slots=True)
class _StreamsLayer:
    """All streams of a file, each already checked."""

    document: _Document
    values: Mapping[str, Any]

    @property
    def written(self) -> Mapping[str, Any]:
        return self.document.data

    def place(self, path: Path) -> str:
        return self.document.place(path)


def _child(node: yaml.Node, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        child: yaml.Node = node.value[part]
        return child
    return None


def _expand(value: Any, document: _Document, path: Path) -> Any:
    """Fills in `${NAME}` in every string below a value."""
    if isinstance(value, dict):
        return {key: _expand(inner, document, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expand(inner, document, (*path, number)) for number, inner in enumerate(value)]
    if not isinstance(value, str):
        return value

    def fill(found: re.Match[str]) -> str:
        name = found["name"]
        if found["file"] is not None:
            return _secret(found["file"], document.place(path))
        if name is None:
            return "$"
        filled = os.environ.get(name, found["default"])
        if filled is None:
            raise ConfigError(f"{document.place(path)}: environment variable {name} is not set")
        return filled

    return _VARIABLE.sub(fill, value)


def _secret(name: str, place: str) -> str:
    """Reads a small file; a trailing line end belongs to the editor, not to the secret."""
    try:
        with open(name, encoding="utf-8") as file:
            return file.read(_MAX_SECRET_BYTES).removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
    raise ConfigError(f"{place}: {name}: {reason}")


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f":{error.problem_mark.line + 1}: {error.problem}"
    return ": is not YAML"
