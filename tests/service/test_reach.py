"""What the API may name, and through how many connections."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from ovstream.config import ServiceConfig
from ovstream.errors import ConfigError
from ovstream.service import api
from ovstream.service.connections import bounded_protocol
from ovstream.service.events import EventLog
from ovstream.service.reach import Reach


def reach(folder: Path) -> Reach:
    http = {"allowed_paths": [str(folder / "allowed")]}
    return Reach(ServiceConfig.model_validate({"state_folder": str(folder / "state"), "http": http}))


def options(path: str) -> list[dict[str, Any]]:
    return [
        {"url": path},
        {"url": f"file://{path}"},
        {"source": {"password_file": path}},
        {"source": {"tls_ca_file": path}},
        {"encode": {"model": path}},
        {"publish": {"journal": path}},
        {"publish": {"keys": path}},
        {"publish": {"leases": path}},
        {"publish": {"endpoint": f"ipc://{path}"}},
        {"publish": {"replay_endpoint": f"ipc://{path}"}},
        {"record": {"path": path}},
        {"sinks": [{"type": "jsonl", "path": path}]},
        {"sinks": [{"type": "webhook", "url": "https://example.org/", "spool": path}]},
        {"sinks": [{"type": "webhook", "url": "https://example.org/", "ca_file": path}]},
    ]


@pytest.mark.parametrize("number", range(len(options(""))))
def test_files_elsewhere_are_out_of_reach(number: int, tmp_path: Path) -> None:
    looks = reach(tmp_path)
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "out").symlink_to(tmp_path)
    for path in ("/etc/passwd", "relative", f"{tmp_path}/allowed/../x", f"{tmp_path}/allowed/out/x"):
        if path == "relative" and number == 4:
            continue  # the name of an embedded model
        with pytest.raises(ConfigError, match="allowed_paths"):
            looks.check(options(path)[number])
    for folder in ("allowed", "state"):
        looks.check(options(f"{tmp_path}/{folder}/x")[number])


@pytest.mark.parametrize(
    "asked",
    [
        {"url": "rtsp://10.0.0.7/1", "stream_id": "a", "source": {"username": "viewer"}},
        {"url": "synthetic:?fps=5", "encode": {"model": "ov-nano"}, "plan": {"keep_ratio": 0.1}},
        {"publish": {"endpoint": "tcp://127.0.0.1:5555"}, "sinks": [{"type": "redis", "url": "redis://r/0"}]},
        {"url": "whip:door", "publish": {"endpoint": None}, "record": {"path": None}},
    ],
)
def test_cameras_and_addresses_are_not_paths(asked: dict[str, Any], tmp_path: Path) -> None:
    reach(tmp_path).check(asked)


def test_doors_without_keys_belong_into_the_file(tmp_path: Path) -> None:
    for asked in (
        {"publish": {"allow_insecure": True}},
        {"sinks": [{"type": "webhook", "allow_insecure": True}]},
    ):
        with pytest.raises(ConfigError, match="configuration file"):
            reach(tmp_path).check(asked)


def test_requests_are_answered_in_the_loop_that_changes_what_they_read() -> None:
    """In threads they met changes half way: iteration over what grew."""
    tree = ast.parse(inspect.getsource(api))
    functions = [one for one in ast.walk(tree) if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]
    handlers = [one for one in functions if one.decorator_list]
    assert len(handlers) > 15
    assert [one.name for one in handlers if isinstance(one, ast.FunctionDef)] == []


def test_an_error_is_logged_once_until_it_changes_or_is_over(caplog: pytest.LogCaptureFixture) -> None:
    log = EventLog()
    with caplog.at_level(logging.WARNING, "ovstream"):
        for kind, detail in [
            ("error", "away"),
            ("error", "away"),
            ("error", "refused"),
            ("connected", ""),
            ("error", "refused"),
        ]:
            log.add("door", kind, detail)
    assert [one.getMessage() for one in caplog.records] == ["door: away", "door: refused", "door: refused"]


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.asynccontextmanager
async def serving(**bounds: Any) -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            answer, http=bounded_protocol(**bounds), lifespan="off", ws="none", log_config=None
        )
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.create_task(server._serve(sockets=[listening]))
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await task


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")


async def test_a_request_that_does_not_come_is_not_waited_for() -> None:
    async with asyncio.timeout(30), serving(head_seconds=0.2) as port:
        beginnings = (b"", b"GET / HT", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx")
        pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in beginnings]
        patient = await asyncio.open_connection("127.0.0.1", port)
        await ask(*patient)
        patient[1].write(b"GET / HT")  # the second request is no better than the first
        for (_, writer), begun in zip(pairs, beginnings, strict=True):
            writer.write(begun)
        for reader, writer in (*pairs, patient):
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()


async def test_nobody_takes_all_connections() -> None:
    async with asyncio.timeout(30), serving(max_per_address=2) as port:
        first, second = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await ask(*first)
        await ask(*second)
        third = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await third[0].read() == b""
        await ask(*first)
        second[1].close()
        await second[1].wait_closed()
        while True:  # until the server has seen it go
            again = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await ask(*again)
                break
        for _, writer in (first, third, again):
            writer.close()
