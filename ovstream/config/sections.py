"""The options: one pydantic model per stage, one for a stream, one for a file of streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from ovstream.config.section import Section
from ovstream.config.service import ServiceConfig, SuperviseConfig
from ovstream.config.watch import Polygon, WatchConfig

DEFAULT_MAX_PIXELS = 8_912_896  # 4096 x 2176: the largest frame of H.264 level 5.1


class SourceConfig(Section):
    """How a stream is read."""

    backend: Literal["auto", "native", "ffmpeg"] = Field(
        default="auto", description="who reads RTSP; auto: FFmpeg where our own client cannot"
    )
    transport: Literal["tcp", "udp"] = "tcp"
    tls_verify: bool = Field(default=True, description="false: anybody may pretend to be the camera")
    tls_ca_file: str | None = Field(default=None, description="PEM file of the authorities to trust")
    tls_fingerprint: str | None = Field(
        default=None,
        pattern=r"^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$",
        description="SHA-256 of the camera's certificate; replaces all other checks",
    )
    username: str | None = Field(default=None, repr=False)
    password: SecretStr | None = None
    password_file: str | None = Field(
        default=None, description="its first line is the password; read at every connection"
    )
    token: SecretStr | None = Field(
        default=None,
        min_length=1,
        description="bearer token: what WHIP publishers must show, what we show to a WHEP server",
    )
    max_publishers: int = Field(
        default=16, ge=1, le=1024, description="WHIP: most at once on one address; more are told to wait"
    )
    open_timeout_seconds: float = Field(default=10.0, gt=0)
    read_timeout_seconds: float = Field(
        default=5.0, gt=0, description="silence after which a live source reconnects"
    )
    keep_trying: bool = Field(
        default=False,
        description="cameras: go on also when the very first attempt fails; `ovstream run --config` does so",
    )
    reconnect_initial_seconds: float = Field(default=0.5, gt=0)
    reconnect_max_seconds: float = Field(default=30.0, gt=0)
    pace: Literal["realtime", "fast"] = Field(
        default="fast", description="files: camera speed or as fast as possible"
    )
    loop: bool = Field(default=False, description="files: start again at the end, for ever")
    queue_units: int = Field(default=64, ge=2, description="access units between source and parser")
    max_latency_seconds: float = Field(
        default=2.0, gt=0, description="cameras: older pictures give way to the newest keyframe"
    )
    max_pixels: int = Field(default=DEFAULT_MAX_PIXELS, ge=256)

    @field_validator("password_file")
    @classmethod
    def _one_password(cls, path: str | None, info: ValidationInfo) -> str | None:
        if path is not None and info.data.get("password") is not None:
            raise ValueError("password is given too; one of the two is enough")
        return path


class BitstreamConfig(Section):
    """How deep pictures are read, without decoding them."""

    every: int = Field(
        default=1, ge=1, le=1000, description="read every so many-th P or B picture; the others tell nothing"
    )
    skip_intra: bool = Field(
        default=False, description="leave I pictures unread: their size alone tells whether the scene changed"
    )
    max_bits_per_pixel: float | None = Field(
        default=1.0,
        ge=0.001,
        le=1e6,
        description="larger pictures are left unread and count as changed everywhere; null: none",
    )


class PlanConfig(Section):
    """Which patches are worth encoding."""

    keep_ratio: float = Field(
        default=0.125, gt=0, le=1, description="most patches per picture; the paper uses 0.031 to 0.25"
    )
    max_tokens: int = Field(default=256, ge=4, le=1024, description="patches in the grid of a picture")
    dense_above: float = Field(
        default=0.5, gt=0, le=1, description="changed share above which everything is encoded"
    )
    refresh_seconds: float = Field(default=10.0, gt=0, description="longest time without a dense pass")
    dense_interval_seconds: float = Field(
        default=0.5,
        ge=0,
        description="shortest time between dense passes that camera, loss or change ask for",
    )
    everything: bool = Field(
        default=False, description="encode every patch of every picture: the usual way, for comparison"
    )
    noise_percentile: float = Field(
        default=90.0, gt=0, lt=100, description="of a quiet cell's energy: its noise floor"
    )
    sensitivity: float = Field(default=1.0, gt=0, description="higher: smaller changes count")
    masks: tuple[Polygon, ...] = Field(
        default=(), max_length=32, description="parts never looked at: corners (x, y) as fractions"
    )


class EncodeConfig(Section):
    """How patches become vectors."""

    model: str = Field(default="ov-nano", description="name of an embedded model, or a model folder")
    mode: Literal["fast", "exact", "dense"] = "fast"
    memory: Literal["canvas", "window"] = Field(
        default="canvas",
        description="canvas: the newest content of every patch; window: its past as well, up to 64 pictures",
    )
    window_tokens: int = Field(
        default=512,
        ge=4,
        le=4096,
        description="patches that a window holds: at least one per patch of the grid",
    )
    min_change: float = Field(
        default=0.08, ge=0, description="RMS change, in normalised units, below which a patch stays"
    )
    probes: int = Field(
        default=4,
        ge=0,
        le=64,
        description="mode fast: old patches encoded again with each change, to correct the rest",
    )
    max_flops: float = Field(
        default=0.25,
        gt=0,
        description="operations per picture in the long run, as a share of encoding everything",
    )
    max_drift: float = Field(
        default=1.0,
        gt=0,
        description="drift, as published with each embedding, above which everything is encoded",
    )
    audit_seconds: float = Field(
        default=60.0, ge=0, description="between comparisons with a dense pass on the same picture; 0: never"
    )
    min_fidelity: float = Field(
        default=0.97, ge=0, le=1, description="cosine to the dense pass below which an audit fails"
    )
    threads: int = Field(default=1, ge=1)
    provider: Literal["cpu", "cuda", "tensorrt", "openvino"] = "cpu"
    runtime: Literal["auto", "native", "onnx", "torch"] = Field(
        default="auto",
        description="native: the Rust core, CPUs with AVX-512 VNNI; onnx: onnxruntime; auto: native where "
        "it can, else onnx; torch: the extra 'torch', float32 in every mode",
    )
    device: str = Field(default="cpu", description="of runtime torch, for example cuda:0")
    cache: Literal["float32", "float16"] = Field(
        default="float32", description="how a stream's keys and values are held; float16: half the memory"
    )
    max_batch_streams: int = Field(
        default=1, ge=1, le=64, description="streams that share a run of the model; above 1 it is held twice"
    )
    max_batch_delay_ms: float = Field(
        default=2.0, ge=0, le=1000, description="longest wait of a picture for those of other streams"
    )


class PublishConfig(Section):
    """Where embeddings go."""

    endpoint: str | None = Field(
        default=None, description="ZeroMQ endpoint to bind, for example tcp://127.0.0.1:5555"
    )
    vector_dtype: Literal["float16", "float32"] = "float16"
    high_water_mark: int = Field(
        default=1000,
        ge=1,
        description="messages kept per subscriber; a slower one loses the rest and sees it",
    )
    linger_seconds: float = Field(default=1.0, ge=0, le=60, description="longest wait for the last messages")
    replay_endpoint: str | None = Field(
        default=None,
        description="where to ask for what was missed; null: the next port, or the path + .replay",
    )
    journal: str | None = Field(
        default=None, description="folder of messages kept for replay; null: the last 16 MiB, in memory"
    )
    journal_bytes: int = Field(default=256 << 20, ge=1 << 20, description="most bytes in that folder")
    journal_sync_seconds: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="what a power cut may cost; the end of the process costs nothing",
    )
    leases: str | None = Field(
        default=None, description="SQLite file that fences publishers; null: leases.sqlite in the journal"
    )
    keys: str | None = Field(
        default=None, description="folder with publisher.key and allowed: encrypt, and admit these keys only"
    )
    allow_insecure: bool = Field(
        default=False, description="bind beyond this machine without keys: anyone there can listen"
    )


class RecordConfig(Section):
    """What the bitstream said, written down without pixels."""

    path: str | None = Field(
        default=None,
        description="file to make (the time is added to its name if it exists), or an existing folder: a file of "
        "the stream's name and time in it",
    )
    depth: Literal["plan", "all"] = Field(
        default="plan",
        description="'plan': what the planner reads, energies and bits rounded to 6 %, vectors to 16 bits, before they "
        "are used; 'all': everything that the bitstream said, exactly, at several times the size",
    )
    max_megabytes: int | None = Field(default=1000, ge=1, description="size at which the recording ends")
    max_files: int | None = Field(
        default=20,
        ge=1,
        description="recordings of the stream with a time in their names; the oldest give way; null: keep all",
    )


class TraceConfig(Section):
    """Traces of access units in OpenTelemetry."""

    share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="of the pictures; 0: none, and nothing is imported (extra 'otel')",
    )


class SinkConfig(BaseModel):
    """Another place where embeddings go: a type, and the options of that type."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str = Field(min_length=1)

    @property
    def options(self) -> dict[str, Any]:
        """What stands beside `type`; may hold credentials."""
        return dict(self.model_extra or {})

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield "type", self.type


