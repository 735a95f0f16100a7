"""Session descriptions of WebRTC (RFC 8866, RFC 9429): one video out of many media, the rest refused.

aiortc accepts an offer as a whole or not at all. It gets the one video section that is wanted; the answer then
refuses the others by name, so audio never arrives and nothing has to be done with it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

MAX_MEDIA = 16
MAX_CANDIDATES = 20  # each is a place that packets are sent to: an offer must not make us scan a network
_SHARED = ("ice-ufrag", "ice-pwd", "fingerprint", "setup", "ice-options")  # may stand above all media
_LEFT_OUT = ("candidate", "bundle-only", "end-of-candidates", "simulcast", "rid")
# What aiortc answers is level 3.1; a decoder never limits us, `max_pixels` does.
_ANSWERED_LEVEL = re.compile(r"(profile-level-id=[0-9a-fA-F]{4})1f")
# RFC 8839 5.1: foundation, component 1 (RTP and RTCP share it), UDP, priority, address, port, type.
_CANDIDATE = re.compile(
    r"[A-Za-z0-9+/]{1,32} 1 (?i:udp) [0-9]{1,10} (?P<address>[0-9A-Fa-f.:]+) (?P<port>[0-9]{1,5}) "
    r"typ (?:host|srflx|prflx|relay)"
)
_HIGHEST_LEVEL = r"\g<1>34"


class BadDescription(ValueError):  # noqa: N818 - becomes an HTTP answer
    """The text is no usable session description."""


class UnacceptableMedia(ValueError):  # noqa: N818 - becomes an HTTP answer
    """The description is sound, but offers nothing that is wanted here."""


@dataclass(frozen=True, slots=True)
class Section:
    """One `m=` line and what belongs to it."""

    lines: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Media type: "video", "audio", "application"."""
        return self.lines[0][2:].split()[0]

    @property
    def port(self) -> str:
        """As written; "0" refuses, or marks a part of a bundle."""
        return self.lines[0].split()[1]

    def all(self, name: str) -> list[str]:
        """Values of every `a=name:value`; empty texts for `a=name`."""
        found = []
        for line in self.lines:
            key, _, value = line.removeprefix("a=").partition(":")
            if line.startswith("a=") and key == name:
                found.append(value)
        return found

    def first(self, name: str) -> str | None:
        """Value of the first `a=name:value`."""
        return next(iter(self.all(name)), None)

    def refused(self) -> Section:
        """The section of an answer that wants none of it (RFC 3264 6)."""
        kind, _, proto, *formats = self.lines[0].split()
        lines = [" ".join([kind, "0", proto, *formats]), "c=IN IP4 0.0.0.0", "a=inactive"]
        mid = self.first("mid")
        return Section(tuple(lines if mid is None else [*lines, f"a=mid:{mid}"]))


