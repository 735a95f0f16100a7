"""WHIP over HTTP (RFC 9725) as an ASGI application, and the page to publish from."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from ovstream.errors import MissingExtraError
from ovstream.sources.webrtc.endpoint import Refused, WhipEndpoint
from ovstream.sources.webrtc.names import PAGE_NAME, is_local

try:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
    from starlette.routing import Route
except ImportError:
    raise MissingExtraError("starlette", extra="server") from None

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
MAX_BODY_BYTES = 64 * 1024
_EXPOSED = "Location, ETag, Link, Accept-Post, Accept-Patch, WWW-Authenticate, Retry-After"
_PREFLIGHT_SECONDS = "600"
_TITLES = {
    400: "Bad session description",
    401: "Token missing or wrong",
    403: "Only from this machine",
    404: "Not found",
    405: "Method not allowed",
    409: "Stream is in use",
    412: "Precondition failed",
    413: "Too large",
    415: "Wrong content type",
    422: "Not acceptable here",
    428: "Precondition required",
    503: "All places are taken",
}


def whip_app(endpoint: WhipEndpoint) -> Starlette:
    """Makes the application.

    `POST /NAME` publishes, `PATCH` and `DELETE /NAME/SESSION` go on with it; `GET /publish` is the page. All paths
    are relative to where it is mounted.
    """
    doors = _Doors(endpoint)
    return Starlette(
        routes=[
            Route(f"/{PAGE_NAME}", doors.page, methods=["GET"]),
            Route("/{name}", doors.endpoint, methods=["GET", "POST", "OPTIONS"]),
            Route("/{name}/{session}", doors.session, methods=["PATCH", "DELETE", "OPTIONS"]),
        ]
    )


class _Doors:
    """The handlers of one endpoint."""

    def __init__(self, endpoint: WhipEndpoint) -> None:
        self._endpoint = endpoint
        self._page = resources.files("ovstream.sources.webrtc").joinpath("publish.html").read_bytes()
        self._page_headers = page_headers(self._page)

    async def page(self, request: Request) -> Response:
        """The page; with a single stream its name is filled in."""
        names = self._endpoint.stream_names
        if len(names) == 1 and "stream" not in request.query_params:
            more = f"&{request.url.query}" if request.url.query else ""
            return RedirectResponse(f"{_root(request)}/{PAGE_NAME}?stream={names[0]}{more}", status_code=307)
        return Response(self._page, headers=self._page_headers)

    async def endpoint(self, request: Request) -> Response:
        """One stream: where publishers begin."""
        if request.method == "OPTIONS":
            return self._preflight(request, "POST", Accept_Post=SDP)
        if request.method in ("GET", "HEAD"):
            return PlainTextResponse("A WHIP endpoint (RFC 9725): POST an SDP offer here.\n")
        try:
            text = await self._read(request, SDP, hint="Accept-Post")
            publication = await self._endpoint.publish(request.path_params["name"], text)
        except Refused as refused:
            return self._problem(request, refused)
        headers = {
            "Location": f"{_root(request)}/{request.path_params['name']}/{publication.session_id}",
            "ETag": publication.etag,
            "Accept-Patch": FRAGMENT,
        }
        return self._with_cors(request, Response(publication.answer, 201, headers, media_type=SDP))

    async def session(self, request: Request) -> Response:
        """One publisher: candidates that come later, and the end."""
        if request.method == "OPTIONS":
            return self._preflight(request, "PATCH, DELETE", Accept_Patch=FRAGMENT)
        name, session_id = request.path_params["name"], request.path_params["session"]
        try:
            if request.method == "DELETE":
                self._authorize(request)
                self._endpoint.end(name, session_id)
                return self._with_cors(request, Response(status_code=200))
            text = await self._read(request, FRAGMENT, hint="Accept-Patch")
            await self._endpoint.trickle(
                name, session_id, if_match=request.headers.get("if-match"), text=text
            )
        except Refused as refused:
            return self._problem(request, refused)
        return self._with_cors(request, Response(status_code=204))

    async def _read(self, request: Request, media_type: str, *, hint: str) -> str:
        """The body of an authorized request."""
        self._authorize(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != media_type:
            raise Refused(415, f"the body must be {media_type}", **{hint: media_type})
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise Refused(413, f"more than {MAX_BODY_BYTES} bytes")
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise Refused(400, "the body is not UTF-8") from None

    def _authorize(self, request: Request) -> None:
        name = request.path_params["name"]
        if not self._endpoint.admits(name, request.headers.get("authorization", "")):
            raise Refused(401, "show the token: Authorization: Bearer ...", WWW_Authenticate="Bearer")
        if self._endpoint.token_of(name) is None and not _from_this_machine(request):
            raise Refused(403, "without a token only programs and pages of this machine may publish")

    def _preflight(self, request: Request, methods: str, **more: str) -> Response:
        headers = {
            "Allow": f"{methods}, OPTIONS",
            "Access-Control-Allow-Methods": f"{methods}, OPTIONS",
            "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
            "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        return self._with_cors(request, Response(status_code=200, headers=headers))

    def _problem(self, request: Request, refused: Refused) -> Response:
        """The answer that says what is wrong (RFC 9457)."""
        content = {
            "type": "about:blank",
            "title": _TITLES[refused.status],
            "status": refused.status,
            "detail": refused.detail,
        }
        response = JSONResponse(
            content, refused.status, refused.headers, media_type="application/problem+json"
        )
        return self._with_cors(request, response)

    def _with_cors(self, request: Request, response: Response) -> Response:
        """Lets pages of other origins read the answer: all where a token protects, else those of this machine."""
        origin = request.headers.get("origin")
        if origin is not None:
            protected = self._endpoint.token_of(request.path_params["name"]) is not None
            if protected or is_local(urlsplit(origin).hostname or ""):
                response.headers["Access-Control-Allow-Origin"] = "*" if protected else origin
                response.headers["Access-Control-Expose-Headers"] = _EXPOSED
            response.headers["Vary"] = "Origin"
        return response


def page_headers(page: bytes) -> dict[str, str]:
    """Headers of a page that runs its own script and style, and nothing else."""
    policy = {"default-src": "'none'", "connect-src": "'self'", "media-src": "'self' blob: mediastream:"}
    for kind, tag in (("script-src", b"script"), ("style-src", b"style")):
        inside = re.findall(b"<%b>(.*?)</%b>" % (tag, tag), page, re.DOTALL)
        digests = (base64.b64encode(hashlib.sha256(text).digest()).decode() for text in inside)
        policy[kind] = " ".join(f"'sha256-{digest}'" for digest in digests)
    policy |= {"base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'", "img-src": "data:"}
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Permissions-Policy": "camera=(self), display-capture=(self), microphone=()",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }


def _root(request: Request) -> str:
    root: Any = request.scope.get("root_path", "")
    return str(root).rstrip("/")


def _from_this_machine(request: Request) -> bool:
    """Whether peer, Host and Origin are local, and no proxy stands between.

    A page elsewhere must not publish through somebody's browser, nor everybody through a proxy on this machine.
    """
    peer = request.client.host if request.client is not None else ""
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    origin = request.headers.get("origin")
    local_origin = origin is None or is_local(urlsplit(origin).hostname or "")
    passed_on = any(name in request.headers for name in ("forwarded", "x-forwarded-for", "x-real-ip", "via"))
    return is_local(peer) and is_local(host) and local_origin and not passed_on
