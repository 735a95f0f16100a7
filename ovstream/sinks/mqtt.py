"""Publishes embeddings to an MQTT broker."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

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
    from paho.mqtt.client import Client

_NO_SUBSCRIBERS = 0x10  # MQTT 5, 3.4.2.1: taken, but nobody listens
_HOPELESS = {0x90, 0x95, 0x99}  # topic name invalid, packet too large, payload format invalid


class MqttSink(DeliveringSink):
    """Publishes each embedding as JSON with QoS 1 over MQTT 5; the broker's PUBACK acknowledges it.

    Args:
        host: Name or address of the broker.
        spool: File that holds what waits.
        port: None: 8883 with TLS, 1883 without.
        topic: Template of the topic; knows `{stream_id}` and `{kind}`.
        tls: Encrypt, and verify the broker's certificate.
        ca_file: Authorities to trust instead of the system's; implies `tls`.
        username: Name at the broker.
        password: Its password.
        client_id: Name of the connection; empty: the broker makes one up.
        batch: Most embeddings under way at a time.
        timeout_seconds: Of connecting, and of the acknowledgements of a batch.
        allow_insecure: Send the password in the clear to other hosts.
        **delivery: See `Delivery`.

    Raises:
        MissingExtraError: Without the package `paho-mqtt`.
        ConfigError: The topic makes no sense, or the password would be sent in the clear.
    """

    def __init__(
        self,
        host: str,
        *,
        spool: Path,
        port: int | None = None,
        topic: str = "ovstream/{stream_id}/{kind}",
        tls: bool = False,
        ca_file: Path | None = None,
        username: str | None = None,
        password: SecretStr | None = None,
        client_id: str = "",
        batch: int = 20,
        timeout_seconds: float = 10.0,
        allow_insecure: bool = False,
        **delivery: Unpack[Delivery],
    ) -> None:
        try:
            import paho.mqtt.client  # noqa: F401 - told at the start, not at the first embedding
        except ImportError:
            raise MissingExtraError("paho-mqtt", extra="sinks") from None
        tls = tls or ca_file is not None
        check_template(topic, ["stream_id", "kind"])
        if not topic or set("+#\0") & set(topic):
            raise ConfigError(f"topic: '{topic}' is no topic to publish to")
        check_private(host, encrypted=tls, secret=password is not None, allow_insecure=allow_insecure)
        self._place = host, port or (8883 if tls else 1883)
        self._topic, self._tls, self._ca_file = topic, tls, ca_file
        self._username, self._password, self._client_id = username, password, client_id
        self._timeout_seconds = timeout_seconds
        self._client: Client | None = None
        self._acknowledged = _Acknowledgements()
        super().__init__(
            name=f"mqtt {host}",
            spool=spool,
            batch=batch,
            **delivery,
        )

    def address(self, embedding: Embedding) -> str:
        """The topic."""
        return self._topic.format(stream_id=embedding.stream_id, kind=embedding.kind)

    def deliver(self, parcels: list[Parcel]) -> None:
        """Publishes, and waits for every PUBACK."""
        try:
            client = self._client = self._client or self._connected()
            numbers = [client.publish(one.address, one.payload, qos=1).mid for one in parcels]
            codes = self._acknowledged.wait(numbers, timeout_seconds=self._timeout_seconds)
        except (AwayError, OSError, ValueError) as error:
            self.disconnect()  # the next try starts afresh: what was under way is in the spool
            raise AwayError(str(error)) from None
        bad = [code for code in codes if code not in (0, _NO_SUBSCRIBERS)]
        if bad and set(bad) <= _HOPELESS:
            raise RefusedError(f"MQTT reason 0x{bad[0]:02x}")
        if bad:
            raise AwayError(f"MQTT reason 0x{bad[0]:02x}")

    def _connected(self) -> Client:
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion

        self._acknowledged = known = _Acknowledgements()
        client = Client(
            CallbackAPIVersion.VERSION2, self._client_id, protocol=MQTTv5, reconnect_on_failure=False
        )
        client.connect_timeout = self._timeout_seconds
        client.on_connect = known.connected
        client.on_publish = known.published
        client.on_disconnect = known.disconnected
        if self._username is not None:
            client.username_pw_set(
                self._username, self._password.get_secret_value() if self._password else None
            )
        if self._tls:
            client.tls_set(ca_certs=None if self._ca_file is None else str(self._ca_file))
        client.connect(*self._place)
        client.loop_start()
        try:
            known.wait_connected(timeout_seconds=self._timeout_seconds)
        except AwayError:
            client.disconnect()
            client.loop_stop()
            raise
        return client

    def disconnect(self) -> None:
        """Ends the connection and its thread."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()


class _Acknowledgements:
    """What the client's thread learnt of one connection."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._codes: dict[int, int] = {}
        self._open = False
        self._over: str | None = None

    def connected(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        with self._changed:
            if reason.is_failure:
                self._over = f"the broker says {reason}"
            self._open = True
            self._changed.notify_all()

    def published(self, _client: Any, _data: Any, number: int, reason: Any, _properties: Any) -> None:
        with self._changed:
            self._codes[number] = int(reason.value)
            self._changed.notify_all()

    def disconnected(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        with self._changed:
            self._over = self._over or f"connection lost: {reason}"
            self._changed.notify_all()

    def wait_connected(self, *, timeout_seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._open or self._over is not None, timeout_seconds)
            if self._over is not None or not self._open:
                raise AwayError(self._over or "no answer to CONNECT")

    def wait(self, numbers: list[int], *, timeout_seconds: float) -> list[int]:
        """The reason codes of publications, in order."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            self._changed.wait_for(
                lambda: self._over is not None or all(one in self._codes for one in numbers),
                deadline - time.monotonic(),
            )
            if not all(one in self._codes for one in numbers):
                raise AwayError(self._over or "no acknowledgement in time")
            return [self._codes.pop(one) for one in numbers]
