"""Corrects what a sparse call leaves behind: the tokens whose patch stayed the same in a picture that did not.

A token is right for the picture in which it was encoded. When others change, its own pixels need no new look, but
its context is another one, and what it tells to those who attend to it grows stale, more so in deep layers. Most of
that drift is common to many tokens. So each sparse call also encodes a few of the oldest unchanged tokens again. What
they turn out to be, less what was cached, is a sample of the drift, and kriging (best linear prediction from samples) carries it to the other old tokens:

    W = A K (K_RR + noise I)^-1,   K_jR = exp(cos(f_j, f_R) - 1),   f = last hidden states, centred

`noise`, how much of a sample is its own affair, comes from the samples themselves, layer by layer: their spread
against their mean. Then each layer's W is weakened by a gain that the samples teach as well: what each of them turned
out to be against what the others foretold. Where they disagree nothing is carried over. The diagonal A = sqrt(age_j / age_R), the correlation
of a random walk's values at two times, is what keeps this stable: a token encoded two calls ago has not drifted as
far as the oldest. Without it errors feed on each other and grow without bound after some 150 pictures.

Corrected are the values of all but the first layers, the last hidden states, and the keys and values of the pooling
head. Keys of the layers are left alone: they are turned by their position, so their innovations do not add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovstream.encode.state import EncoderState
from ovstream.model.config import VisionConfig
from ovstream.types import BoolArray, FloatArray

Slots = npt.NDArray[np.int64]

SETTLED_SHARE = 0.25
"""Of the layers, from the input: so close to the pixels that a stale context hardly matters."""

OWN_SHARE = 0.5
"""Of the samples' spread, what counts as noise; the rest is drift that differs from place to place."""

NOISE_RANGE = (0.1, 1e3)
_GOLDEN_RATIO = 0.6180339887498949
_TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """Slots that are encoded again, and what is cached there.

    Attributes:
        slots: (r,) int64, sorted.
        age: Mean number of calls since they were encoded, the one to come included.
        values: (layers, heads, r, head_dim) float32, of the layers that are corrected.
        tokens: (r, D) float32.
        head: Keys and values of the pooling head, (heads, r, head_dim) float32 each; empty without one.
    """

    slots: Slots
    age: float
    values: FloatArray
    tokens: FloatArray
    head: list[FloatArray]


