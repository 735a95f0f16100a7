"""3D rotary position embedding, exactly as the released weights were trained. Needs numpy alone.

A head of 64 numbers has 32 frequencies, split 4:6:6 between the axes of a position (t, h, w):

```
f = | t: theta^(-i/8), i = 0..7 | h: theta^(-i/12), i = 0..11 | w: theta^(-i/12), i = 0..11 |
```

The released code turns the *pairs* (x0, x1), (x2, x3), ... but lays the angles out for the *halves* of a head:

```
x          x0      x1      x2      x3     ...  x62     x63
angle      f0      f1      f2      f3     ...  f30     f31      angles = [f, f]
partner   -x1      x0     -x3      x2     ... -x63     x62      out = x * cos(angle) + partner * sin(angle)
```

so a pair becomes `[[cos a, -sin a], [sin b, cos b]]` with a != b: **not a rotation**. R(s + d) = R(d) R(s) does not
hold, cached keys cannot be moved to another time, and the RotaryEmbedding operator of ONNX cannot express it. The
weights know nothing else, so this is kept to the letter (`rope="onevision"`); do not "fix" it. Models of our own may
use `rope="rotary"`, whose angles are [f0, f0, f1, f1, ...]: a true rotation of every pair.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovstream.model.config import VisionConfig


def axis_sizes(head_dim: int) -> tuple[int, int, int]:
    """Frequencies of the axes t, h and w: the 4:6:6 split of `head_dim / 2`."""
    unit = head_dim // 32
    return 4 * unit, 6 * unit, 6 * unit


def frequencies(config: VisionConfig) -> npt.NDArray[np.float32]:
    """What a position is multiplied by to give the angles of a head.

    Args:
        config: Of the model.

    Returns:
        (3, head_dim) float32; `angles = t * row0 + h * row1 + w * row2`, where each column has one row that is
        not zero. The power is rounded to float32 before its reciprocal is, which gives the released values bit for
        bit.
    """
    sizes = axis_sizes(config.head_dim)
    rows = np.zeros((3, config.head_dim // 2), np.float32)
    start = 0
    for axis, size in enumerate(sizes):
        exponent = (np.arange(size, dtype=np.float32) / np.float32(size)).astype(np.float64)
        power = (config.rope_theta**exponent).astype(np.float32)
        rows[axis, start : start + size] = np.float32(1) / power
        start += size
    if config.rope == "rotary":
        return np.repeat(rows, 2, axis=1)
    return np.concatenate([rows, rows], axis=1)


def pair_split(head_dim: int) -> npt.NDArray[np.int64]:
    """(head_dim,) int64: the order [0, 2, 4, ..., 1, 3, 5, ...], firsts of all pairs before all seconds.

    Queries and keys that are both reordered so have the same products, and the partner of a number is then half
    a head away: a split and a concatenation instead of strided copies. Exported graphs use this order.
    """
    return np.arange(head_dim, dtype=np.int64).reshape(-1, 2).T.reshape(-1).copy()
