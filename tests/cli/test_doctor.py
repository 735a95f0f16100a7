"""`ovstream doctor ADDRESS`: what is wrong with a running service, and how to mend it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner

from ovstream.cli.app import app
from ovstream.cli.complaints import Complaint, complaints
from ovstream.config import StreamConfig
from ovstream.service.supervisor import Supervisor
from ovstream.service.views import camera_view, service_view
from ovstream.sources import MemorySource
from tests.service.test_parts import until

Views = tuple[dict[str, Any], list[dict[str, Any]]]


async def views() -> Views:
    """What the API of a real service tells: one stream paused, one that nobody sends pictures for."""
    streams = [
        StreamConfig.model_validate({"url": "x", "stream_id": "paused", "supervise": {"paused": True}}),
        StreamConfig.model_validate({"url": "rtsp://a:b@camera/x", "stream_id": "silent"}),
    ]
    async with Supervisor(streams=streams, open_source=lambda _: MemorySource([])) as supervisor:
        await until(lambda: supervisor.cameras["silent"].state == "ended")
        cameras = [camera_view(supervisor, camera) for camera in supervisor.cameras.values()]
        return service_view(supervisor), cameras


def one(found: list[Complaint], word: str) -> Complaint:
    (complaint,) = [one for one in found if word in one.what]
    assert complaint.remedy
    return complaint


async def test_a_service_that_is_well_has_no_complaint() -> None:
    service, streams = await views()
    assert complaints(service, streams, now=time.time()) == []


@pytest.mark.parametrize(
    ("changes", "word", "bad"),
    [
        ({"state": "failed", "detail": "no such model"}, "given up: no such model", True),
        ({"state": "waiting", "detail": "nothing listens"}, "no picture comes: nothing listens", True),
        ({"quarantined": True, "crashes": 2}, "crashed 2 times", True),
        ({"conditions": ["frozen", "infrared"]}, "again and again", False),  # night is no fault
        ({"fallback": True, "codec": "mpeg4"}, "no parser reads its mpeg4", False),
        ({"audits": 9, "audits_failed": 3}, "3 of 9 audits", False),
        ({"trained": False}, "untrained", False),
        ({"state": "live"}, "go nowhere", False),
        ({"abandoned_threads": 1}, "hang", False),
        (
            {"totals": {"units": 900, "dropped_for": {"late": 4, "queue": 3, "keyframe": 50}}},
            "7 pictures were",
            False,
        ),
        ({"totals": {"units": 900, "dropped_for": {"reader": 5}}}, "gave way", False),
        ({"totals": {"units": 900, "source_lost": 3}}, "on the way 3 times", False),
        ({"totals": {"units": 900, "parse_errors": 3}}, "damaged", False),
        ({"totals": {"units": 900, "reconnects": 40}}, "connected again 40 times", False),
    ],
)
async def test_each_fault_of_a_stream_is_explained(changes: dict[str, Any], word: str, bad: bool) -> None:
    service, streams = await views()
    found = complaints(service, [streams[0], streams[1] | changes], now=service["started_at"] + 7200)
    complaint = one(found, word)
    assert (complaint.where, complaint.bad, len(found)) == ("silent", bad, 1)


async def test_few_losses_of_many_pictures_are_no_complaint() -> None:
    service, streams = await views()
    totals = {
        "units": 10**6,
        "dropped_for": {"late": 60},
        "source_lost": 9,
        "parse_errors": 9,
        "reconnects": 5,
    }
    assert complaints(service, [streams[1] | {"totals": totals}], now=time.time()) == []


async def test_faults_of_the_whole_come_with_what_is_broken_first() -> None:
    service, streams = await views()
    counts = {"sent": 1, "failed": 0, "dropped": 0, "waiting": 0, "waiting_bytes": 0}
    sinks = [
        {**counts, "name": "refused", "failed": 3},
        {**counts, "name": "full", "dropped": 3},
        {**counts, "name": "away", "waiting": 5000, "waiting_bytes": 3 << 20},
    ]
    ill = {**service, "degraded": 1, "worker_restarts": 2, "sinks": sinks}
    found = complaints(ill, streams, now=time.time())
    assert [complaint.bad for complaint in found] == [True, True, False, False, False]
    assert one(found, "refused 3").where == "sink refused"
    assert one(found, "3 embeddings were lost").where == "sink full"
    assert "3 MB" in one(found, "5000 embeddings wait").what
    assert "bench" in one(found, "the box is full: 1 of 2").remedy
    assert one(found, "ended 2 times").where == "service"


@pytest.fixture
def answers() -> Iterator[tuple[str, dict[str, Any]]]:
    """An address, and what it answers by path."""
    found: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(found[self.path]).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", found
    server.shutdown()
    server.server_close()


async def test_the_verb_tells_it_and_its_status_says_whether_it_is_bad(
    answers: tuple[str, dict[str, Any]],
) -> None:
    address, found = answers
    service, streams = await views()
    found |= {"/api/service": service, "/api/streams": streams}
    run = CliRunner(env={"COLUMNS": "100"})
    well = run.invoke(app, ["doctor", address])
    assert (well.exit_code, "All is well" in well.output) == (0, True)
    found["/api/streams"] = [streams[1] | {"state": "waiting", "detail": "nothing [listens]"}]
    ill = run.invoke(app, ["doctor", address])
    assert ill.exit_code == 1
    assert "silent: no picture comes: nothing [listens]" in ill.output
    assert "ovstream probe rtsp://" in ill.output
    assert "a:b@" not in ill.output
