"""Passwords show up nowhere: not in logs, errors, results, messages, nor in the list of processes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import ovstream
from tests.cli.programs import ENVIRONMENT, command
from tests.net.fault_matrix import make_streams
from tests.net.fault_server import Behaviour, FaultServer

PASSWORD = "CANARY p@s:s/w?#"
CONFIG = """
defaults:
  publish: {{endpoint: "{endpoint}"}}
  source:
    {{username: me, open_timeout_seconds: 1, reconnect_initial_seconds: 0.1, reconnect_max_seconds: 0.2}}
streams:
  - {{url: "{flapping}", stream_id: variable, source: {{password: "${{CAMERA_PASSWORD}}"}}}}
  - {{url: "{flapping}", stream_id: file, source: {{password_file: "{file}", backend: ffmpeg}}}}
  - {{url: "{quoted}", stream_id: url}}
  - {{url: "{guarded}", stream_id: wrong, source: {{password: "CANARY wrong"}}}}
  - {{url: "{guarded}", stream_id: wrong-ffmpeg, source: {{password: "CANARY wrong", backend: ffmpeg}}}}
  - {{url: "rtsps://me:CANARY@{plain}/x", stream_id: no-tls}}
  - {{url: "rtsp://me:CANARY@{plain}/nowhere", stream_id: nowhere}}
"""


STREAMS = ("variable", "file", "url", "wrong", "wrong-ffmpeg", "no-tls", "nowhere")


async def test_no_password_gets_out(tmp_path: Path) -> None:
    units, _ = await make_streams(tmp_path)
    secret, config, results = (tmp_path / name for name in ("secret", "run.yaml", "results.jsonl"))
    secret.write_text(PASSWORD + "\n")
    endpoint = f"ipc://{tmp_path}/out"
    credentials = ("me", PASSWORD)
    flapping = FaultServer(units, Behaviour(fault="reset", credentials=credentials))
    guarded, plain = FaultServer(units, Behaviour(credentials=credentials)), FaultServer(units)
    async with flapping, guarded, plain:
        config.write_text(
            CONFIG.format(
                endpoint=endpoint,
                flapping=flapping.url,
                guarded=guarded.url,
                quoted=guarded.url.replace("//", f"//me:{PASSWORD}@"),
                plain=plain.url.removeprefix("rtsp://").removesuffix("/cam"),
                file=secret,
            )
        )
        arguments = command(
            "run", "--config", str(config), "--jsonl", str(results), "--verbose", "--log-json"
        )
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=ENVIRONMENT | {"CAMERA_PASSWORD": PASSWORD},
        )
        told = asyncio.create_task(read_until_told(process, STREAMS))
        try:
            messages = await asyncio.wait_for(listen(endpoint, {"variable", "file", "url"}), 40)
            shown = await asyncio.wait_for(told, 40)
            process_list = await asyncio.to_thread(Path(f"/proc/{process.pid}/cmdline").read_text)
        finally:
            told.cancel()
            process.terminate()
            output, _ = await process.communicate()
    shown += output.decode()
    lines = results.read_text()
    assert {json.loads(line)["stream_id"] for line in lines.splitlines()} >= {"variable", "file", "url"}
    assert not untold(shown, STREAMS)
    for text in (shown, lines, messages, process_list):
        assert "CANARY" not in text
        assert "p@s" not in text


def untold(text: str, names: tuple[str, ...]) -> list[str]:
    """The streams of which nothing has been said yet."""
    return [one for one in names if f"{one}: reconnecting" not in text and f"{one}: connected" not in text]


async def read_until_told(process: asyncio.subprocess.Process, names: tuple[str, ...]) -> str:
    """What a process prints until something was said about each stream."""
    assert process.stdout is not None
    text = ""
    while untold(text, names) and (line := await process.stdout.readline()):
        text += line.decode()
    return text


async def listen(endpoint: str, names: set[str]) -> str:
    """Everything published until each of `names` has given ten results, as text."""
    seen = dict.fromkeys(names, 0)
    texts = []
    async with ovstream.subscribe(endpoint) as messages:
        async for message in messages:
            texts.append(repr(message))
            name = getattr(message, "stream_id", "")
            if name in seen and isinstance(message, ovstream.Embedding):
                seen[name] += 1
            if min(seen.values()) >= 10:
                return "\n".join(texts)
    raise AssertionError("the publisher ended")
