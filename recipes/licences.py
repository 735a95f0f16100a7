"""Which licence a file of a Debian package has, and whether it may be learnt from.

Debian states licences in `/usr/share/doc/PACKAGE/copyright`, most in a format for machines (DEP-5): stanzas that name
files by patterns, of which the last one that fits counts. The patterns are of the *source*, the files here are
*installed*, so a pattern fits a file when what is left of it fits the end of the file's path, leading folders dropped.
That may fit too much, and so all fitting stanzas must be allowed, not the last one alone.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ALLOWED = re.compile(
    r"""(cc0|cc-0|public-domain|pd|unlicense|wtfpl)(-\d[\d.]*)?$
      | cc-by(-sa)?(-\d[\d.]*)?(-[a-z]{2})?(-only|-or-later)?$
      | (l|a)?gpl(-?\d[\d.]*)?(-only|-or-later)?$
      | gfdl-niv(-\d[\d.]*)?(-only|-or-later)?$
      | (expat|mit|x11|mit-x11|mit-like|isc|zlib|boost|bsl-1\.0|bsd-[234]-clauses?|apache-?2\.0|artistic(-2\.0)?)$
      | (ofl|sil)(-1\.1)?$
      | (fal|free-?art)(-license)?(-\d[\d.]*)?$
    """,
    re.VERBOSE,
)
"""Names that may be learnt from, in lower case, without "+"; neither NC nor ND nor anything that needs reading."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of one file.

    Attributes:
        licence: As the package states it.
        allowed: Whether it is on the list, and every other that could be meant.
    """

    licence: str
    allowed: bool


@dataclass(frozen=True, slots=True)
class Stanza:
    """Patterns and their licence."""

    patterns: tuple[str, ...]
    licence: str

    def fits(self, path: str) -> bool:
        """Whether it may be about an installed file."""
        return any(_fits(pattern, path) for pattern in self.patterns)

    @property
    def everything(self) -> bool:
        """Whether it is about what no other stanza names."""
        return "*" in self.patterns


def is_allowed(expression: str) -> bool:
    """Whether an expression such as "GPL-2+ or CC-BY-SA-3.0" allows learning: one of its "or" parts must, wholly."""
    text = expression.strip().lower().replace(",", "")
    if not text or " with " in f" {text} ":
        return False
    return any(
        all(ALLOWED.match(name.strip().rstrip("+")) for name in re.split(r"\s+and(?:/or)?\s+", choice))
        for choice in re.split(r"\s+or\s+|\s*\|\s*", text)
    )


def digest(text: str) -> str:
    """Of a copyright file that a person has read."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Copyright:
    """The copyright file of one package.

    Args:
        text: Its content.
        stated: Licences that a person found in a text without stanzas; () where stanzas must tell.
        read: Digest of the text that the person read.

    Raises:
        ValueError: It has no stanzas and nobody read it, or another text was read.
    """

    def __init__(self, text: str, *, stated: Sequence[str] = (), read: str = "") -> None:
        self._stated = " and ".join(stated)
        self._stanzas: tuple[Stanza, ...] = ()
        if stated:
            if digest(text) != read:
                raise ValueError(f"the licence was read in another text ({read}, this is {digest(text)})")
            return
        if not re.match(r"(?i)\s*format(-specification)?:", text):
            raise ValueError(
                f"the copyright file is for people: read it, and state the licence with {digest(text)}"
            )
        self._stanzas = tuple(_stanzas(text))
        if not self._stanzas:
            raise ValueError("the copyright file names no files")

    def of(self, path: str) -> Verdict:
        """The licence of an installed file.

        Args:
            path: Without the leading "/"; of a file in an archive, with the archive's path before it.
        """
        if self._stated:
            return Verdict(self._stated, all(is_allowed(name) for name in self._stated.split(" and ")))
        fitting = [one for one in self._stanzas if not one.everything and one.fits(path)]
        if not fitting:
            fitting = [one for one in self._stanzas if one.everything][-1:]
        if not fitting:
            return Verdict("no stanza", False)
        refused = [one.licence for one in fitting if not is_allowed(one.licence)]
        return Verdict(refused[0] if refused else fitting[-1].licence, not refused)


def _stanzas(text: str) -> Iterator[Stanza]:
    for block in re.split(r"\n\s*\n", text.replace("\r", "")):
        fields = dict(_fields(block))
        if "files" in fields and "license" in fields:
            licence = fields["license"].strip().split("\n")[0].strip()
            yield Stanza(tuple(fields["files"].replace(",", " ").split()), licence)


def _fields(block: str) -> Iterator[tuple[str, str]]:
    for match in re.finditer(r"(?m)^([A-Za-z-]+):(.*(?:\n[ \t].*)*)", block):
        yield match[1].lower(), match[2]


def _fits(pattern: str, path: str) -> bool:
    parts, have = pattern.removeprefix("./").strip("/").split("/"), path.split("/")
    for start in range(len(parts)):
        rest = parts[start:]
        if not any(set(part) - set("*?.") for part in rest):
            return False  # nothing but wildcards is left
        tail = "/".join(rest)
        if any(fnmatch.fnmatchcase("/".join(have[at:]), tail) for at in range(len(have))):
            return True
    return False
