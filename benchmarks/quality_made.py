"""Clips in which either an object comes in or the light changes; all else is a still camera with noise.

Backgrounds are pictures of held-out cameras, objects are soft-edged pieces of other cameras' pictures, so that nothing but
what happens tells the two kinds apart. Half of the changes of light are local and as large as the objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.quality_data import SIDE_PX, Labelled, Pictures

LENGTH = 24
STARTS, ENDS = 8, 18  # pictures between which it happens
KINDS = ("object", "object", "lamp", "light")
NOISE = 2.0  # grey levels
Plane = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """One clip.

    Attributes:
        shown: `LENGTH` pictures.
        kind: "object", "lamp" (local light) or "light" (all of it).
        ground: Whose background.
    """

    shown: list[Pictures]
    kind: str
    ground: str

    @property
    def is_object(self) -> bool:
        """Something came in."""
        return self.kind == "object"


def make(scenes: Labelled, *, grounds: int = 2, seed: int = 0) -> list[Made]:
    """Four clips on each of some pictures of every held-out camera.

    Args:
        scenes: See `quality_data.scenes`.
        grounds: Pictures of a camera to make clips of.
        seed: Of everything.
    """
    rng = np.random.default_rng(seed)
    names = list(dict.fromkeys(scenes.clips.tolist()))
    found = []
    for name in names:
        mine, others = scenes.pictures[scenes.clips == name], scenes.pictures[scenes.clips != name]
        for number in range(0, len(mine) // grounds * grounds, len(mine) // grounds):
            ground = mine[number].astype(np.float32)
            found += [Made(_clip(ground, kind, others, rng), kind, name) for kind in KINDS]
    return found


def with_object(picture: Pictures, others: Pictures, rng: np.random.Generator) -> Pictures:
    """The picture with a piece of another one in it."""
    piece, alpha = _thing(others, rng)
    x, y = (int(rng.integers(0, SIDE_PX - side + 1)) for side in (alpha.shape[1], alpha.shape[0]))
    return _laid(picture.astype(np.float32), piece, alpha, x, y).clip(0, 255).astype(np.uint8)


def _clip(ground: Plane, kind: str, others: Pictures, rng: np.random.Generator) -> list[Pictures]:
    if kind == "object":
        piece, alpha = _thing(others, rng)
        y = int(rng.integers(0, SIDE_PX - alpha.shape[0] + 1))
        stop = int(rng.integers(30, SIDE_PX - alpha.shape[1] - 10))
    elif kind == "lamp":
        strength = _spot(rng) * float(rng.choice([-0.5, 0.6, 0.9]))
    else:
        gain, gamma = float(rng.choice([0.6, 0.75, 1.3, 1.5])), float(rng.choice([0.8, 1.0, 1.25]))
        tint = np.exp(0.08 * rng.standard_normal(3)).astype(np.float32)
    shown = []
    for number in range(LENGTH):
        done = float(np.clip((number - STARTS) / (ENDS - STARTS), 0, 1))
        picture = ground
        if kind == "object" and done:
            picture = _laid(ground, piece, alpha, round(done * (stop + alpha.shape[1])) - alpha.shape[1], y)
        elif kind == "lamp":
            picture = ground * (1 + done * strength)
        elif kind == "light":
            lit = 255 * (ground / 255) ** gamma * gain * tint
            picture = ground + done * (lit - ground)
        noisy = picture + NOISE * rng.standard_normal(picture.shape).astype(np.float32)
        shown.append(noisy.clip(0, 255).astype(np.uint8))
    return shown


def _thing(others: Pictures, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """A piece of a picture, (h, w, 3), and how much of it shows, (h, w, 1): an ellipse with a soft edge."""
    height, width = int(rng.integers(50, 110)), int(rng.integers(30, 80))
    source = others[rng.integers(len(others))].astype(np.float32)
    x, y = int(rng.integers(0, SIDE_PX - width)), int(rng.integers(0, SIDE_PX - height))
    v, u = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    alpha = np.clip((1 - np.hypot(u, v)) / 0.15, 0, 1).astype(np.float32)[..., None]
    return source[y : y + height, x : x + width], alpha


def _laid(ground: Plane, piece: Plane, alpha: Plane, x: int, y: int) -> Plane:
    """The ground with a piece on it; x may be outside."""
    left, right = max(x, 0), min(x + alpha.shape[1], SIDE_PX)
    if right <= left:
        return ground
    out, part = ground.copy(), slice(left - x, right - x)
    where = (slice(y, y + alpha.shape[0]), slice(left, right))
    out[where] = out[where] * (1 - alpha[:, part]) + piece[:, part] * alpha[:, part]
    return out


def _spot(rng: np.random.Generator) -> Plane:
    """(224, 224, 1) light of a lamp, 1 in the middle."""
    v, u = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    x, y = rng.uniform(40, SIDE_PX - 40, 2)
    wide, high = rng.uniform(20, 45), rng.uniform(28, 60)
    return np.exp(-(((u - x) / wide) ** 2) - ((v - y) / high) ** 2).astype(np.float32)[..., None]
