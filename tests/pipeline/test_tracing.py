"""Traces of access units: what is in them, and that nothing of it is there where nobody asked."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import ovstream
from ovstream.config import stream_config
from ovstream.errors import MissingExtraError
from ovstream.pipeline import Stream

URL = "synthetic:?seconds=1&width=320&height=192"


@pytest.fixture(scope="module")
def exporter() -> Iterator[Any]:
    """Keeps the spans in memory; OpenTelemetry has one provider for the process."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    trace.set_tracer_provider(provider)
    yield found
    provider.shutdown()


async def traced(share: float, exporter: Any) -> list[Any]:
    exporter.clear()
    async with ovstream.open(URL, stream_id="cam", trace={"share": share}) as stream:
        await stream.run()
    return list(exporter.get_finished_spans())


async def test_every_unit_has_its_stages_in_order(exporter: Any) -> None:
    spans = await traced(1.0, exporter)
    roots = [one for one in spans if one.name == "access_unit"]
    assert len(roots) == 25
    assert {one.attributes["ovstream.stream_id"] for one in roots} == {"cam"}
    assert roots[0].attributes["ovstream.action"] == "dense"
    first = [
        one for one in spans if one.parent is not None and one.parent.span_id == roots[0].context.span_id
    ]
    first.sort(key=lambda one: one.start_time)
    names = [one.name for one in first]
    stages = [
        name for name in names if name in ("wait", "parse", "plan", "decode", "crop", "encode", "publish")
    ]
    assert stages == ["wait", "parse", "plan", "decode", "crop", "encode", "publish"]
    for one in first:
        assert roots[0].start_time <= one.start_time <= one.end_time <= roots[0].end_time
    quiet = [one for one in roots if one.attributes["ovstream.action"] == "skip"]
    for root in quiet:
        inside = {
            one.name for one in spans if one.parent is not None and one.parent.span_id == root.context.span_id
        }
        assert "encode" not in inside


async def test_a_share_is_sampled(exporter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter([0.0, *[0.9] * 11] * 10)
    monkeypatch.setattr("ovstream.pipeline.tracing.random.random", lambda: next(numbers))
    spans = await traced(0.1, exporter)
    assert sum(one.name == "access_unit" for one in spans) == 3


def test_off_costs_nothing_and_imports_nothing() -> None:
    script = (
        "import sys, ovstream\n"
        f"print(sum(1 for _ in ovstream.iterate({URL!r})))\n"
        "assert 'ovstream.pipeline.tracing' not in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    stream = Stream(stream_config(URL))
    assert type(stream.stats).__name__ == "StreamStats", "the counters are those without traces, to the byte"


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match=r"ovstream-edge\[otel\]"):
        ovstream.open(URL, trace={"share": 1.0})


class Collector:
    """Takes OTLP over HTTP, and answers as the protocol says; keeps what it was told."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
            ExportTraceServiceResponse,
        )

        self.spans: list[tuple[dict[str, str], Any]] = []  # attributes of the resource, span
        told = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers["content-encoding"] == "gzip":
                    body = gzip.decompress(body)
                for one in ExportTraceServiceRequest.FromString(body).resource_spans:
                    about = {known.key: known.value.string_value for known in one.resource.attributes}
                    told.extend((about, span) for scope in one.scope_spans for span in scope.spans)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Collector:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_a_collector_gets_whole_traces_over_otlp() -> None:
    """In a process of its own: OpenTelemetry has one provider for the process, and sends the last spans at its end."""
    script = f"import ovstream\nprint(len(list(ovstream.iterate({URL!r}, stream_id='cam', trace={{'share': 1.0}}))))\n"
    with Collector() as collector:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_SERVICE_NAME": "cameras"}
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert (done.returncode, done.stdout) == (0, "25\n"), done.stderr
    assert {about["service.name"] for about, _ in collector.spans} == {"cameras"}
    spans = [span for _, span in collector.spans]
    roots = {span.span_id: span for span in spans if span.name == "access_unit"}
    assert len(roots) == 25
    for span in spans:
        if span.span_id not in roots:
            root = roots[span.parent_span_id]
            assert span.trace_id == root.trace_id
            assert root.start_time_unix_nano <= span.start_time_unix_nano <= root.end_time_unix_nano
    assert {"parse", "plan", "decode", "encode", "publish"} <= {span.name for span in spans}
    attributes = {one.key: one.value for one in next(iter(roots.values())).attributes}
    assert attributes["ovstream.stream_id"].string_value == "cam"
    assert attributes["ovstream.bytes"].int_value > 0
