"""Makes sinks from configuration: the ones that come along, and those that other packages bring."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Unpack, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from ovstream.config import SinkConfig
from ovstream.errors import ConfigError
from ovstream.sinks.base import Sink

GROUP = "ovstream.sinks"
_OWN = {
    "jsonl": "ovstream.sinks.jsonl:JsonlSink",
    "kafka": "ovstream.sinks.kafka:KafkaSink",
    "lancedb": "ovstream.sinks.databases:LanceSink",
    "mqtt": "ovstream.sinks.mqtt:MqttSink",
    "parquet": "ovstream.sinks.parquet:ParquetSink",
    "qdrant": "ovstream.sinks.databases:QdrantSink",
    "redis": "ovstream.sinks.redis_stream:RedisSink",
    "rerun": "ovstream.sinks.rerun_log:RerunSink",
    "store": "ovstream.sinks.store:StoreSink",
    "webhook": "ovstream.sinks.webhook:WebhookSink",
}


def open_sink(config: SinkConfig) -> Sink:
    """Makes the sink that a configuration describes.

    `config.type` names a sink of ovstream or an entry point of the group "ovstream.sinks" in any installed
    package: a class or function that takes keyword arguments with annotations and returns a `Sink`. The
    options are checked against those annotations before it is called.

    Raises:
        ConfigError: There is no such type, or an option is unknown, missing or wrong.
    """
    factory = _load(config.type)
    return factory(**_checked(config.type, factory, config.options))


def check_sink(config: SinkConfig) -> None:
    """Says what is wrong in the description of a sink, without opening it.

    Raises:
        ConfigError: As `open_sink` would.
    """
    _checked(config.type, _load(config.type), config.options)


def sink_types() -> list[str]:
    """Names that `open_sink` knows, sorted."""
    return sorted(_known())


def _known() -> dict[str, EntryPoint]:
    found = {one.name: one for one in entry_points(group=GROUP)}
    return found | {name: EntryPoint(name, value, GROUP) for name, value in _OWN.items()}


def _load(name: str) -> Callable[..., Sink]:
    known = _known()
    if name not in known:
        raise ConfigError(f"there is no sink '{name}'; choose one of {', '.join(sorted(known))}")
    try:
        factory: Callable[..., Sink] = known[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"sink '{name}' cannot be loaded: {error}") from error
    return factory


def _checked(name: str, factory: Callable[..., Sink], options: dict[str, Any]) -> dict[str, Any]:
    """Validates options against the annotations of the factory."""
    hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    parameters = inspect.signature(factory).parameters.values()
    fields: dict[str, Any] = {}
    for one in parameters:
        hint = hints.get(one.name, Any)
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
            fields[one.name] = hint, ... if one.default is one.empty else one.default
        elif get_origin(hint) is Unpack:  # options in common, such as those of `Delivery`
            fields |= {name: (kind, None) for name, kind in get_type_hints(get_args(hint)[0]).items()}
    strict = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    model = create_model("Options", __config__=strict, **fields)
    try:
        checked = model.model_validate(options)
    except ValidationError as error:
        problems = [
            f"sink '{name}': {_problem(one, list(fields))}"
            for one in error.errors(include_url=False, include_input=False)
        ]
    else:
        return {one: getattr(checked, one) for one in checked.model_fields_set}
    raise ConfigError("\n".join(problems))  # outside the handler: the validation error holds every value


def _problem(problem: Any, names: list[str]) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown option '{place}'; choose among {', '.join(names)}"
    if problem["type"] == "missing":
        return f"option '{place}' is missing"
    return f"{place}: {str(problem['msg']).removeprefix('Value error, ').removeprefix('Input ')}"
