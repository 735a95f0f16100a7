"""When a full box tries to do more again, and how much at a time: pure."""

from __future__ import annotations

from collections.abc import Iterable

_WORST_PATIENCE = 8.0
_SOON = 3.0  # calm waits after a step up: trouble then is put down to it


class Recovery:
    """Decides about trials: some steps up that are watched for a while, and taken back where they were too many.

    What a step up costs is only known once it was taken. So the first trial is small; each that lasts doubles the next
    one. After trouble half of the steps that were lost are tried first, so that a bad moment is soon made up for; after
    a trial that failed a single one is, and each failure doubles the wait. One step too many makes pictures hardly
    late, so that trying again and again costs next to nothing.

    Attributes:
        patience: What the calm before a trial is multiplied by.
        steps: Of the next trial, at most.
    """

    def __init__(self) -> None:
        self.patience = 1.0
        self.steps = 1
        self._calm_since: float | None = None
        self._trial: tuple[str, ...] = ()
        self._tried_at = float("-inf")
        self._lost = 0  # steps, since trouble began

    def calm(self, *, now: float, seconds: float) -> int:
        """Learns that all is well.

        Args:
            now: Monotonic seconds.
            seconds: That calm must last.

        Returns:
            How many steps up may be tried now.
        """
        if self._calm_since is None:
            self._calm_since = now
        lasted = now - self._calm_since
        if self._trial and lasted >= seconds:  # the next one may follow at once
            self._trial = ()
            self.steps *= 2
            self.patience = 1.0
        return 0 if lasted < seconds * self.patience else self.steps

    def tried(self, names: Iterable[str], *, now: float) -> None:
        """Learns which streams took a step up; one that took two is named twice."""
        self._trial = tuple(names)
        self._calm_since = self._tried_at = now

    def trouble(self, *, now: float, seconds: float) -> tuple[str, ...]:
        """Learns that something is too much; returns whose steps up, just taken, are to be taken back."""
        begins, trial = self._calm_since is not None, self._trial
        self._calm_since, self._trial = None, ()
        if begins:
            self._lost = 0
            soon = now - self._tried_at < _SOON * seconds
            self.patience = min(2 * self.patience, _WORST_PATIENCE) if soon else 1.0
            if trial:
                self.steps = 1
        return trial

    def fell(self, steps: int) -> None:
        """Learns how many steps down were taken without a trial."""
        self._lost += steps
        self.steps = max(self._lost // 2, 1)
