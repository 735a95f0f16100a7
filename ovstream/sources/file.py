"""Video files: containers and raw streams, demuxed by FFmpeg."""

from __future__ import annotations

from pathlib import Path

from ovstream.config import SourceConfig
from ovstream.errors import SourceNotFound, SourceProtocolError
from ovstream.sources.base import OnEvent, ignore_event
from ovstream.sources.demux import Demuxer, Sample
from ovstream.sources.pacing import Pacer
from ovstream.sources.worker import ThreadedSource, Timed, Worker
from ovstream.types import AccessUnit

# No playlists and no network: a file must not make us read other files or talk to hosts.
CONTAINERS = "mov,matroska,webm,mpegts,mpeg,avi,flv,ivf,h264,hevc,obu,m4v,mjpeg,asf,ogg,mxf"
FILE_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
# Short raw streams are not always recognised by their content.
RAW_FORMATS = dict.fromkeys((".264", ".h264", ".avc", ".26l", ".jvt", ".jsv"), "h264") | dict.fromkeys(
    (".265", ".h265", ".hevc"), "hevc"
)


class FileSource(ThreadedSource):
    """Reads a file, at camera speed or as fast as the consumer takes it, once or for ever.

    Raw streams (`.264`, `.265`) carry no time stamps: their `pts` counts pictures in coded order by the frame
    rate of the stream's own timing information, 25/s where there is none.

    Args:
        path: The file.
        config: Uses `pace`, `loop`, `queue_units`, `max_pixels`.
        on_event: Called in the consumer's event loop.
        pacer: Clock of `pace="realtime"`.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        config: SourceConfig | None = None,
        on_event: OnEvent = ignore_event,
        pacer: Pacer | None = None,
    ) -> None:
        self._config = config or SourceConfig()
        super().__init__(
            str(path),
            queue_units=self._config.queue_units,
            pacer=(pacer or Pacer()) if self._config.pace == "realtime" else None,
            on_event=on_event,
        )
        self._path = Path(path)

    def _read(self, worker: Worker[Timed]) -> None:
        if not self._path.is_file():
            raise SourceNotFound(f"{self.name} is not a file{_instead(self._path)}")
        offset, again = 0, False
        while True:
            with self._open() as demuxer:
                if not again:
                    self._emit(worker, "connected", f"{self.name}: {demuxer.description}")
                end = self._read_once(worker, demuxer, offset, again)
            if end is None:
                raise SourceProtocolError(f"{self.name} contains no pictures")
            if not self._config.loop:
                return
            offset, again = end, True

    def _open(self) -> Demuxer:
        try:
            return self._open_as(None)
        except SourceProtocolError:
            raw = RAW_FORMATS.get(self._path.suffix.lower())
            if raw is None:
                raise
        return self._open_as(raw)

    def _open_as(self, format: str | None) -> Demuxer:
        return Demuxer(
            f"file:{self._path}",
            name=self.name,
            format=format,
            options=FILE_OPTIONS,
            max_pixels=self._config.max_pixels,
        )

    def _read_once(self, worker: Worker[Timed], demuxer: Demuxer, offset: int, again: bool) -> int | None:
        """Reads to the end; returns the pts where the next pass begins, None without a picture.

        Each pass but the first is moved so that its first picture stands at `offset`.
        """
        shift: int | None = None if again else 0
        end: int | None = None
        for sample in demuxer.samples():
            if sample is None:
                continue
            first = end is None
            if shift is None:
                shift = offset - sample.pts
            self._report(worker, sample)
            discontinuity = sample.damaged or (again and first)
            unit = to_unit(sample, demuxer, pts=sample.pts + shift, discontinuity=discontinuity)
            worker.put(Timed(unit, float((sample.dts + shift) * demuxer.time_base)))
            end = max(sample.pts + shift + sample.duration, end or 0)
        if demuxer.ends_damaged:
            self._report_damage(worker)
        return end

    def _report_damage(self, worker: Worker[Timed]) -> None:
        self.stats.lost += 1
        self._emit(worker, "lost", f"{self.name}: damaged data")

    def _report(self, worker: Worker[Timed], sample: Sample) -> None:
        if sample.damaged:
            self._report_damage(worker)
        if sample.params_changed:
            self._emit(worker, "params", f"{self.name}: parameter sets changed")


def _instead(path: Path) -> str:
    """What a path is that is no file, where that helps."""
    if path.is_dir():
        return " but a folder"
    if path.is_fifo() or str(path) == "-":
        return " but a pipe: name the file, or send what is live by tcp:// or udp://"
    return "" if path.exists() else ": there is nothing of that name"


def to_unit(sample: Sample, demuxer: Demuxer, *, pts: int, discontinuity: bool) -> AccessUnit:
    """Makes the access unit of a sample that has no clock."""
    return AccessUnit(
        codec=demuxer.codec,
        data=sample.data,
        pts=pts,
        time_base=demuxer.time_base,
        keyframe=sample.keyframe,
        discontinuity=discontinuity,
        params_changed=sample.params_changed,
        arrival_ns=sample.arrival_ns,
        extradata=demuxer.extradata,
    )