class DriftCorrection:
    """Chooses probes and spreads what they found; without memory of its own.

    Args:
        config: Shape of the model.
        probes: Most tokens to encode again in a sparse call.
    """

    FEWEST = 2
    """Probes without which nothing can be told from chance."""

    def __init__(self, config: VisionConfig, *, probes: int) -> None:
        self._config = config
        self._probes = probes
        self._first_layer = round(SETTLED_SHARE * config.num_hidden_layers)

    def choose(self, state: EncoderState, slots: Slots) -> Slots:
        """Picks the oldest living tokens, scattered over the picture.

        Args:
            state: Before the call.
            slots: (n,) what the call encodes anyway.

        Returns:
            (r,) int64, sorted; none where too few tokens are left to learn from.
        """
        candidates = state.alive.copy()
        candidates[slots] = False
        found = np.flatnonzero(candidates)
        if min(found.size, self._probes) < self.FEWEST:
            return found[:0]
        scatter = (found * _GOLDEN_RATIO) % 1.0  # after a dense pass all have the same age
        oldest = np.argsort(-(state.ages[found] + scatter), kind="stable")[: self._probes]
        return np.sort(found[oldest])

    def read(self, state: EncoderState, slots: Slots) -> Probes:
        """Copies what is cached of some living slots."""
        return Probes(
            slots,
            age=float(state.ages[slots].mean()) + 1,
            values=state.read_values(self._first_layer, slots),
            tokens=state.tokens[slots],
            head=state.read_head(slots),
        )

    def spread(self, state: EncoderState, before: Probes) -> float:
        """Corrects the old tokens of a state by what its probes have become.

        Args:
            state: After the call that encoded the probes among others.
            before: From `read`, before that call.

        Returns:
            Mean innovation of the probes' last hidden states, in units of the spread of all living tokens.
        """
        after = self.read(state, before.slots)
        kernel = self._kernel(state, before.slots)
        samples = kernel[before.slots]
        aged = (
            np.sqrt(np.minimum(state.ages / np.float32(before.age), 1)) * state.alive
        )  # 0 where just encoded
        weights = kernel * aged.astype(np.float32)[:, None]
        moved = after.tokens - before.tokens
        spread = _length(_centred(state.tokens, state.alive)[state.alive])
        self._spread_values(state, after.values - before.values, samples, weights)
        share = _carried(samples, moved[None])[0]
        state.tokens += weights @ (share @ moved)
        heads = zip(before.head, after.head, strict=True)
        state.add_head(weights, [share @ (new - old) for old, new in heads])
        if not before.head:  # the scene is the mean of the tokens; with a head it follows in the next call
            state.scene[:] = state.tokens[state.alive].mean(axis=0)
        return _length(moved) / max(spread, _TINY)

    def flops(self, probes: int, cached: int) -> int:
        """Floating-point operations of `spread`, as counted by `VisionConfig.flops`."""
        corrected = self._config.num_hidden_layers - self._first_layer + (3 if self._config.use_head else 1)
        return 2 * probes * self._config.hidden_size * (cached + corrected * (cached + probes))

    def _spread_values(
        self, state: EncoderState, moved: FloatArray, samples: FloatArray, weights: FloatArray
    ) -> None:
        layers, heads, probes, width = moved.shape
        by_layer = moved.transpose(0, 2, 1, 3).reshape(layers, probes, heads * width)
        shares = _carried(samples, by_layer)
        state.add_values(self._first_layer, weights, shares[:, None] @ moved)

    def _kernel(self, state: EncoderState, slots: Slots) -> FloatArray:
        """(N, r): likeness of every token to every probe, 1 for the same."""
        features = _centred(state.tokens, state.alive)
        features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), _TINY)
        kernel: FloatArray = np.exp(features @ features[slots].T - 1)
        return kernel


def _centred(tokens: FloatArray, alive: BoolArray) -> FloatArray:
    centred: FloatArray = tokens - tokens[alive].mean(axis=0)
    return centred


def _length(rows: FloatArray) -> float:
    return float(np.linalg.norm(rows, axis=1).mean())


def _noise(moved: FloatArray) -> FloatArray:
    """(k,): for k sets of r samples, (k, r, d), the variance of each by itself in units of the common one."""
    probes = moved.shape[1]
    mean = moved.mean(axis=1, keepdims=True)
    own = ((moved - mean) ** 2).sum(axis=(1, 2)) / (probes - 1)
    own_share = OWN_SHARE * own
    least, most = NOISE_RANGE
    common = np.maximum((mean**2).sum(axis=(1, 2)) - own / probes, own_share / most + _TINY)
    noise: FloatArray = np.maximum(own_share / common, least).astype(np.float32)
    return noise


def _carried(samples: FloatArray, moved: FloatArray) -> FloatArray:
    """(k, r, r): g (K_RR + noise I)^-1 for k sets of samples, (k, r, d).

    The gain g, 0..1, is the share of each sample that the others foretell: with C the inverse, a sample that is left
    out is missed by (C m)_i / C_ii.
    """
    identity = np.eye(len(samples), dtype=np.float32)
    inverse = np.linalg.inv(samples + _noise(moved)[:, None, None] * identity).astype(np.float32)
    missed = (inverse @ moved) / np.einsum("krr->kr", inverse)[:, :, None]
    whole = np.maximum((moved**2).sum(axis=(1, 2)), _TINY)
    gain = np.clip(1 - (missed**2).sum(axis=(1, 2)) / whole, 0, 1).astype(np.float32)
    carried: FloatArray = gain[:, None, None] * inverse
    return carried
