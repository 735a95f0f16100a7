"""A real browser for tests: headless Chromium with a camera that it draws itself, driven over a pipe."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--remote-debugging-pipe",
)
ANSWER_SECONDS = 30.0


def require_chromium() -> str:
    """Path of the browser. Skips the test where it is not installed; fails in CI, where it must be."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing: apt-get install chromium")
        pytest.skip("chromium is missing: apt-get install chromium")
    return path


class Page:
    """One tab, over the DevTools protocol.

    Args:
        reader: Messages of the browser, each ended by a zero byte.
        writer: Messages to it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._number = 0
        self._session: str | None = None

    async def command(self, method: str, **parameters: Any) -> Any:
        """Sends a command and returns its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._writer.write(json.dumps(message).encode() + b"\0")
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                answer = json.loads((await self._reader.readuntil(b"\0"))[:-1])
                if answer.get("id") == self._number:
                    assert "error" not in answer, answer
                    return answer["result"]

    async def attach(self, url: str) -> None:
        """Opens a tab at `url`."""
        target = await self.command("Target.createTarget", url="about:blank")
        attached = await self.command("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        await self.command("Page.enable")
        await self.command("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """Value of a JavaScript expression; waits for promises."""
        result = await self.command(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, condition: str, *, seconds: float = ANSWER_SECONDS) -> None:
        """Waits until a JavaScript expression is true."""
        deadline = time.monotonic() + seconds
        while not await self.run(condition):
            assert time.monotonic() < deadline, await self.run("document.body.innerText")
            await asyncio.sleep(0.05)


@asynccontextmanager
async def browser_page(url: str, *more_flags: str) -> AsyncIterator[Page]:
    """Runs the browser with one tab at `url`; it is killed at the end."""
    path = require_chromium()
    to_browser, from_us = os.pipe()
    to_us, from_browser = os.pipe()

    def wire() -> None:  # in the child: the protocol wants descriptors 3 and 4
        high = [os.dup(to_browser), os.dup(from_browser)]
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            path,
            *FLAGS,
            *more_flags,
            f"--user-data-dir={profile}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            preexec_fn=wire,
            close_fds=False,
        )
        os.close(to_browser)
        os.close(from_browser)
        reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
        read_transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(to_us, "rb")
        )
        write_transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.streams.FlowControlMixin(loop=loop), os.fdopen(from_us, "wb")
        )
        page = Page(reader, asyncio.StreamWriter(write_transport, protocol, None, loop))
        try:
            await page.attach(url)
            yield page
        finally:
            read_transport.close()
            write_transport.close()
            process.kill()
            await process.wait()
