"""The page: static files of this package, no build step, nothing from other hosts."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI, HTTPException
from fastapi.responses import Response

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FILES = (
    "index.html",
    "style.css",
    "icon.svg",
    "app.js",
    "api.js",
    "cards.js",
    "charts.js",
    "detail.js",
    "dialog.js",
    "events.js",
)


def mount_page(app: FastAPI) -> None:
    """Adds `/` and the files that it needs."""
    folder = files("ovstream.service") / "page"
    contents = {name: (folder / name).read_bytes() for name in _FILES}

    def answer(name: str) -> Response:
        suffix = name[name.rindex(".") :]
        return Response(contents[name], media_type=_TYPES[suffix], headers={"cache-control": "no-cache"})

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return answer("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    def part(name: str) -> Response:
        if name not in contents:
            raise HTTPException(404)
        return answer(name)
