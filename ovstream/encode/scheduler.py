"""Decides what the encoding of a stream may cost; pure arithmetic, no clock, no model."""

from __future__ import annotations


class Scheduler:
    """Spreads a budget of operations over the pictures of a stream.

    Encoding some patches is the better use of operations while the change is local, but each such call leaves the
    context of all others a little staler. So what a picture earns goes into two purses, half for sparse calls, half for
    whole passes, and a whole pass is due when sparse calls since the last one have cost as much as it does, or when the
    tokens have drifted. Against whole passes alone ("key-framing") for the same operations that does better where
    little moves, and no worse where everything does: `benchmarks/fidelity.py`.

    Purses are counted in dense passes; each picture earns `budget` of one. What one purse cannot hold flows into the
    other. Sparse calls wait for a purse that is not in debt, so they owe at most one call; passes that must not wait (the
    first picture, a cut) ask nobody, and are paid from both.

    Args:
        budget: Operations per picture in the long run, as a share of encoding everything.
        dense_above: Share of changed patches above which only a whole pass is worth its cost.
        max_drift: Drift, as in `Output`, above which a whole pass is due.
        enough: Cost of the sparse calls, in dense passes, after which one is due; infinite: never for that.
    """

    SPARSE_ROOM = 1.0
    """What is saved up for sparse calls at most."""

    WHOLE_ROOM = 1.5
    TIGHTER = 0.5
    RELAXED = 1.25
    LEAST = 1 / 16
    """Of `max_drift`: how far failed audits lower it."""

    def __init__(self, *, budget: float, dense_above: float, max_drift: float, enough: float = 1.0) -> None:
        self._budget = budget
        self._dense_above = dense_above
        self._widest = max_drift
        self._max_drift = max_drift
        self._enough = enough
        self._sparse = self._whole = 1.0
        self._since_whole = 0.0

    @property
    def credit(self) -> float:
        """Dense passes that may run now, from both purses."""
        return self._sparse + self._whole

    @property
    def max_drift(self) -> float:
        """The drift allowed at present; at most that of the start."""
        return self._max_drift

    @property
    def affords_dense(self) -> bool:
        """Whether a whole pass over what changed may run now."""
        return self.credit > 0

    def earn(self, share: float = 1.0) -> None:
        """Begins a picture; it may earn less than the whole budget."""
        half = min(self._budget * share, 1e9) / 2
        sparse = self._sparse + half
        whole = self._whole + half + max(sparse - self.SPARSE_ROOM, 0.0)
        sparse = min(sparse, self.SPARSE_ROOM) + max(whole - self.WHOLE_ROOM, 0.0)
        self._sparse, self._whole = min(sparse, self.SPARSE_ROOM), min(whole, self.WHOLE_ROOM)

    def admits(self, *, changed: float) -> bool:
        """Tells whether a sparse call is worth its cost, and paid for.

        Args:
            changed: Patches that differ from what was encoded, as far as is known / all patches.
        """
        return changed <= self._dense_above and self._sparse >= 0

    def spend(self, cost: float, *, whole: bool) -> None:
        """Pays for what ran: its operations / those of a dense pass."""
        if not whole:
            self._sparse -= cost
            self._since_whole += cost
            return
        self._since_whole = 0.0
        self._whole -= cost
        if self._whole < 0:
            self._sparse += self._whole
            self._whole = 0.0

    def due(self, drift: float | None) -> str | None:
        """Tells why a whole pass is due; None while none is, or none is paid for.

        Args:
            drift: As in `Output`; None where it is not measured.

        Returns:
            "drift", or "refresh" after sparse calls that cost enough.
        """
        if self._whole < 1:
            return None
        if drift is not None and drift > self._max_drift:
            return "drift"
        return "refresh" if self._since_whole >= self._enough else None

    def audited(self, *, passed: bool) -> None:
        """Makes whole passes more frequent after a failed audit, and slowly rarer again after the others."""
        factor = self.RELAXED if passed else self.TIGHTER
        self._max_drift = min(max(self._max_drift * factor, self.LEAST * self._widest), self._widest)
