"""Which endpoints may be bound without keys: only those that this machine alone can reach."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from ovstream.config import PublishConfig
from ovstream.errors import ConfigError, InsecureBindError
from ovstream.publish import Publisher, subscribe
from ovstream.publish.binding import bind_address
from tests.wire.samples import embedding

LOCAL = [
    "tcp://127.0.0.1:5555",
    "tcp://127.0.0.1:*",
    "tcp://127.9.8.7:0",
    "tcp://127.1:5555",
    "tcp://0x7f.1:5555",
    "tcp://2130706433:5555",
    "tcp://[::1]:5555",
    "tcp://::1:5555",
    "tcp://[::ffff:127.0.0.1]:5555",
    "ipc:///run/ovstream/e.sock",
    "inproc://events",
]
OPEN = [
    "tcp://0.0.0.0:5555",
    "tcp://0:5555",
    "tcp://*:5555",
    "tcp://*:*",
    "tcp://[::]:5555",
    "tcp://:::5555",
    "tcp://[::ffff:0.0.0.0]:5555",
    "tcp://[::ffff:10.0.0.1]:5555",
    "tcp://10.0.0.1:5555",
    "tcp://192.168.1.20:5555",
    "tcp://167772161:5555",
    "tcp://128.1:5555",
    "tcp://[fe80::1%eth0]:5555",
    "tcp://eth0:5555",
    "tcp://lo:5555",
    "tcp://localhost.example:5555",
    "tcp://camera.local:5555",
    "tcp://127.0.0.1.example.org:5555",
    "tcp://127.0.0.1@10.0.0.1:5555",
    "tcp://127.0.0.1;10.0.0.1:5555",
    "tcp://10.0.0.1:1;127.0.0.1:5555",
    "tcp:// 127.0.0.1:5555",
    "tcp://127.0.0.1 0.0.0.0:5555",
    "tcp://127.0.0.256:5555",
    "ipc://@ovstream",
]
NONSENSE = [
    "",
    "127.0.0.1:5555",
    "tcp://",
    "tcp://127.0.0.1",
    "tcp://:5555",
    "tcp://127.0.0.1:http",
    "tcp://127.0.0.1:65536",
    "TCP://127.0.0.1:5555",
    "udp://127.0.0.1:5555",
    "ws://127.0.0.1:5555",
    "pgm://eth0;239.1.1.1:5555",
    "ipc://",
]


@pytest.mark.parametrize("endpoint", LOCAL)
def test_local_endpoints_may_be_bound(endpoint: str) -> None:
    assert bind_address(endpoint) == endpoint


@pytest.mark.parametrize("endpoint", OPEN)
def test_endpoints_open_to_the_network_need_keys(endpoint: str) -> None:
    with pytest.raises(InsecureBindError, match="allow_insecure"):
        bind_address(endpoint)
    assert bind_address(endpoint, allow_insecure=True) == endpoint


@pytest.mark.parametrize("endpoint", NONSENSE)
@pytest.mark.parametrize("allow_insecure", [False, True])
def test_nonsense_is_a_config_error(endpoint: str, allow_insecure: bool) -> None:
    with pytest.raises(ConfigError) as caught:
        bind_address(endpoint, allow_insecure=allow_insecure)
    assert not isinstance(caught.value, InsecureBindError)


def test_localhost_becomes_an_address() -> None:
    assert bind_address("tcp://localhost:5555") == "tcp://127.0.0.1:5555"


@pytest.mark.parametrize("endpoint", ["tcp://127.1:*", "tcp://localhost:*", "tcp://127.0.0.1:0"])
def test_what_is_called_local_is_bound_locally(endpoint: str) -> None:
    with Publisher(endpoint) as publisher:
        assert publisher.endpoint.startswith("tcp://127.0.0.1:")


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
@pytest.mark.parametrize("endpoint", ["tcp://[::1]:*", "tcp://::1:0"])
def test_ipv6_is_bound_for_messages_and_for_replays(endpoint: str) -> None:
    with Publisher(endpoint) as publisher:
        assert publisher.endpoint.startswith("tcp://[::1]:")
        assert publisher.replay_endpoint.startswith("tcp://[::1]:")


def test_a_publisher_refuses_an_open_endpoint() -> None:
    with pytest.raises(InsecureBindError):
        Publisher("tcp://*:0")
    with Publisher("tcp://*:0", config=PublishConfig(allow_insecure=True)) as publisher:
        assert publisher.endpoint.startswith("tcp://0.0.0.0:")


def test_a_port_in_use_is_a_config_error() -> None:
    with Publisher("tcp://127.0.0.1:*") as first, pytest.raises(ConfigError, match="in use"):
        Publisher(first.endpoint)


def test_an_ipc_path_without_a_folder_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="cannot bind"):
        Publisher("ipc:///no/such/folder/e.sock")


@pytest.mark.parametrize("made", [False, True])
def test_an_ipc_socket_is_for_its_user_alone(tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "run"
    if made:
        folder.mkdir(mode=0o755)
    old = os.umask(0)
    try:
        with Publisher(f"ipc://{folder}/e.sock"):
            assert os.umask(0) == 0, "the caller's mask is as it was"
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(old)
    assert modes == {"e.sock": 0o600, "e.sock.replay": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == (0o755 if made else 0o700)


def test_an_ipc_path_in_use_is_left_to_its_owner(tmp_path: Path) -> None:
    """libzmq would take the file away, and nobody could connect to the first one any more."""
    endpoint = f"ipc://{tmp_path}/e.sock"
    with Publisher(endpoint) as first:
        with pytest.raises(ConfigError, match="another process publishes there"):
            Publisher(endpoint)
        with pytest.raises(ConfigError, match="another process publishes there"):
            Publisher(f"ipc://{tmp_path}/other", config=PublishConfig(replay_endpoint=first.replay_endpoint))
        first.publish(embedding(0))
        with subscribe(endpoint, start="oldest") as events:
            assert next(iter(events)).seq == 0  # type: ignore[union-attr]


def test_a_file_that_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "e.sock"))
    with Publisher(f"ipc://{tmp_path}/e.sock") as publisher:
        assert publisher.endpoint.endswith("e.sock")
