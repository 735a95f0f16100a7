"""Options of the service: its door, its memory of streams, and what it does when the box is full."""

from __future__ import annotations

from pydantic import Field, SecretStr, model_validator

from ovstream.config.section import Section


class SuperviseConfig(Section):
    """How `ovstream serve` looks after one stream."""

    priority: int = Field(default=5, ge=0, le=9, description="when the box is full, lower ones degrade first")
    paused: bool = Field(default=False, description="known, but not read")
    stall_seconds: float = Field(
        default=30.0, ge=1, description="no progress for so long: the stream is started again"
    )
    max_memory_mb: float = Field(
        default=512.0, gt=0, description="of its caches and waiting pictures; above, it is stopped"
    )


class HttpConfig(Section):
    """The door: REST API, page, metrics."""

    host: str = Field(default="127.0.0.1", description="beyond this machine only with a token")
    port: int = Field(default=8080, ge=0, le=65_535)
    token: SecretStr | None = Field(default=None, description="bearer token that may do everything")
    read_token: SecretStr | None = Field(default=None, description="bearer token that may look only")
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="names under which the service may be asked, beside its own address"
    )
    allowed_paths: tuple[str, ...] = Field(
        default=(),
        description="folders and files that requests may name, beside state_folder: videos, models, recordings, sinks",
    )
    tls_cert_file: str | None = Field(default=None, description="PEM; with tls_key_file: HTTPS")
    tls_key_file: str | None = None

    @model_validator(mode="after")
    def _tls_is_whole(self) -> HttpConfig:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file belong together")
        if self.read_token is not None and self.token is None:
            raise ValueError("read_token without token: anybody could change what the reader may not")
        for token in (self.token, self.read_token):
            if token is not None and len(token.get_secret_value()) < 16:
                raise ValueError("a token needs at least 16 letters; make one with: openssl rand -hex 16")
        return self


class LoadConfig(Section):
    """When the box counts as full, and how streams then degrade."""

    max_latency_seconds: float = Field(
        default=0.5, gt=0, description="from the arrival of a picture to its embedding, at the 9th decile"
    )
    max_cpu: float = Field(
        default=0.9, gt=0, le=1, description="of all cores, by all processes of the service"
    )
    recover_seconds: float = Field(default=10.0, gt=0, description="calm needed before a step back up")


class ServiceConfig(Section):
    """Everything of `ovstream serve` that is not about one stream."""

    http: HttpConfig = HttpConfig()
    load: LoadConfig = LoadConfig()
    state_folder: str | None = Field(
        default=None, description="where sequence numbers and added streams are kept; null: nowhere"
    )
    checkpoint_seconds: float = Field(default=1.0, ge=0.1, le=60)
    workers: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="processes that share the streams, each with a model of its own; null: one per usable core; 1: all "
        "streams in the service's own process",
    )
    max_streams: int = Field(default=64, ge=1, le=1024)
    drain_seconds: float = Field(
        default=5.0,
        gt=0,
        le=300,
        description="longest time from SIGTERM to the end; what hangs is left behind",
    )