class StreamConfig(Section):
    """One stream, from its URL to its subscribers."""

    url: str = Field(min_length=1, repr=False)  # may hold credentials: never shown
    stream_id: str = Field(default="stream", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    emit: Literal["all", "changes"] = Field(
        default="all", description="an embedding per picture, or only when it changed"
    )
    kinds: tuple[Literal["scene", "event", "tokens"], ...] = ("scene",)
    source: SourceConfig = SourceConfig()
    bitstream: BitstreamConfig = BitstreamConfig()
    plan: PlanConfig = PlanConfig()
    encode: EncodeConfig = EncodeConfig()
    publish: PublishConfig = PublishConfig()
    record: RecordConfig = RecordConfig()
    trace: TraceConfig = TraceConfig()
    sinks: tuple[SinkConfig, ...] = Field(
        default=(), description="other places where embeddings go, each a type with its options"
    )
    watch: WatchConfig = WatchConfig()
    supervise: SuperviseConfig = SuperviseConfig()


class RunConfig(Section):
    """The streams of one process, and the service around them."""

    streams: tuple[StreamConfig, ...]
    # What streams start from that are added later; those above have it already. May hold credentials.
    defaults: dict[str, Any] = Field(default_factory=dict, repr=False)
    service: ServiceConfig = ServiceConfig()

    @field_validator("streams")
    @classmethod
    def _stream_ids_differ(cls, streams: tuple[StreamConfig, ...]) -> tuple[StreamConfig, ...]:
        seen: set[str] = set()
        for stream in streams:
            if stream.stream_id in seen:
                raise ValueError(
                    f"stream_id '{stream.stream_id}' is used twice: subscribers tell streams by it"
                )
            seen.add(stream.stream_id)
        return streams
