"""Configuration: where values come from, who wins, and how mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovstream.config import PlanConfig, SourceConfig, StreamConfig, load_config, stream_config
from ovstream.config.options import _homes, _sections
from ovstream.errors import ConfigError

SECRET = "hunter2-canary"

GOOD = """\
defaults:
  plan:
    keep_ratio: 0.06
    max_tokens: 64
  publish: {endpoint: "tcp://127.0.0.1:5555"}
streams:
  - url: rtsp://10.0.0.7/main
    stream_id: door
    plan: {max_tokens: 128}
    source: {username: viewer, password: "${DOOR_PASSWORD}"}
  - url: /video/gate.mp4
    stream_id: gate
    source: {pace: "${PACE:-realtime}"}
"""


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("OVSTREAM_"):
            monkeypatch.delenv(name)


def write(folder: Path, text: str) -> Path:
    path = folder / "cameras.yaml"
    path.write_text(text)
    return path


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


def test_streams_start_from_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", SECRET)
    door, gate = load_config(write(tmp_path, GOOD)).streams
    assert (door.plan.keep_ratio, door.plan.max_tokens) == (0.06, 128)
    assert (gate.plan.keep_ratio, gate.plan.max_tokens) == (0.06, 64)
    assert door.publish.endpoint == gate.publish.endpoint == "tcp://127.0.0.1:5555"
    assert door.source.password is not None
    assert door.source.password.get_secret_value() == SECRET
    assert gate.source.pace == "realtime"
    assert door.encode == StreamConfig(url="x").encode


def test_environment_wins_over_a_file_and_options_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", SECRET)
    monkeypatch.setenv("OVSTREAM_PLAN__MAX_TOKENS", "32")
    monkeypatch.setenv("OVSTREAM_EMIT", "changes")
    monkeypatch.setenv("OVSTREAM_URL", "must-not-count")
    for stream in load_config(write(tmp_path, GOOD)).streams:
        assert (stream.plan.keep_ratio, stream.plan.max_tokens, stream.emit) == (0.06, 32, "changes")
        assert stream.url != "must-not-count"
    config = stream_config("a.mp4", max_tokens=16)
    assert (config.plan.max_tokens, config.emit, config.url) == (16, "changes", "a.mp4")


def test_flat_and_nested_options_mean_the_same() -> None:
    flat = stream_config(
        "a.mp4", keep_ratio=0.1, mode="exact", pace="realtime", endpoint="ipc:///x", emit="all"
    )
    nested = stream_config(
        "a.mp4",
        plan={"keep_ratio": 0.1},
        encode={"mode": "exact"},
        source=SourceConfig(pace="realtime"),
        publish={"endpoint": "ipc:///x"},
    )
    assert flat == nested
    assert flat.plan.keep_ratio == 0.1
    assert flat.source.pace == "realtime"
    assert stream_config("a.mp4", plan={"keep_ratio": 0.1}, max_tokens=8).plan == PlanConfig(
        keep_ratio=0.1, max_tokens=8
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"keep_ration": 0.1}, "unknown option 'keep_ration'; did you mean 'keep_ratio'"),
        ({"zzzzzz": 1}, "choose one of .*keep_ratio.*stream_id"),
        ({"plan": {"keepratio": 0.1}}, r"option plan\.keepratio: unknown option; did you mean 'keep_ratio'"),
        ({"mode": "exat"}, r"option mode: 'exat': expected 'fast', 'exact' or 'dense'"),
        ({"keep_ratio": 2}, r"option keep_ratio: 2: should be less than or equal to 1"),
        ({"plan": {"keep_ratio": 0.1}, "keep_ratio": 0.2}, "given twice"),
        ({"plan": 0.1}, "option plan: is a section"),
        ({"stream_id": "a/b"}, "option stream_id: 'a/b': "),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        stream_config("a.mp4", **options)


def test_wrong_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVSTREAM_ENCODE__MODE", "exat")
    with pytest.raises(ConfigError, match=r"OVSTREAM_ENCODE__MODE: 'exat': expected 'fast'"):
        stream_config("a.mp4")
    monkeypatch.delenv("OVSTREAM_ENCODE__MODE")
    monkeypatch.setenv("OVSTREAM_ENCODE", "exact")
    with pytest.raises(ConfigError, match="OVSTREAM_ENCODE__MODE"):
        stream_config("a.mp4")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("streams:\n- url: a\n  plan:\n    keepratio: 1\n", ":4: streams[0].plan.keepratio: unknown option; did"),
        ("streams:\n- url: a\n  encode: {mode: exat}\n", ":3: streams[0].encode.mode: 'exat': expected 'fast'"),
        ("defaults:\n  threads: 1\nstreams: [{url: a}]\n", ":2: defaults.threads: unknown option"),
        ("defaults:\n  encode:\n    threads: 0\nstreams: [{url: a}]\n", ":3: defaults.encode.threads: 0: should"),
        ("streams:\n- stream_id: a\n", ":2: streams[0].url: is missing"),
        ("streams:\n- {url: a}\n- {url: b}\n", ":2: streams: stream_id 'stream' is used twice"),
        ("stream: []\n", ":1: stream: unknown option; did you mean 'streams'"),
        ("streams: []\n", ":1: streams: must be a list of at least one stream"),
        ("streams:\n- a.mp4\n", ":2: streams[0]: must be a mapping"),
        ("streams:\n- url: a\n  url: b\n", ":3: 'url' is given twice"),
        ("streams:\n- url: a\n  source: {password: '${NOT_SET}'}\n", ":3: streams[0].source.password: environment"),
        ("streams: [\n", ":2: "),
        ("streams: []\0", ": is not YAML"),
        ("streams: " + 2000 * "[", ": is nested too deeply"),
        ("", ": must be a mapping"),
        ("- a", ": must be a mapping"),
    ],
)  # fmt: skip
def test_wrong_files_name_line_path_and_choices(tmp_path: Path, text: str, expected: str) -> None:
    assert f"cameras.yaml{expected}" in complaint(tmp_path, text)


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    text = "streams:\n- {url: a, emit: x, kinds: [y]}\n- {url: b, stream_id: b, emit: z}\n"
    told = complaint(tmp_path, text)
    assert [f"streams[{n}].{key}" in told for n, key in ((0, "emit"), (0, "kinds[0]"), (1, "emit"))] == [
        True
    ] * 3
    assert len(told.splitlines()) == 3


@pytest.mark.parametrize("data", [b"\xff\xfe", None])
def test_unreadable_files_are_config_errors(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "cameras.yaml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"cameras\.yaml"):
        load_config(path)


@pytest.mark.parametrize(
    "line",
    [
        "source: {password: ['${CANARY}']}",
        "source: {pasword: '${CANARY}'}",
        "source: {pasword: hunter2-canary}",
        "source: {transport: '${CANARY}'}",
        "source: {username: [hunter2-canary]}",
        "emit: '${CANARY}'",
        "password: hunter2-canary",
    ],
)
def test_errors_never_show_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setenv("CANARY", SECRET)
    text = f"streams:\n- url: rtsp://me:{SECRET}@cam/1\n  {line}\n"
    assert SECRET not in complaint(tmp_path, text)


def test_repr_shows_neither_url_nor_password() -> None:
    config = stream_config(f"rtsp://me:{SECRET}@cam/1", password=SECRET)
    assert config.url.endswith("cam/1")
    assert SECRET not in repr(config) + str(config) + f"{config.source!r}"
    with pytest.raises(ConfigError) as caught:
        stream_config("a.mp4", password=[SECRET])
    assert SECRET not in str(caught.value)


def test_dollars_can_be_written(tmp_path: Path) -> None:
    (stream,) = load_config(write(tmp_path, "streams: [{url: 'a$$b$c.mp4'}]")).streams
    assert stream.url == "a$b$c.mp4"


def test_every_option_may_be_given_flat() -> None:
    ambiguous = [name for name, sections in _homes(_sections()).items() if len(sections) > 1]
    assert not ambiguous, "ovstream.open(url, name=...) could mean either section"


def test_a_variable_that_means_an_option_and_names_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVSTREAM_TOKEN", "not ours to judge: the file may ask for it")
    stream_config("synthetic:")
    monkeypatch.setenv("OVSTREAM_PLAM__KEEP_RATIO", "0.5")
    with pytest.raises(ConfigError, match="OVSTREAM_PLAM__KEEP_RATIO: no such section; did you mean 'PLAN'"):
        stream_config("synthetic:")
