"""Live streams through FFmpeg: RTSP and whatever else it can open. One thread per stream."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterable

import av

from ovstream.config import SourceConfig
from ovstream.errors import ConfigError, SourceAuthError, SourceError, SourceNotFound, SourceTimeout
from ovstream.rtp.clock import MAX_OFFSET_NS
from ovstream.sources.base import OnEvent, ignore_event
from ovstream.sources.continuity import Continuity
from ovstream.sources.credentials import credentials
from ovstream.sources.demux import Demuxer, Sample
from ovstream.sources.ffmpeg_errors import host_is_unknown
from ovstream.sources.gate import KeyframeGate
from ovstream.sources.interrupt import ended_when
from ovstream.sources.parameter_sets import ParameterSets
from ovstream.sources.retry import Retry, unexpected
from ovstream.sources.timeline import Timeline
from ovstream.sources.urls import CameraUrl, parse_url, redact_url
from ovstream.sources.worker import ReadingStopped, ThreadedSource, Timed, Worker
from ovstream.types import AccessUnit

# Never "file": a playlist or a redirect must not reach local files.
PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto,hls,rtmp,rtmps,srt"
STUCK = 4  # times the time limit of a read
UDP_BUFFER_BYTES = 4 * 1024 * 1024
RTMP_LISTENS = re.compile(r"\?listen=1$")
TLS_SCHEMES = frozenset({"rtsps", "https", "rtmps"})


class FFmpegSource(ThreadedSource):
    """Receives a camera and never gives it up.

    The first connection attempt raises its error unless `config.keep_trying`; after one success every failure
    leads to another attempt, with growing pauses. Each new connection counts `epoch` up and starts at a keyframe
    with `discontinuity` set.

    Closing ends whatever FFmpeg is waiting for, a handshake too. FFmpeg hides lost packets of RTSP: missing pictures are
    found by `Continuity`, missing beginnings by `PieceAssembler`, other damage inside of a picture is not.

    Args:
        url: Any URL that FFmpeg opens, or `/dev/video0`.
        config: Uses all but `pace` and `loop`.
        on_event: Called in the consumer's event loop.
    """

    live = True

    def __init__(
        self,
        url: str,
        *,
        config: SourceConfig | None = None,
        on_event: OnEvent = ignore_event,
    ) -> None:
        self._config = config or SourceConfig()
        super().__init__(redact_url(url), queue_units=self._config.queue_units, on_event=on_event)
        self._url = parse_url(url) if "://" in url else CameraUrl("v4l2", None, None, url)
        if self._config.tls_fingerprint is not None and self._url.scheme in TLS_SCHEMES:
            raise ConfigError("FFmpeg cannot check tls_fingerprint: use backend 'native', or tls_ca_file")
        self._gate = KeyframeGate(self.stats)
        self._timeline = Timeline()
        self._epoch = 0
        self._last_pts: int | None = None
        self._connected_before = False
        self._parameter_sets: ParameterSets | None = None
        self._extradata: bytes | None = None

    def _read(self, worker: Worker[Timed]) -> None:
        retry = Retry(self._config)
        while True:
            failure = self._connection(worker)
            worker.wait(0)
            if failure is None:
                return
            pause_seconds = retry.pause_seconds(
                failure,
                connected=self._connected_before,
                last_arrival_ns=self._timeline.last_arrival_ns,
            )
            self._emit(worker, "reconnecting", f"{failure}; next attempt in {pause_seconds:.1f} s")
            worker.wait(pause_seconds)

    def _connection(self, worker: Worker[Timed]) -> SourceError | None:
        """Connects once and reads until it breaks; returns why, None at the end of a finite stream."""
        try:
            with (
                self._open(worker) as demuxer,
                ended_when(lambda: worker.stopped or self._is_stuck(demuxer)),
            ):
                self._joined(worker, demuxer)
                self._receive(worker, demuxer)
                if demuxer.finite and self._url.scheme in ("http", "https"):
                    return None
                return SourceError(f"{self.name} ended the stream")
        except SourceError as error:
            return error.with_traceback(None)  # its frames know the password
        except (ConfigError, ReadingStopped):
            raise
        except Exception as error:
            return unexpected(self.name, error)

    def _open(self, worker: Worker[Timed]) -> Demuxer:
        options, format = self._options()
        url = self._url.location
        if format is None:
            username, password = credentials(self._config, self._url)
            url = self._url.text(username=username, password=password)
        if "listen" in options:
            url = url.partition("?")[0]
        try:
            with ended_when(lambda: worker.stopped):
                return Demuxer(
                    url,
                    name=self.name,
                    format=format,
                    options=options,
                    timeout_seconds=(self._config.open_timeout_seconds, self._config.read_timeout_seconds),
                    max_pixels=self._config.max_pixels,
                    parameter_sets=self._parameter_sets,
                    extradata=self._extradata,
                    in_pieces=self._is_rtsp,
                )
        except (SourceAuthError, SourceNotFound, SourceTimeout):
            raise
        except SourceError:
            worker.wait(0)
            if format is not None or not host_is_unknown(self._url.host):
                raise
        raise SourceNotFound(f"{self.name}: the host name is unknown")

    def _options(self) -> tuple[dict[str, str], str | None]:
        """FFmpeg's options and container for the scheme; the container is None where FFmpeg finds it."""
        scheme = self._url.scheme
        if scheme == "v4l2":
            if "v4l2" not in av.formats_available:
                raise ConfigError("this build of FFmpeg (PyAV) cannot open V4L2 devices")
            return {}, "v4l2"
        options = {"protocol_whitelist": PROTOCOLS}
        if scheme in ("rtsp", "rtsps"):
            options |= {
                "rtsp_transport": self._config.transport,
                "allowed_media_types": "video",
                "probesize": "32",  # the SDP says it all; probing would cost seconds
                "analyzeduration": "0",
                "buffer_size": str(UDP_BUFFER_BYTES),
            }
        if scheme == "rtmp" and RTMP_LISTENS.search(self._url.location):
            options |= {"listen": "1"}  # FFmpeg's other protocols read it in the URL
        if scheme in TLS_SCHEMES:
            options |= {"tls_verify": str(int(self._config.tls_verify))}
            if trusted := self._config.tls_ca_file or ssl.get_default_verify_paths().cafile:
                options |= {"ca_file": trusted}
        return options, None

    def _joined(self, worker: Worker[Timed], demuxer: Demuxer) -> None:
        if self._connected_before:
            self._epoch += 1
            self.stats.reconnects += 1
            self._gate.lost()
        self._connected_before = True
        self._timeline.connect(demuxer.time_base)
        self._emit(worker, "connected", f"{self.name}: {demuxer.description}")

    def _receive(self, worker: Worker[Timed], demuxer: Demuxer) -> None:
        queue = _Queue(worker)
        held: AccessUnit | None = None
        continuity = Continuity(demuxer.codec, max_pixels=self._config.max_pixels) if self._is_rtsp else None
        for sample in demuxer.samples():
            worker.wait(0)
            if sample is None:
                silence_seconds = _silence_seconds(demuxer)
                if silence_seconds > self._config.read_timeout_seconds:
                    raise SourceTimeout(f"{self.name} is silent for {silence_seconds:.1f} s")
                continue
            self._remember(worker, demuxer, sample)
            ready, held = held, None if sample.damaged else self._unit(sample, demuxer)
            if not (demuxer.ends_cut and self._is_rtsp and self._config.transport == "udp"):
                ready, held = held, None
            if ready is not None:
                if continuity is not None and continuity.is_broken(ready):
                    self._damage(worker)
                self._gate.deliver(ready, queue)
            if sample.damaged:
                self._damage(worker)

    def _is_stuck(self, demuxer: Demuxer) -> bool:
        """Whether there is no video although something comes: silence has a limit of its own, that of each read."""
        return _silence_seconds(demuxer) > STUCK * self._config.read_timeout_seconds

    @property
    def _is_rtsp(self) -> bool:
        return self._url.scheme in ("rtsp", "rtsps")

    def _remember(self, worker: Worker[Timed], demuxer: Demuxer, sample: Sample) -> None:
        self._parameter_sets, self._extradata = demuxer.parameter_sets, demuxer.extradata
        if sample.params_changed:
            self._emit(worker, "params", f"{self.name}: parameter sets changed")

    def _damage(self, worker: Worker[Timed]) -> None:
        self.stats.lost += 1
        self._gate.lost()
        self._emit(worker, "lost", f"{self.name}: damaged data; waiting for a keyframe")

    def _unit(self, sample: Sample, demuxer: Demuxer) -> AccessUnit:
        capture_time_ns, now_ns = sample.sender_time_ns, time.time_ns()
        if capture_time_ns is not None and abs(capture_time_ns - now_ns) > MAX_OFFSET_NS:
            capture_time_ns = None
        if self._timeline.leaps(sample.pts, sample.arrival_ns):
            self._timeline.connect(demuxer.time_base)
        return AccessUnit(
            codec=demuxer.codec,
            data=sample.data,
            pts=self._placed(sample),
            time_base=demuxer.time_base,
            keyframe=sample.keyframe,
            params_changed=sample.params_changed,
            arrival_ns=sample.arrival_ns,
            capture_time_ns=now_ns if capture_time_ns is None else capture_time_ns,
            clock_quality="arrival" if capture_time_ns is None else "sender",
            extradata=demuxer.extradata,
            epoch=self._epoch,
        )

    def _placed(self, sample: Sample) -> int:
        """The pts on the common line; FFmpeg does not know that of the first packet, which may then have the next one's."""
        pts = self._timeline.place(sample.pts, sample.arrival_ns)
        self._last_pts = pts + (pts == self._last_pts)
        return self._last_pts


def _silence_seconds(demuxer: Demuxer) -> float:
    return (time.monotonic_ns() - demuxer.heard_ns) / 1e9


class _Queue:
    """The worker's queue as the gate sees it."""

    def __init__(self, worker: Worker[Timed]) -> None:
        self._worker = worker

    def offer(self, unit: AccessUnit) -> bool:
        return self._worker.offer(Timed(unit, 0.0))

    def take_all(self) -> Iterable[AccessUnit]:
        return [item.unit for item in self._worker.take_all()]
