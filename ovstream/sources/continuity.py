"""What FFmpeg's RTSP client does not say: that pictures are missing before one that it hands out."""

from __future__ import annotations

from collections import deque
from typing import get_args

from ovstream.bitstream import Parser
from ovstream.bitstream.parser import Codec
from ovstream.config import DEFAULT_MAX_PIXELS
from ovstream.errors import BitstreamError, UnsupportedBitstream
from ovstream.types import AccessUnit

# A keyframe needs no picture before it, so only the clock can tell that some are missing.
GAP_STEPS = 3
LEAST_STEPS, MOST_STEPS = 10, 100


class Continuity:
    """Follows the headers of a stream's pictures, about 50 us each. Of what the parser does not support only the clock tells.

    Args:
        codec: As in `AccessUnit`.
        max_pixels: Largest picture.
    """

    def __init__(self, codec: str, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
        known = (one for one in get_args(Codec) if one == codec)
        self._parser = next((Parser(one, level="headers", max_pixels=max_pixels) for one in known), None)
        self._joined = False
        self._last_pts: int | None = None
        self._steps: deque[int] = deque(maxlen=MOST_STEPS)

    def is_broken(self, unit: AccessUnit) -> bool:
        """Whether pictures are missing before `unit`, as far as anything in it tells."""
        waited = self._waited(unit)
        self._joined |= unit.keyframe
        if self._parser is None or not self._joined:
            return False
        try:
            self._parser.parse(unit)
        except UnsupportedBitstream:
            return unit.keyframe and waited
        except BitstreamError:
            return True
        return bool(self._parser.missing_references) or (unit.keyframe and waited)

    def _waited(self, unit: AccessUnit) -> bool:
        before, self._last_pts = self._last_pts, unit.pts
        if before is None or unit.pts is None or unit.pts <= before:
            return False
        step = unit.pts - before
        steps = sorted(self._steps)
        usual = steps[len(steps) // 4] if len(steps) >= LEAST_STEPS else None
        self._steps.append(step)
        return usual is not None and step > GAP_STEPS * usual
