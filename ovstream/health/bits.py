"""Starved: an encoder that has far fewer bits than it had."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ovstream.health.features import Features
from ovstream.health.latch import Latch

WINDOW_SECONDS = 2.0
FEWEST = 8
MOST = 512  # pictures in a window, should the stream's clock stand still
MEMORY_SECONDS = 60.0  # how fast "usual" follows, while nothing is wrong
COARSER_QP = 7.0  # H.264: 6 steps double the quantiser
FEWER_BITS = 0.6
STARVED_SECONDS = 2.0


class _Sample(NamedTuple):
    seconds: float
    bits: int
    qp: float


class BitWatch:
    """Follows bit rate and quantisers."""

    def __init__(self) -> None:
        self.starved = Latch(on_seconds=STARVED_SECONDS, off_seconds=STARVED_SECONDS)
        self.usual_rate = self.rate = 0.0
        self.usual_qp = self.qp = 0.0
        self._samples: deque[_Sample] = deque()
        self._bits, self._qps = 0, 0.0  # sums over the samples

    def update(self, picture: Features) -> list[str]:
        """Takes one picture; returns the conditions that changed."""
        now = picture.seconds
        samples = self._samples
        while samples and not (0 <= now - samples[0].seconds <= WINDOW_SECONDS and len(samples) < MOST):
            self._add(self._samples.popleft(), -1)
        self._samples.append(_Sample(now, picture.bits, picture.qp))
        self._add(self._samples[-1], 1)
        passed = now - self._samples[0].seconds
        if len(self._samples) < FEWEST or passed < WINDOW_SECONDS / 2:
            return []
        self.rate = self._bits / passed
        self.qp = self._qps / len(self._samples)
        if not self.usual_rate:
            self.usual_rate, self.usual_qp = self.rate, self.qp
        starved = self.qp > self.usual_qp + COARSER_QP and self.rate < FEWER_BITS * self.usual_rate
        if not starved and not self.starved.active:
            step = min(passed / len(self._samples) / MEMORY_SECONDS, 1.0)
            self.usual_rate += step * (self.rate - self.usual_rate)
            self.usual_qp += step * (self.qp - self.usual_qp)
        return ["starved"] if self.starved.update(starved, now) else []

    def _add(self, sample: _Sample, sign: int) -> None:
        self._bits += sign * sample.bits
        self._qps += sign * sample.qp
