"""The example configuration is complete, true and loads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from ovstream.config import ServiceConfig, StreamConfig, file_schema, load_config
from ovstream.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "deploy" / "ovstream.example.yaml"
PER_STREAM = {"url", "stream_id"}
# Where the example says more than the default.
CHOSEN = {"publish.endpoint": "tcp://127.0.0.1:5555"}


def settings(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Dotted name -> default of every setting, sections opened."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            found |= settings(type(field.default), f"{prefix}{name}.")
        else:
            found[prefix + name] = field.default
    return found


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def document() -> dict[str, Any]:
    return yaml.safe_load(EXAMPLE.read_text())


def test_every_setting_is_there_and_no_other() -> None:
    assert flat(document()["defaults"]).keys() == settings(StreamConfig).keys() - PER_STREAM


@pytest.mark.parametrize("name", sorted(settings(StreamConfig).keys() - PER_STREAM))
def test_it_shows_the_real_default(name: str) -> None:
    shown = flat(document()["defaults"])[name]
    default = settings(StreamConfig)[name]
    assert shown == CHOSEN.get(name, list(default) if isinstance(default, tuple) else default)


def test_every_setting_has_a_comment() -> None:
    lines = EXAMPLE.read_text().splitlines()
    for name in {name.rpartition(".")[2] for name in settings(StreamConfig)} - {
        "url",
        "stream_id",
        "password",
    }:
        (number,) = [i for i, line in enumerate(lines) if line.strip().startswith(f"{name}:")][:1]
        assert "#" in lines[number] or lines[number - 1].strip().startswith("#"), name


def test_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    _forget_environment(monkeypatch)
    entrance, car_park = load_config(EXAMPLE).streams
    assert entrance.stream_id == "entrance"
    assert entrance == StreamConfig(
        url=entrance.url,
        stream_id="entrance",
        publish=entrance.publish.model_copy(update={"endpoint": "tcp://127.0.0.1:5555"}),
    )
    assert (car_park.emit, car_park.plan.keep_ratio) == ("changes", 0.06)
    assert car_park.plan.model_copy(update={"keep_ratio": 0.125, "masks": ()}) == entrance.plan
    assert [rule.name for rule in car_park.watch.rules] == ["arrival", "odd", "gone", "camera"]


def test_it_shows_every_setting_of_the_service() -> None:
    shown = flat(document()["service"])
    assert shown == {
        name: list(default) if isinstance(default, tuple) else default
        for name, default in settings(ServiceConfig).items()
    }


def test_the_schema_accepts_it_and_refuses_a_wrong_name() -> None:
    schema = file_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert list(validator.iter_errors(document())) == []
    wrong = document()
    wrong["streams"][0]["plan"] = {"keep_ration": 0.1}
    (error,) = validator.iter_errors(wrong)
    assert "keep_ration" in error.message


def test_a_wrong_name_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(EXAMPLE.read_text().replace("keep_ratio: 0.06", "keep_ration: 0.06"))
    with pytest.raises(ConfigError, match="keep_ration"):
        load_config(wrong)


def _forget_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OVSTREAM_")]:
        monkeypatch.delenv(name)
