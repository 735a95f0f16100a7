"""What an ONVIF camera offers: its profiles, and where their streams are (ONVIF Media 5.2). Extra `onvif`."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ovstream.errors import (
    MissingExtraError,
    SourceAuthError,
    SourceError,
    SourceProtocolError,
    SourceRefused,
    SourceTimeout,
)
from ovstream.sources.urls import parse_url, redact_url

DEVICE_PATH = "/onvif/device_service"  # ONVIF Core 5.1.1
MEDIA_NAMESPACE = "http://www.onvif.org/ver10/media/wsdl"
MAX_PROFILES = 64
MAX_TEXT = 80
DEFAULT_PORTS = {"http": 80, "https": 443}
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\u00a0-\uffff]")
_NOT_AUTHORISED = re.compile(
    r"not ?authori[sz]ed|unauthori[sz]ed|FailedAuthentication|\b401\b|\b403\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Profile:
    """One way in which a camera sends its picture, as the camera says; `ovstream probe` sees what it does.

    Attributes:
        name: As people see it.
        codec: "H264", "H265", "JPEG" ...; empty when the camera does not tell.
        width: Pixels; 0 when the camera does not tell.
        height: Likewise.
        fps: Most pictures a second.
        kbps: Most kbit/s.
        gop: Pictures from keyframe to keyframe.
        url: Of the stream, without credentials.
    """

    name: str
    codec: str
    width: int
    height: int
    fps: float | None
    kbps: int | None
    gop: int | None
    url: str


def service_url(address: str) -> str:
    """The ONVIF service of a camera that is named by its address alone; a URL stays as it is."""
    return address if "://" in address else f"http://{address}{DEVICE_PATH}"


async def profiles(
    service: str, *, username: str | None = None, password: str | None = None, timeout_seconds: float = 10.0
) -> list[Profile]:
    """Asks a camera for its profiles.

    The password itself does not travel: the camera gets a digest of it (WS-Security UsernameToken). A service that
    the camera names at another host is asked at the camera's own address.

    Args:
        service: URL of its device service.
        username: None to ask without.
        password: Likewise.
        timeout_seconds: For everything together.

    Raises:
        MissingExtraError: The extra `onvif` is not installed.
        SourceError: The camera does not answer, refuses, or is no ONVIF camera.
    """
    name = _name(service)
    if not name:
        raise SourceProtocolError(f"{redact_url(service)} is no http:// or https:// URL")
    library = _library()
    camera = _camera(library, service, username, password)
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _ask(camera, service, "" if username else "authless_")
    except TimeoutError:
        failure: SourceError = SourceTimeout(f"{name}: the ONVIF service does not answer in time")
    except SourceError:
        raise
    except Exception as error:  # the library lets out what its own libraries raise
        failure = _failure(error, name)
    finally:
        await camera.close()
    raise failure


def _name(service: str) -> str:
    """Scheme, host and port; empty where the URL makes no sense."""
    try:
        parts = urlsplit(service)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            return ""
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
    except ValueError:  # brackets or a port that make no sense
        return ""


async def _ask(camera: Any, service: str, prefix: str) -> list[Profile]:
    """GetSystemDateAndTime, GetCapabilities, GetProfiles, and GetStreamUri for each."""
    device = await camera.create_devicemgmt_service()
    camera.dt_diff = await _clock_difference(device)
    await device.close()
    camera.services.clear()  # the next one signs with the camera's time
    device = await camera.create_devicemgmt_service()
    capabilities = await getattr(device, f"{prefix}GetCapabilities")({"Category": "Media"})
    address = capabilities["Media"]["XAddr"] if capabilities["Media"] else ""
    camera.xaddrs[MEDIA_NAMESPACE] = _at_same_host(str(address), service)
    media = await camera.create_media_service()
    found = []
    for profile in list(await getattr(media, f"{prefix}GetProfiles")())[:MAX_PROFILES]:
        setup = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}
        answer = await getattr(media, f"{prefix}GetStreamUri")(
            {"StreamSetup": setup, "ProfileToken": profile.token}
        )
        found.append(_profile(profile, str(answer.Uri)))
    return found


async def _clock_difference(device: Any) -> dt.timedelta | None:
    """How much later it is for the camera: one whose clock was never set refuses digests made at our time."""
    try:
        told = (await device.authless_GetSystemDateAndTime()).UTCDateTime
        date, time = told.Date, told.Time
        there = dt.datetime(
            date.Year, date.Month, date.Day, time.Hour, time.Minute, min(time.Second, 59), tzinfo=dt.UTC
        )
    except (AttributeError, TypeError, ValueError):  # it does not say
        return None
    return there - dt.datetime.now(dt.UTC)


def _profile(profile: Any, url: str) -> Profile:
    video = getattr(profile, "VideoEncoderConfiguration", None)
    size, rate = getattr(video, "Resolution", None), getattr(video, "RateControl", None)
    h264 = getattr(video, "H264", None)
    return Profile(
        name=_text(getattr(profile, "Name", "")),
        codec=_text(getattr(video, "Encoding", "") or ""),
        width=_number(size, "Width") or 0,
        height=_number(size, "Height") or 0,
        fps=_number(rate, "FrameRateLimit"),
        kbps=_number(rate, "BitrateLimit"),
        gop=_number(h264, "GovLength"),
        url=_without_credentials(_text(url, 500)),
    )


def _number(holder: Any, name: str) -> int | None:
    value = getattr(holder, name, None)
    return int(value) if isinstance(value, (int, float)) else None


def _text(value: Any, longest: int = MAX_TEXT) -> str:
    return _UNPRINTABLE.sub("?", str(value))[:longest]


def _without_credentials(url: str) -> str:
    parsed = parse_url(url)
    return redact_url(f"{parsed.scheme}://{parsed.location}")


def _at_same_host(address: str, service: str) -> str:
    """A service of the camera at the address that we know: behind NAT it names another one, and a digest is for one host."""
    there, known = urlsplit(address), urlsplit(service)
    if there.scheme == known.scheme and there.hostname == known.hostname:
        return address
    return urlunsplit(
        (known.scheme, known.netloc.rpartition("@")[2], there.path or DEVICE_PATH, there.query, "")
    )


def _camera(library: Any, service: str, username: str | None, password: str | None) -> Any:
    """The library's camera, at the URL that was found instead of the usual one."""

    class Camera(library.ONVIFCamera):  # type: ignore[misc]
        def get_definition(self, name: str, port_type: str | None = None) -> Any:
            xaddr, *rest = super().get_definition(name, port_type)
            return service if name == "devicemgmt" else xaddr, *rest

    parts = urlsplit(service)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    return Camera(f"{parts.scheme}://{parts.hostname}", port, username or "", password or "", no_cache=True)


