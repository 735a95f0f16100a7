"""Who may ask what: hosts, origins, tokens, and the headers that keep a browser honest."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ovstream.config import HttpConfig
from ovstream.errors import InsecureBindError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# The page itself holds no secret: it asks for the token. Probes of orchestrators have none either.
OPEN_PATHS = frozenset({"/", "/publish", "/live", "/ready", "/startup"})
OPEN_PREFIX = "/page/"
# Publishers show the token of their stream; the WHIP endpoint there looks at it, and at origins.
PUBLISHERS_PREFIX = "/whip/"
MAX_BODY_BYTES = 256 * 1024
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_SAFE_METHODS = ("GET", "HEAD")
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


def check_door(config: HttpConfig) -> None:
    """Refuses a door that is open to the network.

    Raises:
        InsecureBindError: The host is not this machine, and there is no token.
    """
    if config.token is None and not is_loopback(config.host):
        raise InsecureBindError(
            f"service.http.host {config.host} can be reached from other machines: set service.http.token "
            "(make one with: openssl rand -hex 16), or bind 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware in front of everything.

    * Without a token, only requests under a loopback name are answered: a foreign page whose name resolves to this
      machine (DNS rebinding) gets nothing.
    * A request with an `Origin` of another host is refused, also where the browser would send it.
    * Tokens are compared in constant time; `read_token` may only look.
    * Publishers below `/whip/` are looked at by the WHIP endpoint there: their streams have tokens of their own.
    * Bodies are limited.

    Args:
        app: What stands behind.
        config: Hosts and tokens.
    """

    def __init__(self, app: App, config: HttpConfig) -> None:
        self._app = app
        self._token = config.token.get_secret_value() if config.token else None
        self._read_token = config.read_token.get_secret_value() if config.read_token else None
        own = () if config.host in ("0.0.0.0", "::") else (config.host,)
        self._hosts = {*_LOOPBACK_NAMES, *own, *config.allowed_hosts}
        self._any_host = self._token is not None and not config.allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or lets it through."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no websockets here
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refusal(scope, headers)
        if refused is not None:
            await _answer(send, *refused)
            return
        await self._app(scope, _limited(receive), _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        path, method = scope["path"], scope["method"]
        host = headers.get("host", "")
        if not self._any_host and _name(host) not in self._hosts:
            return 421, "this service is not known under that name; see service.http.allowed_hosts"
        publishes = path.startswith(PUBLISHERS_PREFIX)
        origin = headers.get("origin")
        if not publishes and origin is not None and origin.partition("://")[2] != host:
            return 403, "requests of other sites are refused"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            return 413, f"at most {MAX_BODY_BYTES} bytes"
        if publishes or self._token is None or path in OPEN_PATHS or path.startswith(OPEN_PREFIX):
            return None
        given = headers.get("authorization", "").removeprefix("Bearer ").encode()
        if hmac.compare_digest(given, self._token.encode()):
            return None
        if self._read_token is not None and hmac.compare_digest(given, self._read_token.encode()):
            return None if method in _SAFE_METHODS else (403, "this token may only look")
        return 401, "a bearer token is needed"


def _name(host: str) -> str:
    """The host without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _limited(receive: Receive) -> Receive:
    """Ends a body that grows beyond the limit in spite of its headers."""
    seen = 0

    async def limited() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if seen > MAX_BODY_BYTES else message

    return limited


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message.get("headers", [])}
            more = [
                (name.encode(), value.encode())
                for name, value in _HEADERS.items()
                if name.encode() not in there
            ]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, detail: str) -> None:
    body = b'{"detail":"' + detail.encode() + b'"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    sending = _with_headers(send)
    await sending({"type": "http.response.start", "status": status, "headers": headers})
    await sending({"type": "http.response.body", "body": body})
