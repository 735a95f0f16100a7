"""Where compressed video comes from: cameras, files, a synthetic scene.

Every source is an async iterator of `AccessUnit`s; nothing is decoded.
"""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

from ovstream.config import SourceConfig
from ovstream.errors import ConfigError, SourceProtocolError
from ovstream.sources.base import OnEvent, Source, SourceStats, ignore_event
from ovstream.sources.fallback import FallbackSource
from ovstream.sources.memory import MemorySource, Notice, Pause
from ovstream.sources.scene import Scene
from ovstream.sources.urls import parse_url, redact_url

__all__ = [
    "MemorySource",
    "Notice",
    "OnEvent",
    "Pause",
    "Scene",
    "Source",
    "SourceStats",
    "open_source",
    "redact_url",
]

RTSP_SCHEMES = ("rtsp", "rtsps")
NETWORK_SCHEMES = ("rtsp", "rtsps", "http", "https", "srt", "rtmp", "rtmps", "udp", "tcp", "rtp")
WHEP_SCHEMES = ("whep+https", "whep+http")
RIGHT_FORMS = "a file path, file://, synthetic:, /dev/videoN, " + ", ".join(
    f"{scheme}://" for scheme in (*NETWORK_SCHEMES, "whip", *WHEP_SCHEMES)
)


def open_source(
    url: str | os.PathLike[str],
    *,
    config: SourceConfig | None = None,
    on_event: OnEvent = ignore_event,
) -> Source:
    """Makes the source that fits a URL or path; nothing is opened before its first unit is asked for.

    Args:
        url: A path, `file://`, `rtsp://`, `whip://`, `whep+https://`, `synthetic:?fps=10` ...
        config: How to read it.
        on_event: Called in the consumer's event loop with what happens beside the units.

    Raises:
        ConfigError: Nothing here reads such a URL.
    """
    text = os.fspath(url)
    used = config or SourceConfig()
    if text.startswith("synthetic:"):
        from ovstream.sources.synthetic import SyntheticSource, parse_options

        return SyntheticSource(parse_options(text), config=used, on_event=on_event)
    if text.lower().startswith("whip:") and not text.lower().startswith("whip://"):
        raise ConfigError(
            f"{text} takes publishers through the door of `ovstream serve` only; elsewhere name an address: "
            f"whip://127.0.0.1:8080/{text[5:] or 'cam1'}"
        )
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if separator and scheme in (*NETWORK_SCHEMES, *WHEP_SCHEMES) and not _port_is_right(text):
        raise ConfigError(
            f"{redact_url(text)}: a port is a number from 1 to 65535, and an IPv6 address stands in brackets"
        )
    if separator and scheme in RTSP_SCHEMES and used.backend != "ffmpeg":
        return _rtsp(text, config=used, on_event=on_event)
    if separator and scheme in WHEP_SCHEMES:
        from ovstream.sources.webrtc.whep import WhepSource

        return WhepSource(text, config=used, on_event=on_event)
    if separator and scheme == "whip":
        from ovstream.sources.webrtc.server import whip_source

        return whip_source(text, config=used, on_event=on_event)
    if (separator and scheme in NETWORK_SCHEMES) or text.startswith("/dev/video"):
        from ovstream.sources.ffmpeg import FFmpegSource

        return FFmpegSource(text, config=used, on_event=on_event)
    if separator and scheme != "file":
        raise ConfigError(_wrong_scheme(scheme))
    if not separator and ":" in text.partition("@")[0] and "@" in text and not os.path.exists(text):
        shown = redact_url(f"x://{text}").removeprefix("x://")  # a URL mistyped, with its password
        raise ConfigError(f"{shown} is neither a file nor a URL; supported: {RIGHT_FORMS}")
    from ovstream.sources.file import FileSource

    return FileSource(_path(rest) if separator else text, config=used, on_event=on_event)


def _port_is_right(url: str) -> bool:
    """Whether what follows the host can be a port, or nothing follows it."""
    authority = re.split(r"[/?#]", parse_url(url).location, maxsplit=1)[0]
    _, colon, port = authority.rpartition("]")[2].partition(":")
    return not colon or (re.fullmatch(r"[0-9]{1,5}", port) is not None and 0 < int(port) < 65_536)


def _path(rest: str) -> str:
    """The path of a file: URL (RFC 8089): an empty host or this one, percent-encoded."""
    return unquote(rest.removeprefix("localhost") if rest.startswith("localhost/") else rest)


def _rtsp(url: str, *, config: SourceConfig, on_event: OnEvent) -> Source:
    """Our own client, and FFmpeg behind it where it may stand in."""
    from ovstream.sources.rtsp import RtspSource

    alone = config.backend == "native" or config.tls_fingerprint is not None  # FFmpeg cannot check that one
    native = RtspSource(
        url,
        config=config,
        on_event=on_event,
        give_up=() if alone else (SourceProtocolError,),
    )
    if alone:
        return native

    def make_second() -> Source:
        from ovstream.sources.ffmpeg import FFmpegSource

        return FFmpegSource(url, config=config, on_event=on_event)

    return FallbackSource(native, make_second, second_name="FFmpeg", on_event=on_event)


def _wrong_scheme(scheme: str) -> str:
    if scheme.startswith("whip+"):
        return f"{scheme}:// is not supported: write whip://, and put a proxy in front for TLS"
    if scheme == "whep":
        return "whep:// does not say how to ask: write whep+https:// or whep+http://"
    return f"{scheme}:// is not supported; supported: {RIGHT_FORMS}"
