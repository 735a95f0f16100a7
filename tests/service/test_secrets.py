"""A canary in every place where a credential may stand, through success and failure; then everything that got out.

One real service with real cameras, good and bad; a WHEP server, sinks that nobody answers, a journal, recordings and a
state folder. Each credential contains `CANARY`, which must be found in no text that the service gives anybody.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import pickle
import re
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from typer.testing import CliRunner

import ovstream
from ovstream.cli.app import app
from ovstream.config import SourceConfig, stream_config
from ovstream.errors import SourceError
from ovstream.sources import open_source
from tests.cli.programs import free_endpoint
from tests.net.fault_matrix import make_streams
from tests.net.fault_server import Behaviour, FaultServer
from tests.net.whep_server import WhepServer
from tests.rtp.sender import SentUnit
from tests.service.running import Running, service

USER, PASSWORD = "CANARYuser", "CANARY p@s:s/w?#[1]"
TOKEN, READ_TOKEN, DOOR_TOKEN = "CANARY-service-token", "CANARY-reading-token", "CANARY-door-token"
QUICK = {
    "open_timeout_seconds": 5,
    "read_timeout_seconds": 5,
    "reconnect_initial_seconds": 0.1,
    "reconnect_max_seconds": 0.3,
}
FREE_PATHS = ("/", "/metrics", "/live", "/ready", "/startup", "/whip/publish?stream=door")
API_PATHS = (
    "/api/streams",
    "/api/events?limit=1000",
    "/api/service",
    "/api/config/schema",
    "/api/openapi.json",
)
# A canary as it stands in a Basic field, at any of its three places in a group.
ENCODED = [base64.b64encode(b"x" * shift + b"CANARY")[4 if shift else 0 : -4].decode() for shift in range(3)]


def canaries(text: str) -> list[str]:
    """What was found, each with what stands around it."""
    plain = [text[max(at.start() - 60, 0) : at.end() + 20] for at in re.finditer("CANARY", text)]
    return plain + [found for one in ENCODED if (found := one) in text]


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[SentUnit]:
    return asyncio.run(make_streams(tmp_path_factory.mktemp("secrets")))[0]


class World:
    """Cameras and servers around the service."""

    def __init__(self, units: list[SentUnit], folder: Path) -> None:
        credentials = (USER, PASSWORD)
        self.folder = folder
        self.good = FaultServer(units, Behaviour(fault="reset", at=20, slow=8, credentials=credentials))
        self.guarded = FaultServer(units, Behaviour(slow=8, credentials=credentials))
        self.moved = FaultServer(units, Behaviour(slow=8, credentials=credentials, redirect=True))
        self.open = FaultServer(units, Behaviour(slow=8))
        self.whep = WhepServer(units, authorization="Bearer CANARY-whep")
        self.password_file = folder / "password"
        self.password_file.write_text(PASSWORD + "\n")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        async with self.good, self.guarded, self.moved, self.open, self.whep:
            yield self

    def streams(self) -> dict[str, dict[str, Any]]:
        """Entries of the file by name; those that can work begin with "good"."""
        right = {"username": USER, "password": "${CANARY_PASSWORD}"}
        wrong = {"username": USER, "password": "CANARY wrong"}
        closed = free_endpoint().rpartition(":")[2]
        place = self.open.url.removeprefix("rtsp://").removesuffix("/cam")
        secret_url = f"{quote(USER)}:{quote(PASSWORD, safe='')}@"
        return {
            "good-plain-url": {"url": self.good.url.replace("//", f"//{USER}:{PASSWORD}@")},
            "good-quoted-url": {"url": self.guarded.url.replace("//", f"//{secret_url}")},
            "good-file": {
                "url": self.guarded.url,
                "source": {"username": USER, "password_file": str(self.password_file), "backend": "ffmpeg"},
            },
            "good-redirect": {"url": self.moved.url, "source": right},
            "good-query": {"url": f"rtsp://{place}/user=CANARY_password=CANARY_channel=1?token=CANARY&x=1"},
            "good-whep": {"url": self.whep.url + "&key=CANARY", "source": {"token": "CANARY-whep"}},
            "wrong": {"url": self.guarded.url, "source": wrong},
            "wrong-ffmpeg": {"url": self.guarded.url, "source": {**wrong, "backend": "ffmpeg"}},
            "wrong-whep": {"url": self.whep.url.replace("//", f"//{secret_url}")},
            "nowhere": {"url": f"rtsp://{secret_url}{place}/nowhere?token=CANARY"},
            "no-tls": {"url": f"rtsps://{secret_url}{place}/x"},
            "closed": {"url": f"rtsp://{secret_url}127.0.0.1:{closed}/x"},
            "closed-http": {"url": f"http://{secret_url}127.0.0.1:{closed}/x.ts?auth=CANARY"},
            "closed-rtmp": {"url": f"rtmp://{secret_url}127.0.0.1:{closed}/live/key?secret=CANARY"},
            "no-file": {"url": self.guarded.url, "source": {"password_file": str(self.folder / "missing")}},
            "door": {"url": "whip:door", "source": {"token": DOOR_TOKEN}},
        }

    def sinks(self) -> list[dict[str, Any]]:
        """Nobody answers; each has a secret."""
        closed = free_endpoint().rpartition(":")[2]
        made: list[dict[str, Any]] = [
            {
                "type": "webhook",
                "url": f"http://{USER}:CANARY@127.0.0.1:{closed}/hook/CANARY",
                "token": "CANARY",
            },
            {
                "type": "mqtt",
                "host": "127.0.0.1",
                "port": int(closed),
                "username": USER,
                "password": "CANARY",
            },
            {"type": "redis", "url": f"redis://{USER}:CANARY@127.0.0.1:{closed}/0"},
        ]
        return [{**one, "spool": str(self.folder / f"{one['type']}.spool")} for one in made]


async def test_no_credential_gets_out(
    units: list[SentUnit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_PASSWORD", PASSWORD)
    endpoint = free_endpoint()
    async with World(units, tmp_path).running() as world:
        entries = world.streams()
        streams = [
            {
                "stream_id": name,
                **entry,
                "plan": {"max_tokens": 4},
                "source": {**QUICK, **entry.get("source", {})},
            }
            for name, entry in entries.items()
        ]
        streams[0] |= {"sinks": world.sinks(), "record": {"path": str(tmp_path / "recording.ovr")}}
        for stream in streams[:3]:
            stream["publish"] = {"endpoint": endpoint, "journal": str(tmp_path / "journal")}
        (tmp_path / "state").mkdir()
        http = {"token": TOKEN, "read_token": READ_TOKEN}
        options = {"http": http, "state_folder": str(tmp_path / "state")}
        with service(tmp_path, streams, **options) as running:
            messages, shown, printed = await asyncio.to_thread(watch, running, entries, endpoint, world)
    kept = files(tmp_path)
    allowed = {Path(name) for name in ("ovstream.yaml", "password", "state/streams.json")}
    assert "CANARY" in kept[Path("state/streams.json")]  # for its owner alone: the stream that the API added
    assert not (tmp_path / "state/streams.json").stat().st_mode & 0o077
    texts = {**{str(path): text for path, text in kept.items() if path not in allowed}, **shown}
    texts |= {"printed": printed, "messages": messages}
    assert {name: found for name, text in texts.items() if (found := canaries(text))} == {}
    assert {"recording.ovr"} <= {str(path) for path in kept}
    assert any(str(path).startswith("journal") for path in kept)


def files(folder: Path) -> dict[Path, str]:
    """What stands in every file of the service."""
    return {
        path.relative_to(folder): path.read_bytes().decode("latin-1")
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name in ("state", "journal", folder.name)
    }


def watch(
    running: Running, entries: dict[str, Any], endpoint: str, world: World
) -> tuple[str, dict[str, str], str]:
    """Lets everything happen, asks for everything that there is, and ends the service."""
    shown: dict[str, str] = {}
    good = [name for name in entries if name.startswith("good")]
    running.wait(lambda: all(running.stream(name)["totals"].get("embeddings") for name in good))
    bad = [name for name in entries if not name.startswith("good")]
    running.wait(lambda: all(running.stream(name)["detail"] for name in bad))
    running.wait(lambda: running.stream("good-plain-url")["totals"]["reconnects"])
    messages = asyncio.run(published(endpoint))
    added = {
        "url": world.guarded.url,
        "stream_id": "added",
        "source": {"username": USER, "password": "CANARY x"},
    }
    ask = {
        "add": ("POST", "/api/streams", added),
        "add wrong": (
            "POST",
            "/api/streams",
            {**added, "stream_id": "b", "source": {"password": ["CANARY"]}},
        ),
        "add odd": ("POST", "/api/streams", {"url": "CANARY:CANARY@cam", "stream_id": "odd"}),
        "change wrong": (
            "PATCH",
            "/api/streams/wrong",
            {"source": {"token": "", "password": {"x": "CANARY"}}},
        ),
        "change": ("PATCH", "/api/streams/wrong", {"source": {"password": "CANARY other"}}),
        "probe": ("POST", "/api/probe", {"url": entries["good-quoted-url"]["url"]}),
        "probe wrong": ("POST", "/api/probe", {**added, "source": {**QUICK, **added["source"]}}),
        "reload": ("POST", "/api/reload", {}),
    }
    for name, (method, path, body) in ask.items():
        shown[name] = running.http.request(method, path, json=body).text
    for name in ("wrong", "added"):
        running.wait(lambda name=name: running.stream(name)["detail"])
    paths = [
        *API_PATHS,
        *(f"/api/streams/{name}{more}" for name in entries for more in ("", "/timeline", "/overlay")),
    ]
    for path in (*paths, *FREE_PATHS):
        shown[path] = running.http.get(path).text
    with (
        running.http.stream("GET", "/api/live?focus=good-plain-url") as live,
        contextlib.suppress(httpx.ReadTimeout),
    ):
        shown["/api/live"] = "".join(line for line, _ in zip(live.iter_lines(), range(40), strict=False))
    for number in (running.process.pid, *children(running.process.pid)):
        shown[f"process {number}"] = Path(f"/proc/{number}/cmdline").read_text()
    return messages, shown, running.stop()


async def published(endpoint: str) -> str:
    """What subscribers get, raw."""
    texts = []
    async with ovstream.subscribe(endpoint, start="oldest") as messages, asyncio.timeout(20):
        async for message in messages:
            texts.append(repr(message))
            if len(texts) >= 40:
                break
    return "\n".join(texts)


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize(
    "name",
    ["wrong", "wrong-ffmpeg", "wrong-whep", "nowhere", "no-tls", "closed", "closed-http", "closed-rtmp"],
)
async def test_an_error_has_no_credential_in_it(units: list[SentUnit], tmp_path: Path, name: str) -> None:
    """Not in its text, its causes, its pickle, nor in what is alive in its frames: some reporters send those, too."""
    async with World(units, tmp_path).running() as world:
        entry = world.streams()[name]
        config = SourceConfig.model_validate(
            {**QUICK, "open_timeout_seconds": 1 if name == "no-tls" else 5, **entry.get("source", {})}
        )
        source = open_source(entry["url"], config=config)
        del entry
        with pytest.raises(SourceError) as caught:
            await anext(source.units())
    error = caught.value
    own = [one for one in traceback.walk_tb(error.__traceback__) if "/ovstream/" in one[0].f_code.co_filename]
    frames = [repr(frame.f_locals) for frame, _ in own]
    texts = [
        str(error),
        repr(error),
        repr(source),
        repr(config),
        repr(error.__cause__),
        repr(error.__context__),
    ]
    texts += [pickle.dumps(one).decode("latin-1") for one in (error, source.stats)]
    assert canaries("\n".join([*texts, *frames])) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "streams: [{url: 'rtsp://CANARY:CANARY@cam/1', stream_id: a, source: {password: [CANARY]}}]",
        "streams: [{url: 'rtsp://CANARY:CANARY@cam/1', stream_id: a, source: {usrname: CANARY}}]",
        "streams: [{url: {CANARY: 1}, stream_id: a}]",
        "streams: []\nservice: {http: {token: CANARY}}",
        "streams: []\nservice: {http: {host: 0.0.0.0, token: CANARY-of-enough-letters, port: 99999}}",
        "streams: [{url: x, stream_id: a, sinks: [{type: webhook, url: 'http://CANARY:CANARY@x/', token: [CANARY]}]}]",
        "streams: [{url: x, stream_id: a, source: {password: CANARY, password_file: CANARY-is-a-name}}]",
    ],
)
def test_a_file_that_is_wrong_is_told_about_without_its_secrets(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "ovstream.yaml"
    file.write_text(wrong.replace("CANARY-is-a-name", "name"))
    done = CliRunner().invoke(app, ["config", "check", str(file)])
    assert canaries(done.output + repr(done.exception)) == []


def test_the_text_of_options_has_no_credential_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVSTREAM_SOURCE__TOKEN", "CANARY of the environment")
    url = f"rtsp://{USER}:{PASSWORD}@cam/1?token=CANARY"
    config = stream_config(
        url, username=USER, password=PASSWORD, sinks=[{"type": "webhook", "url": "http://CANARY@x"}]
    )
    texts = [
        repr(config),
        str(config),
        repr(config.source),
        config.source.model_dump_json(exclude={"username"}),
    ]
    assert canaries("\n".join(texts)) == []
