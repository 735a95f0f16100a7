"""Traces of access units in OpenTelemetry (extra `otel`); imported where a stream asks for traces, and only there.

access_unit
├─ wait       from the arrival of the last byte until its turn
├─ parse
├─ plan
├─ decode     where the plan needs pixels
├─ crop       likewise
├─ encode     likewise
├─ health, watch
└─ publish    to sinks and readers
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ovstream.errors import MissingExtraError
from ovstream.pipeline.stats import StreamStats
from ovstream.types import AccessUnit, Embedding


class TracedStats(StreamStats):
    """Counters that also note when each stage ran, while a unit is traced."""

    __slots__ = ("spans",)
    spans: list[tuple[str, int, int]] | None

    def __init__(self) -> None:
        super().__init__()
        self.spans = None  # (stage, start, end) in nanoseconds, Unix

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """See `StreamStats`."""
        began = time.time_ns()
        try:
            with super().clock(stage):
                yield
        finally:
            if self.spans is not None:
                self.spans.append((stage, began, time.time_ns()))


@dataclass(slots=True)
class UnitTrace:
    """One access unit on its way.

    Attributes:
        unit: What came.
        began_ns: Unix, of its arrival.
        spans: As in `TracedStats`.
        results: Embeddings that it gave.
    """

    unit: AccessUnit
    began_ns: int
    spans: list[tuple[str, int, int]] = field(default_factory=list)
    results: int = 0
    action: str = "skip"


class UnitTracer:
    """Makes a trace of some of the access units of one stream.

    Where the application has set up OpenTelemetry, its provider gets the spans. Else one is set up here, whose OTLP
    exporter (HTTP) is told by the standard variables where to send them: `OTEL_EXPORTER_OTLP_ENDPOINT`,
    `OTEL_SERVICE_NAME`, ...

    Args:
        stream_id: Attribute of every trace.
        share: Of the units, 0 to 1.
        stats: Gets told when to note.

    Raises:
        MissingExtraError: OpenTelemetry is not installed.
    """

    def __init__(self, stream_id: str, *, share: float, stats: TracedStats) -> None:
        try:
            self._tracer, self._context = _tracer()
        except ImportError:
            raise MissingExtraError("opentelemetry-sdk", extra="otel") from None
        self._stream_id = stream_id
        self._share = share
        self._stats = stats

    def begin(self, unit: AccessUnit) -> UnitTrace | None:
        """Begins the trace of a unit whose turn it is; None: this one is not traced."""
        if random.random() >= self._share:
            return None
        now = time.time_ns()
        waited = time.monotonic_ns() - unit.arrival_ns if unit.arrival_ns else 0
        trace = UnitTrace(unit, now - waited, [("wait", now - waited, now)])
        self._stats.spans = trace.spans
        return trace

    def worked(self, trace: UnitTrace, results: list[Embedding]) -> int:
        """The stages are done; returns the time, which `end` wants back."""
        self._stats.spans = None
        trace.results = len(results)
        if results:
            trace.action = results[-1].action
        return time.time_ns()

    def end(self, trace: UnitTrace, worked_ns: int) -> None:
        """The results are out: hands the spans over."""
        now = time.time_ns()
        trace.spans.append(("publish", worked_ns, now))
        unit = trace.unit
        root = self._tracer.start_span(
            "access_unit",
            start_time=trace.began_ns,
            attributes={
                "ovstream.stream_id": self._stream_id,
                "ovstream.codec": unit.codec,
                "ovstream.keyframe": unit.keyframe,
                "ovstream.bytes": len(unit.data),
                "ovstream.results": trace.results,
                "ovstream.action": trace.action,
            },
        )
        context = self._context(root)
        for stage, began, ended in trace.spans:
            self._tracer.start_span(stage, context=context, start_time=began).end(ended)
        root.end(now)


def _tracer() -> tuple[Any, Any]:
    """The tracer, and what makes a context of a span."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # nobody has set one up
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = Resource({"service.name": "ovstream"}).merge(OTELResourceDetector().detect())
        provider = TracerProvider(resource=named)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    return trace.get_tracer("ovstream"), trace.set_span_in_context
