"""Questions to a running service, for verbs that look at one."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from ovstream.errors import ConfigError

_TIMEOUT_SECONDS = 5.0


def ask(address: str, path: str, token: str) -> Any:
    """What the REST API answers.

    Raises:
        ConfigError: Nobody answers there, or not as a service does.
    """
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"{address}: must begin with http:// or https://")
    request = urllib.request.Request(address.rstrip("/") + path)
    if token:
        request.add_header("authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        hint = "give the token in OVSTREAM_TOKEN" if error.code == 401 else "is it an ovstream service?"
        raise ConfigError(f"{address} answered {error.code}: {hint}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ConfigError(f"{address}: no answer ({reason}); start it with 'ovstream serve FILE'") from None
