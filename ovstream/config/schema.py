"""JSON Schema of the configuration file, for editors."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ovstream.config.sections import RunConfig

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_OUTER: tuple[str, ...] = ("default", "description", "title")
_VARIABLE = {"type": "string", "pattern": r"\$\{[^}]+\}"}


def file_schema() -> dict[str, Any]:
    """The schema of what `load_config` reads: `defaults`, `streams`, `service`.

    Numbers and switches may be `${VARIABLES}` too.
    """
    schema = RunConfig.model_json_schema()
    definitions = schema["$defs"]
    for definition in definitions.values():
        for name, field in definition.get("properties", {}).items():
            definition["properties"][name] = _or_variable(field)
    defaults = deepcopy(definitions["StreamConfig"])
    defaults["description"] = "What every stream starts from."
    defaults.pop("required", None)
    for name in ("url", "stream_id"):
        del defaults["properties"][name]
    definitions["Defaults"] = defaults
    schema["properties"]["defaults"] = {"$ref": "#/$defs/Defaults"}
    schema["title"] = "ovstream"
    return {"$schema": SCHEMA_DIALECT, **schema}


def _or_variable(field: dict[str, Any]) -> dict[str, Any]:
    if field.get("type") not in ("number", "integer", "boolean"):
        return field
    outer: dict[str, Any] = {key: field.pop(key) for key in _OUTER if key in field}
    return {"anyOf": [field, _VARIABLE], **outer}
