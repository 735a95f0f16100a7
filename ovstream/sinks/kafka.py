"""Publishes embeddings to Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

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

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

_SEPARATOR = "\n"  # between topic and key; in neither


class KafkaSink(DeliveringSink):
    """Publishes each embedding as JSON; acknowledged when all replicas in sync have it.

    The key is the stream's name, so that the embeddings of one stream stay in order in one partition. The producer is
    idempotent: what it sends again within one connection is there once.

    Args:
        servers: `host:port`, several with commas between them.
        spool: File that holds what waits.
        topic: Template of the topic; knows `{stream_id}` and `{kind}`.
        tls: Encrypt, and verify the brokers' certificates.
        ca_file: Authorities to trust instead of the system's; implies `tls`.
        username: Name at the brokers (SASL).
        password: Its password.
        mechanism: Of SASL.
        batch: Most embeddings under way at a time.
        idempotent: False for brokers, or rights, that allow no idempotent producer.
        timeout_seconds: Of connecting, and of the acknowledgements of a batch.
        allow_insecure: Send the password in the clear to other hosts.
        **delivery: See `Delivery`.

    Raises:
        MissingExtraError: Without the package `aiokafka`.
        ConfigError: An option makes no sense, or the password would be sent in the clear.
    """

    def __init__(
        self,
        servers: str,
        *,
        spool: Path,
        topic: str = "ovstream",
        tls: bool = False,
        ca_file: Path | None = None,
        username: str | None = None,
        password: SecretStr | None = None,
        mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512",
        batch: int = 64,
        idempotent: bool = True,
        timeout_seconds: float = 10.0,
        allow_insecure: bool = False,
        **delivery: Unpack[Delivery],
    ) -> None:
        try:
            import aiokafka  # noqa: F401 - told at the start, not at the first embedding
        except ImportError:
            raise MissingExtraError("aiokafka", extra="sinks") from None
        tls = tls or ca_file is not None
        check_template(topic, ["stream_id", "kind"])
        hosts = [place.strip() for place in servers.split(",")]
        for host in hosts:
            name, _, port = host.rpartition(":")
            if not name or not port.isdigit():
                raise ConfigError(f"servers: '{host}' is not host:port")
            check_private(
                name.strip("[]"), encrypted=tls, secret=password is not None, allow_insecure=allow_insecure
            )
        if (username is None) != (password is None):
            raise ConfigError("username and password belong together")
        self._servers, self._topic = hosts, topic
        self._tls, self._ca_file = tls, ca_file
        self._login = username, password, mechanism
        self._idempotent = idempotent
        self._timeout_seconds = timeout_seconds
        self._loop: asyncio.Runner | None = None
        self._producer: AIOKafkaProducer | None = None
        super().__init__(name=f"kafka {hosts[0]}", spool=spool, batch=batch, **delivery)

    def address(self, embedding: Embedding) -> str:
        """Topic and key."""
        topic = self._topic.format(stream_id=embedding.stream_id, kind=embedding.kind)
        return topic + _SEPARATOR + embedding.stream_id

    def deliver(self, parcels: list[Parcel]) -> None:
        """Publishes, and waits for every acknowledgement."""
        from aiokafka import errors

        if self._loop is None:
            self._loop = asyncio.Runner()
        try:
            self._loop.run(asyncio.wait_for(self._send(parcels), self._timeout_seconds))
        except (errors.MessageSizeTooLargeError, errors.InvalidTopicError) as error:
            raise RefusedError(type(error).__name__) from None
        except (errors.KafkaError, OSError, TimeoutError) as error:
            self._drop()  # the next try starts afresh: what was under way is in the spool
            raise AwayError(f"{type(error).__name__}: {str(error)[:200]}") from None

    async def _send(self, parcels: list[Parcel]) -> None:
        producer = self._producer = self._producer or await self._connected()
        under_way = []
        for one in parcels:
            topic, _, key = one.address.partition(_SEPARATOR)
            under_way.append(await producer.send(topic, one.payload.encode(), key=key.encode()))
        for result in await asyncio.gather(*under_way, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _connected(self) -> AIOKafkaProducer:
        from aiokafka import AIOKafkaProducer

        username, password, mechanism = self._login
        protocol = f"{'SASL_' if username else ''}{'SSL' if self._tls else 'PLAINTEXT'}"
        trust = ssl.create_default_context(cafile=self._ca_file) if self._tls else None
        login = (
            {
                "sasl_mechanism": mechanism,
                "sasl_plain_username": username,
                "sasl_plain_password": password.get_secret_value(),
            }
            if password
            else {}
        )
        producer = AIOKafkaProducer(
            bootstrap_servers=self._servers,
            client_id="ovstream",
            acks="all",
            enable_idempotence=self._idempotent,
            request_timeout_ms=round(1000 * self._timeout_seconds),
            security_protocol=protocol,
            ssl_context=trust,
            **login,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None and self._loop is not None:
            with contextlib.suppress(Exception):  # it is given up anyhow
                self._loop.run(asyncio.wait_for(producer.stop(), self._timeout_seconds))

    def disconnect(self) -> None:
        """Ends the connections and the loop."""
        self._drop()
        if self._loop is not None:
            self._loop.close()