def _failure(error: Exception, name: str) -> SourceError:
    """The error of ours; texts of the library and the camera are not shown: they may hold what was sent."""
    texts = " ".join(f"{type(one).__name__} {one}" for one in _chain(error))
    if _NOT_AUTHORISED.search(texts):
        return SourceAuthError(f"{name}: the camera refuses the user name or password")
    if any(isinstance(one, ConnectionRefusedError) for one in _chain(error)):
        return SourceRefused(f"{name}: nothing listens at this address and port")
    if any(isinstance(one, (TimeoutError, asyncio.TimeoutError)) for one in _chain(error)):
        return SourceTimeout(f"{name}: the ONVIF service does not answer in time")
    if any(isinstance(one, (OSError, ssl.SSLError)) for one in _chain(error)):
        return SourceError(f"{name}: no connection to the ONVIF service")
    return SourceProtocolError(f"{name}: the answer is not that of an ONVIF camera ({type(error).__name__})")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _library() -> Any:
    try:
        with _as_it_was():
            import onvif
    except ImportError:
        raise MissingExtraError("onvif-zeep-async", extra="onvif") from None
    return onvif


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Undoes what importing the library does to the whole program: a log handler and a log level."""
    root, environment = logging.getLogger(), dict(os.environ)
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        os.environ.update(environment)
