"""Configuration: what can be set, and where it comes from.

Values come from keyword options (`stream_config`), a YAML file (`load_config`), or the environment
(`OVSTREAM_ENCODE__MODE=exact`). Options win over the environment, the environment wins over a file. A wrong
name or value is a `ConfigError` that names its place and lists the right ones; secrets are never shown.
"""

from ovstream.config.files import load_config
from ovstream.config.options import (
    PRIVATE,
    added_config,
    changed_config,
    nested_options,
    stream_config,
)
from ovstream.config.schema import file_schema
from ovstream.config.sections import (
    DEFAULT_MAX_PIXELS,
    BitstreamConfig,
    EncodeConfig,
    PlanConfig,
    PublishConfig,
    RecordConfig,
    RunConfig,
    SinkConfig,
    SourceConfig,
    StreamConfig,
    TraceConfig,
)
from ovstream.config.service import HttpConfig, LoadConfig, ServiceConfig, SuperviseConfig
from ovstream.config.watch import Polygon, RuleConfig, RuleKind, WatchConfig, ZoneConfig

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "PRIVATE",
    "BitstreamConfig",
    "EncodeConfig",
    "HttpConfig",
    "LoadConfig",
    "PlanConfig",
    "Polygon",
    "PublishConfig",
    "RecordConfig",
    "RuleConfig",
    "RuleKind",
    "RunConfig",
    "ServiceConfig",
    "SinkConfig",
    "SourceConfig",
    "StreamConfig",
    "SuperviseConfig",
    "TraceConfig",
    "WatchConfig",
    "ZoneConfig",
    "added_config",
    "changed_config",
    "file_schema",
    "load_config",
    "nested_options",
    "stream_config",
]
