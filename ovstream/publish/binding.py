"""Decides whether an endpoint may be bound: without keys, only what this machine alone can reach."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket

from ovstream.errors import ConfigError, InsecureBindError

_TRANSPORTS = ("tcp", "ipc", "inproc")


def bind_address(endpoint: str, *, guarded: bool = False, allow_insecure: bool = False) -> str:
    """Checks an endpoint before it is bound.

    A host counts as local only when it is an address that is certainly a loopback one. Names of hosts and
    of network interfaces do not: what they stand for can change after the check.

    Args:
        endpoint: ZeroMQ endpoint, for example `tcp://127.0.0.1:5555` or `ipc:///run/ovstream/e.sock`.
        guarded: Keys are demanded of everybody who connects: any TCP address may be bound.
        allow_insecure: Binds any TCP address without keys.

    Returns:
        The endpoint to bind; `localhost` has become `127.0.0.1`, since ZeroMQ binds addresses only.

    Raises:
        InsecureBindError: The socket would be open to the network.
        ConfigError: This is no endpoint, or its transport is not one of tcp, ipc, inproc.
    """
    transport, host, port = split_endpoint(endpoint)
    if transport == "ipc" and host.startswith("@") and not (guarded or allow_insecure):
        raise InsecureBindError(
            f"{endpoint} has no file, so no permissions: every user and container of this machine could connect; "
            "name a path, or make keys with 'ovstream keys new publisher' and set publish.keys, or set "
            "publish.allow_insecure"
        )
    if transport != "tcp":
        return endpoint
    if host == "localhost":
        return f"tcp://127.0.0.1:{port}"
    if not (guarded or allow_insecure or _is_loopback(host)):
        raise InsecureBindError(
            f"{endpoint} would be open to the network, and there are no keys to guard it: make some with "
            "'ovstream keys new publisher' and set publish.keys; or bind to 127.0.0.1 or to an ipc:// path; or "
            "set publish.allow_insecure if the network itself is trusted"
        )
    return endpoint


def replay_address(endpoint: str) -> str:
    """Where a publisher is asked for what was missed: the next port, or a path with `.replay` behind.

    Raises:
        ConfigError: There is no next port.
    """
    transport, _, port = split_endpoint(endpoint)
    if transport != "tcp":
        return f"{endpoint}.replay"
    if not port.isdigit() or int(port) >= (1 << 16) - 1:
        raise ConfigError(f"{endpoint} has no next port to ask for what was missed")
    return f"{endpoint[: -len(port)]}{int(port) + 1}"


def split_endpoint(endpoint: str) -> tuple[str, str, str]:
    """Splits an endpoint into transport, host or path, and port ("" where there is none).

    Raises:
        ConfigError: This is no endpoint of a known transport.
    """
    transport, separator, address = endpoint.partition("://")
    if not separator or transport not in _TRANSPORTS or not address:
        raise ConfigError(f"{endpoint!r} is no endpoint: tcp://HOST:PORT, ipc://PATH or inproc://NAME")
    if transport != "tcp":
        return transport, address, ""
    host, separator, port = address.rpartition(":")
    if not separator or not host or not _is_port(port):
        raise ConfigError(f"{endpoint!r} needs a host and a port: tcp://HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return transport, host, port


def refuse_taken(endpoint: str) -> None:
    """Refuses a Unix socket that somebody answers at: ZeroMQ would take its name away without a word.

    Raises:
        ConfigError: It is in use.
    """
    transport, path, _ = split_endpoint(endpoint)
    if transport != "ipc" or path.startswith("@"):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            answer = probe.connect_ex(path)
        except OSError:  # no path for a socket: ZeroMQ says so
            return
    if answer in (0, errno.EAGAIN):  # EAGAIN: so many wait there that no more may
        raise ConfigError(f"cannot bind {endpoint}: another process publishes there")


def is_ipv6(endpoint: str) -> bool:
    """Whether an endpoint names an IPv6 address, which a socket must be told before it binds."""
    transport, host, _ = split_endpoint(endpoint)
    return transport == "tcp" and ":" in host


def _is_port(text: str) -> bool:
    return text == "*" or (re.fullmatch(r"[0-9]{1,5}", text) is not None and int(text) < 1 << 16)


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _is_legacy_loopback(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _is_legacy_loopback(host: str) -> bool:
    """Understands `127.1`, `0x7f.1` and `2130706433` as the C library does."""
    if not re.fullmatch(r"[0-9a-fA-FxX.]+", host) or not host[0].isdigit():
        return False
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host)).is_loopback
    except OSError:
        return False
