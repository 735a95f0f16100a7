"""Camera URLs: credentials in and out, and a form that may be shown to anybody."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

# host or [IPv6], then a port: what may stand between the credentials and the path (RFC 3986 3.2).
_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s/?#:@\[\]]+)(?::\d{1,5})?(?=[/?#]|$)")
# Some cameras want the password in the path or query: rtsp://cam/user=admin_password=secret_channel=1
_SECRET = re.compile(
    r"((?:user\w*?|pass\w*?|pwd|token|secret|key|auth\w*?|sig\w*?)=)[^&/;?#\s]*", re.IGNORECASE
)
# me:password@camera/stream1: the scheme was forgotten; or rtsp//me:password@camera/stream1.
_MISTYPED = re.compile(r"^(?:[\w+.-]*//)?[^/@]*:.*@", re.DOTALL)
# In a query everything may be a secret (jwt=, streamid=read:cam:user:password) but what is known to be none.
_QUERY_VALUE = re.compile(r"([?&;][^=&;?#]*=)([^&;?#\s]*)")
_HARMLESS = re.compile(
    r"[?&;](?:ch|channel|subtype|stream|streamtype|src|profile|unicast|multicast|proto|transport|mode|latency|timeout|"
    r"size|resolution|width|height|fps|codec|video|audio|camera|listen|pkt_size|fifo_size|buffer_size)=",
    re.IGNORECASE,
)
_HARMLESS_VALUE = re.compile(r"[\w.-]{0,32}")


@dataclass(frozen=True, slots=True)
class CameraUrl:
    """A URL taken apart.

    Attributes:
        scheme: Lower case, without "://".
        username: Percent-decoded, or None.
        password: Percent-decoded, or None.
        location: Host, port, path and query.
    """

    scheme: str
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    location: str = field(repr=False)

    def text(self, *, username: str | None = None, password: str | None = None) -> str:
        """Builds the URL with percent-encoded credentials; arguments win over those of the URL."""
        user = self.username if username is None else username
        secret = self.password if password is None else password
        if user is None and secret is None:
            return f"{self.scheme}://{self.location}"
        credentials = quote(user or "", safe="") + ":" + quote(secret or "", safe="")
        return f"{self.scheme}://{credentials}@{self.location}"

    @property
    def host(self) -> str:
        """Host name or address, without port and brackets."""
        matched = _HOST_PORT.match(self.location)
        authority = matched.group() if matched else ""
        return authority.rsplit(":", 1)[0].strip("[]") if not authority.endswith("]") else authority[1:-1]

    @property
    def port(self) -> int | None:
        """TCP or UDP port; None where the URL leaves it to the scheme."""
        matched = _HOST_PORT.match(self.location)
        port = re.search(r":(\d+)$", matched.group()) if matched else None
        return int(port[1]) if port and 0 < int(port[1]) < 65_536 else None

    @property
    def fault(self) -> str:
        """What is wrong with host and port; empty when nothing is."""
        matched = _HOST_PORT.match(self.location)
        port = re.search(r":(\d+)$", matched.group()) if matched else None
        if port and int(port[1]) >= 65_536:
            return "names a port above 65535"
        return "" if self.host else "names no host"


def parse_url(url: str) -> CameraUrl:
    """Takes a URL apart; special characters in the password need not be percent-encoded.

    The reading of RFC 3986 comes first. Where it gives no valid host (`rtsp://me:a/b@cam/1`), the credentials
    end at the last "@".
    """
    scheme, _, rest = url.partition("://")
    userinfo, location = _split_userinfo(rest)
    if userinfo is None:
        return CameraUrl(scheme.lower(), None, None, location)
    username, colon, password = userinfo.partition(":")
    return CameraUrl(scheme.lower(), unquote(username), unquote(password) if colon else None, location)


def redact_url(url: str) -> str:
    """Removes everything secret from a URL; a path comes back unchanged.

    An "@" that is left may end a password that was not percent-encoded: nothing before it is shown.
    """
    if "://" not in url:
        return _MISTYPED.sub("***@", url)
    parsed = parse_url(url)
    before, at, after = parsed.location.rpartition("@")
    if "=" in before:  # the "@" may stand inside of a value: rtsp://cam/user=admin&password=p@ss&channel=1
        after = re.sub(r"^[^&/;?#\s]*", "", after)
    shown = _SECRET.sub(r"\1***", f"***@{after}" if at else after)
    return f"{parsed.scheme}://{_QUERY_VALUE.sub(_shown_pair, shown)}"


def _shown_pair(pair: re.Match[str]) -> str:
    name, value = pair.groups()
    harmless = _HARMLESS.fullmatch(name) and _HARMLESS_VALUE.fullmatch(value)
    return f"{name}{value}" if harmless else f"{name}***"


def _split_userinfo(rest: str) -> tuple[str | None, str]:
    authority_end = re.search(r"[/?#]|$", rest)
    assert authority_end is not None
    inside = rest.rfind("@", 0, authority_end.start())
    if inside < 0 and ("@" not in rest or _HOST_PORT.match(rest)):
        return None, rest
    if inside < 0 or not _HOST_PORT.match(rest, inside + 1):
        inside = rest.rfind("@")
    return rest[:inside], rest[inside + 1 :]
