"""Times and pictures as people give them on the command line."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ovstream.errors import ConfigError

_AGE = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_time(text: str, now_ns: int) -> int:
    """Reads an age ("90s", "10m", "2h", "7d", "1w") or a date ("2026-05-01", "2026-05-01T12:30", with zone or local).

    Args:
        text: As given.
        now_ns: UTC, Unix: where ages count from.

    Returns:
        UTC, Unix, nanoseconds.

    Raises:
        ConfigError: It is neither.
    """
    age = _AGE.fullmatch(text.strip())
    if age is not None:
        return now_ns - round(float(age[1]) * _SECONDS[age[2]] * 1e9)
    try:
        return round(datetime.fromisoformat(text.strip()).timestamp() * 1e9)
    except (ValueError, OverflowError, OSError):
        raise ConfigError(
            f"'{text}' is no time; give an age (10m, 2h, 7d) or a date (2026-05-01T12:30)"
        ) from None


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """Reads a picture as (H, W, 3) uint8.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ConfigError(f"{path}: no picture: {error}") from None
