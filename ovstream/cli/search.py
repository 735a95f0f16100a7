"""`ovstream search`: the kept moments that look most like a picture, a clip, or another moment."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from ovstream.cli.console import console
from ovstream.cli.moments import parse_time, read_picture
from ovstream.cli.timeline import Lane, draw_timeline
from ovstream.config import PRIVATE
from ovstream.encode import load_encoder
from ovstream.errors import ConfigError
from ovstream.pipeline import iterate
from ovstream.store import Match, Query, VectorStore, open_store, search_occasions
from ovstream.types import FloatArray, Kind

_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
_BAR = 12


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What to look for: a vector, whose weights made it, and words for it."""

    vector: FloatArray
    model_digest: str
    words: str


def search(
    store: Annotated[
        str,
        typer.Argument(
            help="Folder of a store (a sink of type 'store' fills it); or lancedb:FOLDER, qdrant:URL, qdrant:FOLDER."
        ),
    ],
    like: Annotated[
        str,
        typer.Option(
            help="What to look for: a picture, a video file, or STREAM@TIME (a kept moment; "
            "TIME is 'last', an age such as 10m, or 2026-05-01T12:30).",
        ),
    ],
    streams: Annotated[
        str | None, typer.Option(help="Only these streams, separated by commas.", show_default="all")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Not before: 2h, 7d, or a date.", show_default="any")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before: likewise.", show_default="now")] = None,
    count: Annotated[int, typer.Option("--count", "-k", help="At most so many moments.", min=1)] = 10,
    apart: Annotated[
        float, typer.Option(help="Seconds between two moments of one stream, to be told apart.", min=0)
    ] = 10.0,
    event: Annotated[
        bool, typer.Option("--event", help="Compare what changed instead of the scene.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(help="Model for pictures and clips; must be the store's.", show_default="the store's"),
    ] = None,
    png: Annotated[
        Path | None, typer.Option(help="Draw the similarity over time into this file.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON per moment.")] = False,
) -> None:
    """Finds the kept moments that are most like something.

    ovstream search store --like entrance@10m --since 7d
    ovstream search store --like van.jpg --streams entrance,car-park --png found.png
    ovstream search qdrant:http://127.0.0.1:6333 --like clip.mp4     # key: OVSTREAM_QDRANT_API_KEY
    """
    now_ns = time.time_ns()
    kind: Kind = "event" if event else "scene"
    with contextlib.closing(_open(store)) as opened:
        wanted = _wanted(opened, like, kind, model, now_ns)
        query = Query(
            streams=None if streams is None else tuple(name.strip() for name in streams.split(",")),
            since_ns=None if since is None else parse_time(since, now_ns),
            until_ns=None if until is None else parse_time(until, now_ns),
            kind=kind,
            model_digest=wanted.model_digest,
        )
        found = search_occasions(opened, wanted.vector, k=count, apart_seconds=apart, query=query)
        if as_json:
            for match in found:
                typer.echo(_json_line(match))
        else:
            console.print(_table(found, f"like {wanted.words}"), highlight=False)
        if png is not None:
            _draw(opened, wanted, query, found, png)
            if not as_json:
                console.print(f"drawn: {png}", highlight=False)


def _open(place: str) -> VectorStore:
    kind, mark, where = place.partition(":")
    if mark and kind == "lancedb":
        from ovstream.store.lance import LanceStore

        return LanceStore(where)
    if mark and kind == "qdrant":
        from ovstream.store.qdrant import QdrantStore

        if where.startswith(("http://", "https://")):
            return QdrantStore(where, api_key=os.environ.get("OVSTREAM_QDRANT_API_KEY"))
        return QdrantStore(path=where)
    return open_store(place)


