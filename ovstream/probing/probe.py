"""Receives a stream for some seconds and reports about it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ovstream.config import SourceConfig, stream_config
from ovstream.errors import ConfigError, SourceTimeout
from ovstream.probing.judge import judge
from ovstream.probing.measure import Anatomy, Pace
from ovstream.probing.report import ProbeReport
from ovstream.sources import Source, open_source
from ovstream.types import AccessUnit, EventKind

DEFAULT_SECONDS = 10.0
# A file is read faster than a camera sends: it is bounded by its own clock, and by pictures without one.
MAX_PICTURES = 3000
_OPENINGS = 2  # our own client, then FFmpeg


async def probe(
    url: str | Path,
    *,
    seconds: float = DEFAULT_SECONDS,
    on_progress: Callable[[float], None] | None = None,
    **options: Any,
) -> ProbeReport:
    """Looks at what a camera or file sends, and judges how well compressed-domain analysis will work on it.

    Nothing is decoded. Longer looks see longer GOPs: with `seconds` below two keyframe distances the report
    cannot tell them.

    Args:
        url: Anything that `ovstream.open` takes.
        seconds: How much of the stream to look at; it may end earlier.
        on_progress: Called in the event loop with the share done, 0..1.
        **options: Of `SourceConfig`, flat; others of `StreamConfig` are checked and not used.

    Raises:
        ConfigError: An option makes no sense.
        SourceError: The source cannot be opened, or sends no picture in time; the kind says why.
    """
    config = _source_config(str(url), options)
    if str(url).lower().startswith("whip:"):
        raise ConfigError("whip: waits for somebody who publishes: there is no camera to look at")
    told: list[tuple[EventKind, str]] = []
    source = open_source(str(url), config=config, on_event=lambda kind, detail: told.append((kind, detail)))
    pace, anatomy = Pace(), Anatomy()
    to_parse: SimpleQueue[AccessUnit | None] = SimpleQueue()
    parsing = asyncio.create_task(asyncio.to_thread(_parse, to_parse, anatomy, config.max_pixels))
    started = time.monotonic()
    codec, opened_seconds = "", 0.0
    try:
        patience = seconds + _OPENINGS * config.open_timeout_seconds
        async with asyncio.timeout(patience) as limit, aclosing(source.units()) as units:
            async for unit in units:
                if not codec:
                    opened_seconds = time.monotonic() - started
                    limit.reschedule(asyncio.get_running_loop().time() + seconds if source.live else None)
                codec = unit.codec
                pace.add(unit)
                to_parse.put(unit)
                if on_progress is not None:
                    on_progress(min(_done_seconds(source, pace, started + opened_seconds) / seconds, 1.0))
                if not source.live and (pace.span_seconds >= seconds or len(pace.sizes) >= MAX_PICTURES):
                    break
    except TimeoutError:
        pass  # a camera has no end
    finally:
        to_parse.put(
            None
        )  # first: whoever is cancelled while the source closes must not leave the thread waiting
        await source.aclose()
        await asyncio.shield(parsing)
    if not codec:
        waited = time.monotonic() - started
        raise SourceTimeout(f"{source.name} sent no picture in {waited:.0f} s")
    report = _report(source, pace, anatomy, codec=codec, opened_seconds=opened_seconds)
    return replace(report, findings=judge(report, live=source.live, told=told))


def _source_config(url: str, options: dict[str, Any]) -> SourceConfig:
    """Flat names mean the source, whatever other sections call theirs."""
    own = {name: value for name, value in options.items() if name in SourceConfig.model_fields}
    others = {name: value for name, value in options.items() if name not in own}
    if own:
        given = others.pop("source", {})
        if isinstance(given, SourceConfig):
            given = given.model_dump(include=given.model_fields_set)
        if not isinstance(given, Mapping):
            raise ConfigError("option source: is a section; give it a mapping")
        others["source"] = {**given, **own}
    config = stream_config(url, **others).source
    return config.model_copy(update={"keep_trying": False})  # who looks wants to know what is wrong


def _parse(units: SimpleQueue[AccessUnit | None], anatomy: Anatomy, max_pixels: int) -> None:
    """Parses beside receiving: a slow parser must not look like a slow network."""
    while (unit := units.get()) is not None:
        anatomy.add(unit, max_pixels=max_pixels)


def _done_seconds(source: Source, pace: Pace, first: float) -> float:
    return time.monotonic() - first if source.live else pace.span_seconds


def _report(
    source: Source, pace: Pace, anatomy: Anatomy, *, codec: str, opened_seconds: float
) -> ProbeReport:
    fps = pace.fps
    gop = statistics.median(pace.gops) if pace.gops else None
    return ProbeReport(
        name=source.name,
        seconds=pace.seconds,
        pictures=len(pace.sizes),
        open_seconds=opened_seconds,
        codec=codec,
        profile=anatomy.profile,
        level=anatomy.level,
        width=anatomy.width,
        height=anatomy.height,
        fps=fps,
        bitrate_kbps=pace.bitrate_kbps,
        gop_pictures=gop,
        gop_seconds=gop / fps if gop is not None and fps else None,
        gop_varies=pace.gop_varies,
        gop_structure=anatomy.structure,
        keyframe_share=pace.keyframe_share,
        b_frames=anatomy.b_frames,
        slices_per_picture=anatomy.slices,
        qp=_mean(anatomy.qps),
        skip_share=_mean(anatomy.skips),
        intra_share=_mean(anatomy.intras),
        motion_px=_mean(anatomy.motions),
        parsed=not anatomy.unparsed_reason,
        unparsed_reason=anatomy.unparsed_reason,
        clock=pace.clock if source.live else "none",
        clock_offset_seconds=statistics.median(pace.offsets_seconds) if pace.offsets_seconds else None,
        jitter_ms=pace.jitter_ms if source.live else None,
        lost=source.stats.lost,
        dropped=source.stats.dropped,
        reconnects=source.stats.reconnects,
    )


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