@dataclass(frozen=True, slots=True)
class Description:
    """A session description in its sections.

    Attributes:
        session: Lines before the first `m=`.
        media: The sections.
    """

    session: tuple[str, ...]
    media: tuple[Section, ...]

    @classmethod
    def parse(cls, text: str) -> Description:
        """Splits a text into sections.

        Raises:
            BadDescription: It does not look like SDP, or has too many media.
        """
        lines = [line for line in text.replace("\r\n", "\n").split("\n") if line]
        if not lines or lines[0] != "v=0" or any(not re.match(r"[a-z]=", line) for line in lines):
            raise BadDescription("this is not a session description")
        starts = [at for at, line in enumerate(lines) if line.startswith("m=")]
        if not starts:
            raise BadDescription("there is no media in the session description")
        if len(starts) > MAX_MEDIA:
            raise BadDescription(f"more than {MAX_MEDIA} media in the session description")
        media = [
            Section(tuple(lines[at:end])) for at, end in zip(starts, [*starts[1:], len(lines)], strict=True)
        ]
        if any(len(section.lines[0].split()) < 4 for section in media):
            raise BadDescription("a media line is cut")
        return cls(tuple(lines[: starts[0]]), tuple(media))

    def text(self) -> str:
        """The description on the wire."""
        lines = [*self.session, *(line for section in self.media for line in section.lines)]
        return "\r\n".join([*lines, ""])


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer, and which of its media is taken.

    Attributes:
        whole: As it came.
        chosen: Number of the video that is taken.
    """

    whole: Description
    chosen: int

    @classmethod
    def parse(cls, text: str) -> Offer:
        """Reads an offer and chooses its first video that is sent.

        Raises:
            BadDescription: It is not usable.
            UnacceptableMedia: Nobody sends video in it.
        """
        whole = Description.parse(text)
        for number, section in enumerate(whole.media):
            wanted = section.port != "0" or "bundle-only" in _names(section)
            if section.kind == "video" and wanted and _sends(section, whole.session):
                offer = cls(whole, number)
                offer._check()
                return offer
        raise UnacceptableMedia("the offer sends no video")

    @property
    def passive(self) -> bool:
        """Whether the peer insists on being the one that DTLS connects to."""
        return self._inherited("setup") == "passive"

    @property
    def ice_ufrag(self) -> str:
        """ICE user name fragment of the peer."""
        return self._inherited("ice-ufrag") or ""

    def reduced(self) -> str:
        """The offer with the chosen video alone, and with candidates that are addresses."""
        section = self.whole.media[self.chosen]
        lines = [line for line in section.lines if _name(line) not in _LEFT_OUT]
        head = lines[0].split()
        head[1] = "9" if head[1] == "0" else head[1]
        for name in _SHARED:
            value = self._inherited(name)
            if value is not None and section.first(name) is None:
                lines.append(f"a={name}:{value}")
        # With a bundle the candidates may stand in another section only (RFC 9143 7.3.1).
        offered = [value for one in self.whole.media for value in one.all("candidate")]
        lines += [f"a=candidate:{value}" for value in usable_candidates(offered)]
        session = [line for line in self.whole.session if _name(line) not in ("group", *_SHARED)]
        mid = section.first("mid")
        if mid is not None:
            session.append(f"a=group:BUNDLE {mid}")
        return Description(tuple(session), (Section((" ".join(head), *lines[1:])),)).text()

    def answer(self, text: str) -> str:
        """The whole answer out of the one to `reduced`: the other media are refused."""
        own = Description.parse(text)
        own = replace(
            own, session=tuple(line for line in own.session if self._bundled or _name(line) != "group")
        )
        media = [section.refused() for section in self.whole.media]
        media[self.chosen] = own.media[0]
        return _ANSWERED_LEVEL.sub(_HIGHEST_LEVEL, Description(own.session, tuple(media)).text())

    @property
    def _bundled(self) -> bool:
        return any(_name(line) == "group" for line in self.whole.session)

    def _inherited(self, name: str) -> str | None:
        own = self.whole.media[self.chosen].first(name)
        return own if own is not None else Section(self.whole.session).first(name)

    def _check(self) -> None:
        for name in ("ice-ufrag", "ice-pwd", "fingerprint"):
            if not self._inherited(name):
                raise BadDescription(f"the offer has no a={name}")


@dataclass(frozen=True, slots=True)
class Fragment:
    """Candidates that come after the offer (RFC 8840).

    Attributes:
        ice_ufrag: Of the connection that they belong to; None when the sender leaves it out.
        candidates: Values of `a=candidate`.
        ended: No more will come.
    """

    ice_ufrag: str | None
    candidates: tuple[str, ...]
    ended: bool

    @classmethod
    def parse(cls, text: str) -> Fragment:
        """Reads the body of a PATCH.

        Raises:
            BadDescription: A line is no line of SDP.
        """
        lines = [line for line in text.replace("\r\n", "\n").split("\n") if line]
        if not lines or any(not re.match(r"[a-z]=", line) for line in lines):
            raise BadDescription("this is not a fragment of a session description")
        section = Section(("m=- 9 - -", *lines))
        return cls(
            section.first("ice-ufrag"),
            tuple(usable_candidates(section.all("candidate"))),
            bool(section.all("end-of-candidates")),
        )


def usable_candidates(values: list[str]) -> list[str]:
    """Candidates over UDP that are plain addresses, each once.

    Names are left out: those of browsers (RFC 8828) would ask the whole network by multicast, others would let
    the sender choose what we look up. The peer reaches us anyway, and ICE learns its address then.
    """
    found: dict[str, None] = {}
    for value in values:
        matched = _CANDIDATE.match(value)
        try:
            address = ipaddress.ip_address(matched["address"]) if matched else None
        except ValueError:
            continue
        if matched is None or address is None or address.is_multicast or address.is_unspecified:
            continue
        if 0 < int(matched["port"]) < 65_536:
            found[matched.group()] = None  # without extensions, which nobody here reads
    return list(found)[:MAX_CANDIDATES]


def _name(line: str) -> str:
    return line.removeprefix("a=").partition(":")[0] if line.startswith("a=") else ""


def _names(section: Section) -> set[str]:
    return {_name(line) for line in section.lines}


def _sends(section: Section, session: tuple[str, ...]) -> bool:
    own = _names(section) & {"sendonly", "sendrecv", "recvonly", "inactive"}
    inherited = own or {_name(line) for line in session} & {"recvonly", "inactive"}
    return not inherited & {"recvonly", "inactive"}


def clean_answer(text: str) -> str:
    """An answer with candidates that are addresses.

    Raises:
        BadDescription: It is not usable.
        UnacceptableMedia: It refuses the video.
    """
    whole = Description.parse(text)
    if whole.media[0].port == "0":
        raise UnacceptableMedia("the answer refuses the video")
    candidates = usable_candidates([value for one in whole.media for value in one.all("candidate")])
    kept = [line for line in whole.media[0].lines if _name(line) != "candidate"]
    media = Section((*kept, *(f"a=candidate:{value}" for value in candidates)))
    return Description(whole.session, (media,)).text()
