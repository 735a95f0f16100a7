"""Merges values from several places and, when one is wrong, says in which place it stands."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, get_args

from pydantic import BaseModel, SecretStr, ValidationError

from ovstream.errors import ConfigError

Path = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)

_HIDDEN = frozenset({"url", "username"})  # beside every SecretStr
_SHOWN_LETTERS = 80


class Layer(Protocol):
    """Values from one place."""

    @property
    def values(self) -> Mapping[str, Any]:
        """Nested as in the model."""

    @property
    def written(self) -> Mapping[str, Any]:
        """The same before variables were filled in: what may be shown."""

    def place(self, path: Path) -> str:
        """Says where a path stands, for people."""


def build(
    model: type[ModelT], home: Layer, *, below: Sequence[Layer] = (), above: Sequence[Layer] = ()
) -> ModelT:
    """Makes a model of merged values; later layers win.

    Args:
        model: To make.
        home: Where a missing value should have stood.
        below: Give way to `home`.
        above: Win over `home`.

    Raises:
        ConfigError: One line per wrong value, each with its place.
    """
    layers = [*below, home, *above]
    merged: Mapping[str, Any] = {}
    for layer in layers:
        merged = merge(merged, layer.values)
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        problems = [_describe(model, problem, layers, home) for problem in error.errors(include_url=False)]
    # Raised outside the handler: the validation error holds every value, secrets too.
    raise ConfigError("\n".join(problems))


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merges nested mappings; values of `above` win."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = merge(old, value)
        merged[key] = value
    return merged


def suggestion(wrong: str, valid: Iterable[str]) -> str:
    """Names what was probably meant, or else everything that is valid."""
    names = sorted(valid)
    close = difflib.get_close_matches(wrong, names, n=2)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"choose one of {', '.join(names)}"


def dotted(path: Path) -> str:
    """Writes a path the usual way: `streams[0].encode.mode`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def lookup(values: Any, path: Path) -> Any:
    """Follows a path into nested mappings and lists; None where it leads nowhere."""
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def _describe(
    model: type[BaseModel], problem: Mapping[str, Any], layers: Sequence[Layer], home: Layer
) -> str:
    path: Path = problem["loc"]
    # the last layer that has it is the one whose value counts
    layer = next((layer for layer in reversed(layers) if lookup(layer.values, path) is not None), home)
    kind: str = problem["type"]
    if kind == "extra_forbidden":
        names = _section_at(model, path[:-1]).model_fields
        return f"{layer.place(path)}: unknown option; {suggestion(str(path[-1]), names)}"
    if kind == "missing":
        return f"{layer.place(path)}: is missing"
    shown = _shown(model, path, lookup(layer.written, path))
    if kind == "literal_error":
        reason = f"expected {problem['ctx']['expected']}"
    else:
        reason = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return f"{layer.place(path)}: {shown}{reason}"


def _section_at(model: type[BaseModel], path: Path) -> type[BaseModel]:
    """Finds the model of a section; paths inside values end at the section that holds them."""
    for part in path:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field is not None else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return model


def _shown(model: type[BaseModel], path: Path, value: Any) -> str:
    """Shows a wrong value, unless it is secret or not a plain one."""
    section = _section_at(model, path)
    for part in path:
        field = section.model_fields.get(str(part))
        if part in _HIDDEN or (field is not None and _is_secret(field.annotation)):
            return ""
    if not isinstance(value, (str, int, float)):
        return ""
    text = repr(value)
    return f"{text if len(text) <= _SHOWN_LETTERS else text[:_SHOWN_LETTERS] + '...'}: "


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or SecretStr in get_args(annotation)
