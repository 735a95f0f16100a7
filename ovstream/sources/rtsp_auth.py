"""Answers to "401 Unauthorized": Basic (RFC 7617) and Digest with MD5 or SHA-256 (RFC 2069, RFC 7616)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

_CHALLENGE = re.compile(r"(?:^|,)\s*(Basic|Digest)\s+", re.IGNORECASE)
_PARAMETER = re.compile(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')
# Best first.
_HASHES: dict[str, Callable[[bytes], hashlib._Hash]] = {"sha-256": hashlib.sha256, "md5": hashlib.md5}


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in which the server would accept us.

    Attributes:
        scheme: "basic" or "digest".
        parameters: Lower-case name -> value.
    """

    scheme: str
    parameters: dict[str, str]

    @property
    def algorithm(self) -> str:
        """Lower-case name of the hash, without "-sess"."""
        return self.parameters.get("algorithm", "MD5").lower().removesuffix("-sess")

    @property
    def rank(self) -> int:
        """Strength, best first; negative for what we cannot answer."""
        if self.scheme == "basic":
            return len(_HASHES)
        return list(_HASHES).index(self.algorithm) if self.algorithm in _HASHES else -1


def parse_challenges(fields: list[str]) -> list[Challenge]:
    """Reads WWW-Authenticate fields, each with one challenge or several."""
    found = []
    for text in fields:
        starts = list(_CHALLENGE.finditer(text))
        for index, match in enumerate(starts):
            end = starts[index + 1].start() if index + 1 < len(starts) else len(text)
            pairs = _PARAMETER.finditer(text, match.end(), end)
            parameters = {p[1].lower(): re.sub(r"\\(.)", r"\1", p[2]) if p[2] else p[3] or "" for p in pairs}
            found.append(Challenge(match[1].lower(), parameters))
    return found


class Authenticator:
    """Knows the credentials and the newest challenge of one server.

    Args:
        username: Plain.
        password: Plain.
    """

    def __init__(self, username: str, password: str) -> None:
        self._username = username
        self._password = password
        self._challenge: Challenge | None = None
        self._uses = 0

    def learn(self, fields: list[str]) -> bool:
        """Takes the challenges of a 401; tells whether trying again makes sense.

        It does with the first challenge and after a new nonce: the old one may have been stale.
        """
        usable = [challenge for challenge in parse_challenges(fields) if challenge.rank >= 0]
        if not usable:
            return False
        before, self._challenge = self._challenge, min(usable, key=lambda challenge: challenge.rank)
        self._uses = 0
        return before is None or before.parameters.get("nonce") != self._challenge.parameters.get("nonce")

    def header(self, method: str, uri: str) -> str | None:
        """The Authorization field for a request; None before the first challenge."""
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            pair = f"{self._username}:{self._password}".encode()
            return f"Basic {base64.b64encode(pair).decode()}"
        self._uses += 1
        return self._digest(self._challenge, method, uri)

    def _digest(self, challenge: Challenge, method: str, uri: str) -> str:
        """RFC 7616 3.4.1; without qop RFC 2069, which most cameras speak."""
        given = challenge.parameters
        realm, nonce = given.get("realm", ""), given.get("nonce", "")
        make = _HASHES[challenge.algorithm]

        def hashed(*parts: str) -> str:
            return make(":".join(parts).encode()).hexdigest()

        count, own_nonce = f"{self._uses:08x}", secrets.token_hex(8)
        user = hashed(self._username, realm, self._password)
        if given.get("algorithm", "").lower().endswith("-sess"):
            user = hashed(user, nonce, own_nonce)
        quality = "auth" in re.split(r"[\s,]+", given.get("qop", "").lower())
        middle = (nonce, count, own_nonce, "auth") if quality else (nonce,)
        answer = {
            "username": self._username,
            "realm": realm,
            "nonce": nonce,
            "uri": uri,
            "response": hashed(user, *middle, hashed(method, uri)),
        }
        text = ", ".join(f'{name}="{_escape(value)}"' for name, value in answer.items())
        if quality:
            text += f', qop=auth, nc={count}, cnonce="{own_nonce}"'
        text += "".join(
            f', {name}="{_escape(given[name])}"' if name == "opaque" else f", {name}={given[name]}"
            for name in ("algorithm", "opaque")
            if name in given
        )
        return f"Digest {text}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
