"""Writes streams into recordings of the Rerun viewer: video packets, changed patches, embeddings over time."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ovstream.errors import ConfigError, MissingExtraError
from ovstream.sinks.base import Sink
from ovstream.types import AccessUnit, Embedding, FloatArray, SinkCounts, StreamEvent

if TYPE_CHECKING:
    import rerun

_CODECS = {"h264": "H264", "h265": "H265", "vp8": "VP8", "vp9": "VP9", "av1": "AV1"}
_TOKENS = "tokens"


@dataclass(slots=True, eq=False)
class _Log:
    """The open recording of one stream."""

    recording: rerun.RecordingStream
    opened_at: float
    codec: str = ""
    last: FloatArray | None = None


class RerunSink(Sink):
    """Fills a folder with `.rrd` files, one after the other for each stream; each begins with a keyframe.

    | entity | holds |
    |---|---|
    | `/STREAM/video` | the packets as they came; the viewer decodes them |
    | `/STREAM/changed` | (rows, cols) 1 where a patch was encoded |
    | `/STREAM/embedding` | the vector |
    | `/STREAM/score/novelty` | cosine distance to the vector before |
    | `/STREAM/score/keep_ratio`, `drift` | as in the embedding |
    | `/STREAM/events` | what happened, as text |

    Timelines are `time` (wall clock) and `pts`. Packets and embeddings of one picture have the same `pts`.

    Args:
        path: Folder; made when missing.
        rotate_seconds: Age at which a file is followed by another.
        video: Keep the packets; false: embeddings alone, a hundredth of the size.

    Raises:
        MissingExtraError: Without the package `rerun-sdk`.
        ConfigError: The folder cannot be made.
    """

    def __init__(self, path: Path, *, rotate_seconds: float = 3600.0, video: bool = True) -> None:
        try:
            import rerun
        except ImportError:
            raise MissingExtraError("rerun-sdk", extra="rerun") from None
        if rotate_seconds <= 0:
            raise ConfigError("rotate_seconds must be positive")
        self._path = Path(path)
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make {path}: {error.strerror}") from None
        self._rr = rerun
        self._rotate_seconds = rotate_seconds
        self._video = video
        self._logs: dict[str, _Log] = {}
        self._sent = 0

    @property
    def counts(self) -> SinkCounts:
        """Embeddings written."""
        return SinkCounts(sent=self._sent)

    def packet(self, stream_id: str, unit: AccessUnit) -> None:
        """Writes a compressed picture; the first of a file is a keyframe."""
        log = self._logs.get(stream_id)
        if unit.keyframe and (log is None or time.monotonic() - log.opened_at > self._rotate_seconds):
            log = self._open(stream_id)
        if log is None or not self._video or unit.codec not in _CODECS:
            return
        if log.codec != unit.codec:
            if not unit.keyframe:
                return
            log.codec = unit.codec
            codec = getattr(self._rr.VideoCodec, _CODECS[unit.codec])
            log.recording.log(f"{stream_id}/video", self._rr.VideoStream(codec), static=True)
        self._at(log, time.time_ns(), unit.pts_seconds)
        packet = self._rr.VideoStream.from_fields(sample=unit.data, is_keyframe=unit.keyframe)
        log.recording.log(f"{stream_id}/video", packet)

    def publish(self, embedding: Embedding) -> None:
        """Writes one embedding."""
        name, rr = embedding.stream_id, self._rr
        log = self._logs.get(name) or self._open(name)
        self._at(log, embedding.publish_time_ns, embedding.pts_seconds)
        self._sent += 1
        if embedding.kind == _TOKENS:
            log.recording.log(f"{name}/tokens", rr.Tensor(embedding.vector.astype(np.float16)))
            return
        log.recording.log(f"{name}/changed", rr.SegmentationImage(embedding.changed.astype(np.uint8)))
        log.recording.log(f"{name}/embedding", rr.Tensor(embedding.vector))
        scores = {
            "keep_ratio": embedding.keep_ratio,
            "drift": embedding.drift,
            "novelty": _away(log.last, embedding),
        }
        for score, value in scores.items():
            if value is not None:
                log.recording.log(f"{name}/score/{score}", rr.Scalars(value))
        log.last = embedding.vector

    def event(self, event: StreamEvent) -> None:
        """Writes what happened."""
        log = self._logs.get(event.stream_id)
        if log is not None:
            self._at(log, time.time_ns(), None)
            text = self._rr.TextLog(f"{event.kind}: {event.detail}")
            log.recording.log(f"{event.stream_id}/events", text)

    def end(self, stream_id: str) -> None:
        """Ends the file of a stream."""
        log = self._logs.pop(stream_id, None)
        if log is not None:
            log.recording.flush()
            log.recording.disconnect()

    def close(self) -> None:
        """Ends all files."""
        for stream_id in list(self._logs):
            self.end(stream_id)

    def _open(self, stream_id: str) -> _Log:
        self.end(stream_id)
        recording = self._rr.RecordingStream("ovstream")
        name = re.sub(r"[^A-Za-z0-9._-]", "_", stream_id)
        started = datetime.now(UTC)
        recording.save(self._path / f"{name}-{started:%Y%m%dT%H%M%S%f}Z.rrd")
        self._logs[stream_id] = log = _Log(recording, time.monotonic())
        return log

    @staticmethod
    def _at(log: _Log, time_ns: int, pts_seconds: float | None) -> None:
        log.recording.reset_time()
        log.recording.set_time("time", timestamp=np.datetime64(time_ns, "ns"))
        if pts_seconds is not None:
            log.recording.set_time("pts", duration=pts_seconds)


def _away(before: FloatArray | None, embedding: Embedding) -> float | None:
    """Cosine distance to the vector before; None for the first."""
    vector = embedding.vector
    if before is None or before.shape != vector.shape:
        return None
    lengths = float(np.linalg.norm(before) * np.linalg.norm(vector))
    return 1.0 - float(before @ vector) / lengths if lengths else None
