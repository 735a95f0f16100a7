"""Appends embeddings to Redis streams."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from pydantic import SecretStr

from ovstream.errors import ConfigError, MissingExtraError
from ovstream.sinks.delivering import (
    AwayError,
    DeliveringSink,
    Delivery,
    RefusedError,
    check_private,
    check_template,
)
from ovstream.sinks.spool import Parcel
from ovstream.types import Embedding


class RedisSink(DeliveringSink):
    """Appends each embedding to a Redis stream (XADD), as JSON in the field `embedding`.

    A batch is one transaction. How long Redis keeps what it acknowledged is its own configuration
    (`appendonly`, `appendfsync`).

    Args:
        url: `redis://` or `rediss://` (TLS) with user, password, port and database; a secret.
        spool: File that holds what waits.
        key: Template of the key; knows `{stream_id}` and `{kind}`.
        maxlen: About how many entries a key keeps; the oldest go.
        ca_file: Authorities to trust instead of the system's, with `rediss://`.
        batch: Most embeddings of one transaction.
        timeout_seconds: Of connecting, and of each answer.
        allow_insecure: Send the password in the clear to other hosts.
        **delivery: See `Delivery`.

    Raises:
        MissingExtraError: Without the package `redis`.
        ConfigError: The URL or the key makes no sense, or the password would be sent in the clear.
    """

    def __init__(
        self,
        url: SecretStr,
        *,
        spool: Path,
        key: str = "ovstream:{stream_id}",
        maxlen: int = 100_000,
        ca_file: Path | None = None,
        batch: int = 64,
        timeout_seconds: float = 10.0,
        allow_insecure: bool = False,
        **delivery: Unpack[Delivery],
    ) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise MissingExtraError("redis", extra="sinks") from None
        check_template(key, ["stream_id", "kind"])
        text = url.get_secret_value()
        encrypted = text.startswith("rediss://")
        if not encrypted and not text.startswith("redis://"):
            raise ConfigError("url: must start with rediss:// or redis://")
        authorities = {"ssl_ca_certs": str(ca_file)} if encrypted and ca_file is not None else {}
        try:
            self._redis = redis.Redis.from_url(
                text,
                socket_timeout=timeout_seconds,
                socket_connect_timeout=timeout_seconds,
                retry=Retry(NoBackoff(), 0),  # the spool tries again
                **authorities,
            )
        except ValueError:
            raise ConfigError("url: not a URL of Redis") from None
        place = self._redis.connection_pool.connection_kwargs
        host = str(place.get("host", "localhost"))
        secret = bool(place.get("password"))
        check_private(host, encrypted=encrypted, secret=secret, allow_insecure=allow_insecure)
        self._failure, self._answer = redis.RedisError, redis.ResponseError
        self._key, self._maxlen = key, maxlen
        super().__init__(
            name=f"redis {host}",
            spool=spool,
            batch=batch,
            **delivery,
        )

    def address(self, embedding: Embedding) -> str:
        """The key."""
        return self._key.format(stream_id=embedding.stream_id, kind=embedding.kind)

    def deliver(self, parcels: list[Parcel]) -> None:
        """Appends, all or nothing where the keys are streams."""
        try:
            with self._redis.pipeline(transaction=True) as commands:
                for one in parcels:
                    commands.xadd(
                        one.address, {"embedding": one.payload}, maxlen=self._maxlen, approximate=True
                    )
                commands.execute()
        except self._failure as error:
            if isinstance(error, self._answer) and "WRONGTYPE" in str(error):
                raise RefusedError(f"{parcels[0].address} is there, but no stream") from None
            raise AwayError(f"{type(error).__name__}: {str(error)[:200]}") from None

    def disconnect(self) -> None:
        """Closes the connections."""
        self._redis.close()
