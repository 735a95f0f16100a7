"""A condition that is believed only when it lasts."""

from __future__ import annotations


class Latch:
    """Turns on after evidence for some time, and off after evidence to the contrary for some time.

    Args:
        on_seconds: Longest doubt before it turns on.
        off_seconds: Longest doubt before it turns off.

    Attributes:
        active: Whether it is on.
    """

    def __init__(self, *, on_seconds: float, off_seconds: float) -> None:
        self._wait = {True: on_seconds, False: off_seconds}
        self._doubt_since: float | None = None
        self.active = False

    def update(self, evidence: bool | None, now_seconds: float) -> bool:
        """Takes what one picture says, None when it says nothing; tells whether the state changed."""
        if evidence is None:
            return False
        if evidence == self.active:
            self._doubt_since = None
            return False
        if self._doubt_since is None or now_seconds < self._doubt_since:
            self._doubt_since = now_seconds
        if now_seconds - self._doubt_since < self._wait[evidence]:
            return False
        self.active, self._doubt_since = evidence, None
        return True
