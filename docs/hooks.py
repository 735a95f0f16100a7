"""Hooks of the site: what lies outside of docs/ is no page of it, so links there become the path in the repository."""

from __future__ import annotations

import posixpath
import re
from typing import Any

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>(?:\.\./)+[^)\s]*)\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Rewrites the links of one page."""

    def shown(link: re.Match[str]) -> str:
        folder = posixpath.dirname(page.file.src_uri)
        path = posixpath.normpath(posixpath.join("docs", folder, link["target"].partition("#")[0]))
        name = link["text"].strip("`")
        return f"`{path}`" if posixpath.basename(path) in name else f"{link['text']} (`{path}`)"

    return _LINK.sub(shown, markdown)
