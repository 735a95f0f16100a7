"""A configuration as plain values, secrets included: for the state folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from ovstream.config import StreamConfig


def as_plain(config: StreamConfig | Mapping[str, Any]) -> dict[str, Any]:
    """What was set, as JSON holds it; `StreamConfig.model_validate` reads it back."""
    plain: dict[str, Any] = _plain(config)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        extra = value.model_extra or {}
        names = [name for name in value.model_fields_set if name not in extra]
        return {name: _plain(getattr(value, name)) for name in names} | {
            name: _plain(inner) for name, inner in extra.items()
        }
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return value
