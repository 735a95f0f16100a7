"""Decides what the encoding of a stream may cost; pure arithmetic, no clock, no model."""

from __future__ import annotations

from ovstream.encode.fallback import Fallback
from ovstream.types import FloatArray


class Scheduler:
    """Spreads a budget of operations over the pictures of a stream.

    Encoding some patches is the better use of operations while the change is local. When most of the picture
    changed, the same operations, saved up for a whole pass now and then, give better vectors. And when the old
    tokens have drifted, a whole pass ends it. Where whole passes alone do better for the same operations, they alone run
    for a while: see `Fallback`.

    The credit is counted in dense passes: each picture earns `budget` of one, up to `BURST`, and whatever runs is
    paid. Only what can wait waits for a credit: what changed is encoded on debt, down to `DEBT`, and passes that must
    not wait (the first picture, a cut) ask nobody.

    Args:
        budget: Operations per picture in the long run, as a share of encoding everything.
        dense_above: Share of changed patches above which only a whole pass is worth its cost.
        max_drift: Drift, as in `Output`, above which a whole pass is due.
        fallback: Chooses between sparse calls and key-framing; None: sparse calls always.
    """

    BURST = 2.0
    DEBT = 1.0
    TIGHTER = 0.5
    RELAXED = 1.25
    OVERDRAWN = 4
    """Sparse calls since the last whole pass that found no credit: then key-framing is tried."""

    LEAST = 1 / 16
    """Of `max_drift`: how far failed audits lower it."""

    def __init__(
        self, *, budget: float, dense_above: float, max_drift: float, fallback: Fallback | None = None
    ) -> None:
        self._budget = budget
        self._dense_above = dense_above
        self._widest = max_drift
        self._max_drift = max_drift
        self._credit = self.BURST
        self._fallback = fallback
        self._spent = 0.0
        self._refused = 0

    @property
    def credit(self) -> float:
        """Dense passes that may run now."""
        return self._credit

    @property
    def max_drift(self) -> float:
        """The drift allowed at present; at most that of the start."""
        return self._max_drift

    @property
    def affords_dense(self) -> bool:
        """Whether a whole pass over what changed may run now."""
        return self._credit > 0

    def earn(self, share: float = 1.0) -> None:
        """Begins a picture; it may earn less than the whole budget."""
        self._credit = min(self._credit + self._budget * share, self.BURST)

    def admits(self, *, share: float, changed: float) -> bool:
        """Tells whether a sparse call is worth its cost, and within what may be owed.

        Args:
            share: Patches of the call / all patches.
            changed: Patches that differ from what was encoded, as far as is known / all patches.
        """
        if self.key_framing or changed > self._dense_above:
            return False
        paid = self._credit - share > -self.DEBT
        self._refused += not paid
        if self._fallback is not None and self._refused >= self.OVERDRAWN:
            self._fallback.overdrawn()
        return paid

    def spend(self, cost: float) -> None:
        """Pays for what ran: its operations / those of a dense pass."""
        self._credit -= cost
        self._spent += cost

    @property
    def key_framing(self) -> bool:
        """Whether whole passes alone run at present."""
        return self._fallback is not None and self._fallback.key_framing

    @property
    def key_due(self) -> bool:
        """Whether what changed is to be answered by a whole pass: key-framing, and paid for."""
        return self.key_framing and self._credit >= 1

    def whole(self, before: FloatArray | None, after: FloatArray) -> None:
        """Reports a whole pass, after `spend`; see `Fallback.observe`."""
        if self._fallback is not None:
            self._fallback.observe(before, after, spent=self._spent)
        self._spent, self._refused = 0.0, 0

    def drifted(self, drift: float | None) -> bool:
        """Tells whether a whole pass is due and paid for; never where drift is not measured."""
        return drift is not None and drift > self._max_drift and self._credit >= 1

    def audited(self, *, passed: bool) -> None:
        """Makes whole passes more frequent after a failed audit, and slowly rarer again after the others."""
        factor = self.RELAXED if passed else self.TIGHTER
        self._max_drift = min(max(self._max_drift * factor, self.LEAST * self._widest), self._widest)
