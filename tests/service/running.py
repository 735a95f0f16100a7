"""A real `ovstream serve` in a process of its own, and clips that play the cameras."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from ovstream.sources.scene import Scene
from tests.clips import make_clip

TOKEN = "0123456789abcdef-test"


def camera_clip(folder: Path, name: str = "camera.mp4", **scene: Any) -> Path:
    """Four seconds of a small camera at ten pictures per second, without B pictures."""
    return make_clip(
        folder / name,
        frames=40,
        fps=10,
        options={"x264-params": "bframes=0", "g": "20"},
        scene=Scene(320, 192, **{"noise": 1.0, "objects": 3, "speed_px": 4.0, **scene}),
    )


def stream(name: str, url: object, **options: Any) -> dict[str, Any]:
    return {"url": str(url), "stream_id": name, "source": {"pace": "realtime", "loop": True}, **options}


class Running:
    """A service that runs, and how to talk to it."""

    def __init__(self, process: subprocess.Popen[str], address: str, config: Path, token: str | None) -> None:
        self.process = process
        self.address = address
        self.config = config
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=address, headers=headers, timeout=20)

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def stream(self, name: str) -> dict[str, Any]:
        return self.get(f"/api/streams/{name}")

    def wait(self, what: Callable[[], Any], seconds: float = 80) -> Any:
        """Asks until the answer is true; a service that has ended is an error at once."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(httpx.TransportError, AssertionError):
                if found := what():
                    return found
            assert self.process.poll() is None, "the service has ended"
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.1)

    def until_live(self, *names: str) -> None:
        self.wait(lambda: all(self.stream(name)["state"] == "live" for name in names))

    def stop(self) -> str:
        """SIGTERM; returns what it printed, and sees to it that it ended well."""
        self.process.send_signal(signal.SIGTERM)
        printed, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, printed
        assert "Traceback" not in printed, printed
        return printed


@contextlib.contextmanager
def service(folder: Path, streams: list[dict[str, Any]], **options: Any) -> Iterator[Running]:
    """Starts `ovstream serve`, in one process unless options, which are those of its section, say otherwise."""
    http = {"port": 0, "allowed_paths": [str(folder)], **options.pop("http", {})}
    config = folder / "ovstream.yaml"
    write(config, streams, http=http, **{"workers": 1, **options})
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "ovstream", "serve", str(config), "--log-json"]
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("http"), line + process.stdout.read()
            running = Running(process, line.split()[0], config, http.get("token"))
            with running.http:
                yield running
        finally:
            process.kill()


def write(config: Path, streams: list[dict[str, Any]], **options: Any) -> None:
    """Replaces the file whole, as editors do."""
    fresh = config.with_suffix(".new")
    fresh.write_text(yaml.safe_dump(json.loads(json.dumps({"streams": streams, "service": options}))))
    fresh.replace(config)
