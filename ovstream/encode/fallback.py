"""Falls back to whole pictures now and then ("key-framing") where encoding what changed does worse for the same work.

Two vectors tell which way is better, and both are there for nothing at each whole pass: the scene just before it, which
is as wrong as sparse calls leave it, and the scene of the whole pass before, which is as wrong as holding it would
have been. How wrong a held vector is grows ever more slowly with time, so after a k-th of the wait it is at least a
k-th as wrong; a wait of k pictures is what key-framing affords for the operations that were spent. Hence

* sparse calls that miss less than that least are better;
* sparse calls that miss more than a vector held all the while are worse;
* between them only trying tells: for some passes key-framing runs, and what it misses is measured itself.

Where sparse calls cost more than the budget earns, no whole pass comes that could tell: `overdrawn` starts the trial.

The choice stays for some passes, longer each time it is confirmed.
"""

from __future__ import annotations

import numpy as np

from ovstream.types import FloatArray


class Fallback:
    """Compares both ways over the whole passes of a stream; no clock, no model."""

    PASSES = 2
    """Whole passes over which a judgement is averaged."""

    BETTER = 0.9
    """Of what sparse calls miss, what key-framing must miss at most to stay."""

    LONGEST = 32
    """Most whole passes until the other way is looked at again."""

    def __init__(self) -> None:
        self._key_framing = False
        self._trial = False
        self._rest = 0  # passes until anything may change
        self._next_rest = 2 * self.PASSES
        self._sums = np.zeros(3)  # missed; missed at least by key-framing; by holding
        self._seen = 0
        self._sparse_missed: float | None = None
        self._last: FloatArray | None = None

    @property
    def key_framing(self) -> bool:
        """Whether only whole passes should run at present."""
        return self._key_framing

    def observe(self, before: FloatArray | None, after: FloatArray, *, spent: float) -> None:
        """Takes one whole pass.

        Args:
            before: (D,) scene that stood until this pass; None where there was none.
            after: (D,) scene of this pass.
            spent: Operations since the whole pass before, in whole passes, this one included.
        """
        last, self._last = self._last, after.copy()
        if before is None or last is None:
            return
        held = _square(last, after)
        if self._key_framing and self._sparse_missed is None:  # what the last sparse calls have left behind
            self._sparse_missed = _square(before, after)
            return
        self._sums += (_square(before, after), held / max(spent, 1.0), held)
        self._seen += 1
        self._rest = max(self._rest - 1, 0)
        if self._seen >= self.PASSES and (self._trial or not self._rest):
            self._judge()

    def overdrawn(self) -> None:
        """Reports that sparse calls had to wait again and again since the last whole pass."""
        if not self._key_framing and not self._rest:
            self._sparse_missed = None
            self._sums[:] = 0
            self._seen = 0
            self._turn(True, trial=True)

    def _judge(self) -> None:
        missed, least, most = self._sums / self._seen
        if not self._key_framing:
            self._sparse_missed = missed
            if missed > least:
                self._turn(True, trial=missed <= most)
        elif self._trial:
            self._trial = False
            self._turn(missed <= self.BETTER * (self._sparse_missed or 0.0), trial=False)
        else:
            self._turn(False, trial=False)
            self._rest = 0  # sparse calls are looked at at once
        self._sums[:] = 0
        self._seen = 0

    def _turn(self, key_framing: bool, *, trial: bool) -> None:
        """Goes on in one of the two ways; but for a trial, longer each time."""
        self._key_framing, self._trial = key_framing, trial
        if not trial:
            self._rest = self._next_rest
            self._next_rest = min(2 * self._next_rest, self.LONGEST)


def _square(one: FloatArray, other: FloatArray) -> float:
    return float(np.sum((one - other) ** 2))
