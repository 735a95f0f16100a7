"""When a camera is tried again, and when its failure is final."""

from __future__ import annotations

import pytest

from ovstream.config import SourceConfig
from ovstream.errors import SourceAuthError, SourceError, SourceProtocolError, SourceTimeout
from ovstream.sources.retry import Retry

PATIENT = SourceConfig(keep_trying=True, reconnect_initial_seconds=1, reconnect_max_seconds=60)
STRICT = PATIENT.model_copy(update={"keep_trying": False})


@pytest.mark.parametrize(
    ("failure", "connected", "final"),
    [
        (SourceTimeout("x"), False, True),
        (SourceTimeout("x"), True, False),
        (SourceProtocolError("x"), True, True),
        (SourceAuthError("x"), False, True),
    ],
)
def test_a_camera_that_never_gave_a_picture(failure: SourceError, connected: bool, final: bool) -> None:
    assert Retry(PATIENT).pause_seconds(failure, connected=connected, last_arrival_ns=None) > 0
    if not final:
        assert Retry(STRICT).pause_seconds(failure, connected=connected, last_arrival_ns=None) > 0
        return
    with pytest.raises(type(failure)):
        Retry(STRICT).pause_seconds(failure, connected=connected, last_arrival_ns=None)


def test_some_errors_are_for_somebody_else() -> None:
    retry = Retry(PATIENT, give_up=(SourceProtocolError,))
    with pytest.raises(SourceProtocolError):
        retry.pause_seconds(SourceProtocolError("x"), connected=True, last_arrival_ns=None)
    assert retry.pause_seconds(SourceProtocolError("x"), connected=True, last_arrival_ns=1) > 0


def test_pauses_grow_until_a_picture_comes_and_are_long_after_a_wrong_password() -> None:
    retry, failure = Retry(STRICT), SourceTimeout("x")
    pauses = [retry.pause_seconds(failure, connected=True, last_arrival_ns=1) for _ in range(5)]
    assert all(2**n / 2 <= pause <= 2**n for n, pause in enumerate(pauses))
    assert retry.pause_seconds(failure, connected=True, last_arrival_ns=2) <= 1
    assert retry.pause_seconds(SourceAuthError("x"), connected=True, last_arrival_ns=2) >= 30