def _wanted(store: VectorStore, like: str, kind: Kind, model: str | None, now_ns: int) -> _Wanted:
    path = Path(like)
    if path.is_file():
        return _from_file(store, path, kind, model)
    stream_id, mark, when = like.rpartition("@")
    if not mark or not stream_id:
        raise ConfigError(f"--like {like}: neither a file nor STREAM@TIME")
    moment = store.nearest_in_time(
        stream_id, now_ns if when == "last" else parse_time(when, now_ns), kind=kind
    )
    if moment is None:
        known = sorted({one.stream_id for one in store.moments(Query(kind=kind))})
        raise ConfigError(
            f"no {kind} of stream '{stream_id}' is kept; there are: {', '.join(known) or 'none'}"
        )
    return _Wanted(moment.vector, moment.model_digest, f"{stream_id} at {_local(moment.time_ns)}")


def _from_file(store: VectorStore, path: Path, kind: Kind, model: str | None) -> _Wanted:
    models = store.models(kind)
    if not models:
        raise ConfigError(f"the store holds no {kind} embeddings")
    name = model or models[-1].model_id
    encoder = load_encoder(name, mode="exact")
    digest = encoder.info.digest
    if digest not in {one.model_digest for one in models}:
        kept = ", ".join(f"{one.model_id} ({one.model_digest})" for one in models)
        raise ConfigError(
            f"the store was filled by {kept}, not by {name} ({digest}): give the folder by --model"
        )
    if path.suffix.lower() in _PICTURES:
        output = encoder.encode_image(read_picture(path))
        return _Wanted(output.scene, digest, path.name)
    vectors = [one.vector for one in iterate(path, encoder=encoder, kinds=(kind,), emit="changes", **PRIVATE)]
    if not vectors:
        raise ConfigError(f"{path}: gave no {kind} embedding")
    unit = [one / max(float(np.linalg.norm(one)), 1e-30) for one in vectors]
    return _Wanted(np.mean(unit, axis=0, dtype=np.float32), digest, path.name)


def _table(found: list[Match], title: str) -> Table:
    table = Table(title=escape(title), title_justify="left", title_style="bold", header_style="dim", box=None)
    for name in ("#", "stream", "time", "similarity", "", "why kept"):
        table.add_column(name, justify="right" if name in ("#", "similarity") else "left", no_wrap=True)
    low = min((one.similarity for one in found), default=0.0)
    best = max((one.similarity for one in found), default=1.0)
    for number, match in enumerate(found, 1):
        share = (match.similarity - low) / (best - low) if best > low else 1.0
        bar = "━" * max(1, round(share * _BAR))
        moment = match.moment
        table.add_row(
            str(number),
            f"[bold]{moment.stream_id}[/]",
            _local(moment.time_ns),
            f"{match.similarity:.4f}",
            f"[cyan]{bar}[/]",
            moment.reason,
        )
    if not found:
        table.add_row("", "[yellow]nothing is kept of these streams and times[/]")
    return table


def _draw(store: VectorStore, wanted: _Wanted, query: Query, found: list[Match], png: Path) -> None:
    """Draws all moments in question, not only the found ones."""
    unit = wanted.vector / max(float(np.linalg.norm(wanted.vector)), 1e-30)
    points: dict[str, list[tuple[float, float]]] = {}
    for one in store.moments(query):
        similarity = float(one.vector @ unit) / max(float(np.linalg.norm(one.vector)), 1e-30)
        points.setdefault(one.stream_id, []).append((one.time_ns / 1e9, similarity))
    marks: dict[str, list[tuple[float, float, str]]] = {name: [] for name in points}
    for number, match in enumerate(found, 1):
        moment = match.moment
        marks[moment.stream_id].append((moment.time_ns / 1e9, match.similarity, str(number)))
    lanes = [Lane(name, tuple(points[name]), tuple(marks[name])) for name in sorted(points)]
    try:
        draw_timeline(lanes, title=f"Similarity to {wanted.words}").save(png)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--png {png}: {error}") from None


def _json_line(match: Match) -> str:
    moment = match.moment
    record = {
        "stream_id": moment.stream_id,
        "time_ns": moment.time_ns,
        "similarity": round(match.similarity, 6),
        "epoch": moment.epoch,
        "seq": moment.seq,
        "pts_seconds": moment.pts_seconds,
        "reason": moment.reason,
        "model_digest": moment.model_digest,
    }
    return json.dumps(record, separators=(",", ":"))


def _local(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9).strftime("%Y-%m-%d %H:%M:%S")
