"""Posts embeddings to a web server."""

from __future__ import annotations

import hashlib
import hmac
import logging
import ssl
import time
from pathlib import Path
from typing import Unpack

from pydantic import SecretStr

from ovstream.errors import ConfigError, MissingExtraError
from ovstream.sinks.delivering import AwayError, DeliveringSink, Delivery, RefusedError, check_private
from ovstream.sinks.spool import Parcel

_TRY_AGAIN = {401, 403, 404, 408, 425, 429}  # a token expired, a server is being redeployed, ...


class WebhookSink(DeliveringSink):
    """Posts JSON arrays of embeddings; any 2xx acknowledges them.

    4xx drops the embeddings (`refused`), except 401, 403, 404, 408, 425 and 429; everything else is tried again. A
    repeated embedding has the `stream_id`, `epoch` and `seq` of the first.

    Args:
        url: Where to; a secret, for the addresses of many services are. Redirects are not followed.
        spool: File that holds what waits.
        token: Sent as `Authorization: Bearer`.
        hmac_key: Signs: `X-Ovstream-Signature: sha256=HEX`, HMAC-SHA256 over `X-Ovstream-Timestamp` (Unix
            seconds), a full stop and the body.
        ca_file: Authorities to trust instead of the system's.
        batch: Most embeddings of one request.
        timeout_seconds: Of connecting, of each write and each read.
        allow_insecure: Send a token in the clear to other hosts.
        **delivery: See `Delivery`.

    Raises:
        MissingExtraError: Without the package `httpx`.
        ConfigError: The URL is not one, or the token would be sent in the clear.
    """

    def __init__(
        self,
        url: SecretStr,
        *,
        spool: Path,
        token: SecretStr | None = None,
        hmac_key: SecretStr | None = None,
        ca_file: Path | None = None,
        batch: int = 32,
        timeout_seconds: float = 10.0,
        allow_insecure: bool = False,
        **delivery: Unpack[Delivery],
    ) -> None:
        try:
            import httpx
        except ImportError:
            raise MissingExtraError("httpx", extra="sinks") from None
        try:
            place = httpx.URL(url.get_secret_value())
        except httpx.InvalidURL:
            raise ConfigError("url: not a URL") from None
        if place.scheme not in ("http", "https") or not place.host:
            raise ConfigError("url: must start with https:// or http://")
        encrypted = place.scheme == "https"
        secret = token is not None or bool(place.userinfo)
        check_private(place.host, encrypted=encrypted, secret=secret, allow_insecure=allow_insecure)
        trust: ssl.SSLContext | bool = ssl.create_default_context(cafile=ca_file) if encrypted else True
        self._url, self._hmac_key = url, hmac_key
        self._failure = httpx.HTTPError
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        self._client = httpx.Client(headers=headers, timeout=timeout_seconds, verify=trust, trust_env=False)
        logging.getLogger("httpx").setLevel(
            logging.WARNING
        )  # at INFO it writes the whole URL of each request
        super().__init__(
            name=f"webhook {place.host}",
            spool=spool,
            batch=batch,
            **delivery,
        )

    def deliver(self, parcels: list[Parcel]) -> None:
        """Posts one array."""
        body = f"[{','.join(one.payload for one in parcels)}]".encode()
        try:
            answer = self._client.post(
                self._url.get_secret_value(), content=body, headers=self._signature(body)
            )
        except self._failure as error:
            raise AwayError(type(error).__name__) from None  # its text may hold the URL
        if answer.is_success:
            return
        if answer.is_client_error and answer.status_code not in _TRY_AGAIN:
            raise RefusedError(f"HTTP {answer.status_code}")
        raise AwayError(f"HTTP {answer.status_code}")

    def _signature(self, body: bytes) -> dict[str, str]:
        if self._hmac_key is None:
            return {}
        now = str(int(time.time()))
        key = self._hmac_key.get_secret_value().encode()
        digest = hmac.new(key, now.encode() + b"." + body, hashlib.sha256).hexdigest()
        return {"X-Ovstream-Timestamp": now, "X-Ovstream-Signature": f"sha256={digest}"}

    def disconnect(self) -> None:
        """Closes the connections."""
        self._client.close()
