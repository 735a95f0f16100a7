"""Lines of the log, for people and for machines."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from ovstream.cli.console import LogFormat, log_formatter
from ovstream.service.events import EventLog

SECRET = "CANARY-of-a-log"


def record_of(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    EventLog().add("door", "error", "the camera refuses the password")
    return caplog.records[-1]


def test_json_names_stream_and_kind(caplog: pytest.LogCaptureFixture) -> None:
    line = json.loads(log_formatter("json", colours=False).format(record_of(caplog)))
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "door: the camera refuses the password",
        "stream": "door",
        "kind": "error",
        "level": "warning",
        "logger": "ovstream",
    }


def test_colours_are_for_terminals(caplog: pytest.LogCaptureFixture) -> None:
    record = record_of(caplog)
    line = log_formatter("console", colours=False).format(record)
    assert "\x1b" not in line
    assert "[warning  ] door: the camera refuses the password" in line
    assert "\x1b" in log_formatter("console", colours=True).format(record)


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_traceback_shows_no_variables(log_format: LogFormat) -> None:
    password = SECRET[::-1]
    try:
        raise ValueError(len(password))
    except ValueError:
        record = logging.LogRecord("ovstream", logging.ERROR, __file__, 1, "failed", None, sys.exc_info())
    line = log_formatter(log_format, colours=False).format(record)
    assert "ValueError: 15" in line
    assert password not in line
