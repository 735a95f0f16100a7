"""Adds up what access units say, with and without parsing them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any, cast, get_args

import numpy as np

from ovstream.bitstream import Codec, Parser
from ovstream.errors import BitstreamError, UnsupportedBitstream
from ovstream.probing.profiles import profile_and_level
from ovstream.types import AccessUnit, BlockClass, ClockQuality

# Enough for the structure of a GOP and for means; more would keep a slow machine busy behind a fast camera.
MAX_PARSED_UNITS = 150
SHOWN_STRUCTURE = 8
VARYING_GOP = 1.5


@dataclass(slots=True)
class Pace:
    """Times, sizes and keyframes of all access units; costs nothing.

    Args:
        wall_ns: Our wall clock, Unix nanoseconds.
    """

    wall_ns: Callable[[], int] = time.time_ns
    pts_seconds: list[float] = field(default_factory=list)
    arrivals_ns: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    keyframes: list[int] = field(default_factory=list)
    offsets_seconds: list[float] = field(default_factory=list)
    clock: ClockQuality = "none"
    _earliest: float = math.inf
    _latest: float = -math.inf

    def add(self, unit: AccessUnit) -> None:
        """Takes the next unit, right when it arrives."""
        if unit.keyframe:
            self.keyframes.append(len(self.sizes))
        self.sizes.append(len(unit.data))
        self.arrivals_ns.append(unit.arrival_ns)
        if unit.pts_seconds is not None:
            self.pts_seconds.append(unit.pts_seconds)
            self._earliest = min(self._earliest, unit.pts_seconds)
            self._latest = max(self._latest, unit.pts_seconds)
        self.clock = unit.clock_quality
        if unit.clock_quality == "sender" and unit.capture_time_ns is not None:
            arrived_ns = self.wall_ns() - (time.monotonic_ns() - unit.arrival_ns)
            self.offsets_seconds.append((unit.capture_time_ns - arrived_ns) / 1e9)

    @property
    def span_seconds(self) -> float:
        """From the first picture to the last one; may be asked for every unit."""
        return max(self._latest - self._earliest, 0.0)

    @property
    def seconds(self) -> float:
        """From the first picture to the end of the last one; 0 without time stamps."""
        if len(self.pts_seconds) < 2:
            return 0.0
        return self.span_seconds + self._step_seconds

    @property
    def fps(self) -> float | None:
        """Mean over the time observed."""
        return len(self.sizes) / self.seconds if self.seconds > 0 else None

    @property
    def bitrate_kbps(self) -> float | None:
        """Mean over the time observed."""
        return sum(self.sizes) * 8 / 1000 / self.seconds if self.seconds > 0 else None

    @property
    def gops(self) -> list[int]:
        """Lengths, in pictures, of those seen whole."""
        return [after - before for before, after in pairwise(self.keyframes)]

    @property
    def gop_varies(self) -> bool:
        """Keyframes come irregularly."""
        return len(self.gops) > 1 and max(self.gops) > VARYING_GOP * min(self.gops)

    @property
    def keyframe_share(self) -> float:
        """Of all bits."""
        total = sum(self.sizes)
        return sum(self.sizes[index] for index in self.keyframes) / total if total else 0.0

    @property
    def jitter_ms(self) -> float | None:
        """95th percentile of the deviation of arrivals from presentation, around its median."""
        if len(self.pts_seconds) != len(self.sizes) or len(self.sizes) < 10 or not all(self.arrivals_ns):
            return None
        late = np.array(self.arrivals_ns) / 1e9 - np.array(self.pts_seconds)
        return float(np.percentile(np.abs(late - np.median(late)), 95) * 1e3)

    @property
    def _step_seconds(self) -> float:
        ordered = sorted(self.pts_seconds)
        return statistics.median(after - before for before, after in pairwise(ordered))


@dataclass(slots=True)
class Anatomy:
    """Kinds of pictures and blocks, from parsing the first units; made for one thread."""

    profile: str = ""
    level: str = ""
    width: int = 0
    height: int = 0
    kinds: str = ""
    slices: int = 0
    qps: list[float] = field(default_factory=list)
    skips: list[float] = field(default_factory=list)
    intras: list[float] = field(default_factory=list)
    motions: list[float] = field(default_factory=list)
    unparsed_reason: str = ""
    _parser: Parser | None = None

    def add(self, unit: AccessUnit, *, max_pixels: int) -> None:
        """Parses the next unit."""
        if not self.profile and (found := profile_and_level(unit.codec, unit.data)) is not None:
            self.profile, self.level = found
        if self.unparsed_reason or len(self.kinds) >= MAX_PARSED_UNITS:
            return
        if unit.codec not in get_args(Codec):
            self.unparsed_reason = f"there is no parser for {unit.codec}"
            return
        if self._parser is None:
            self._parser = Parser(cast(Codec, unit.codec), level="motion", max_pixels=max_pixels)
        try:
            self._look(self._parser.parse(unit))
        except UnsupportedBitstream as error:
            self.unparsed_reason = str(error)
        except BitstreamError:  # damaged: the next one may be whole
            pass

    @property
    def b_frames(self) -> int:
        """Most B pictures in a row."""
        return max((len(list(run)) for kind, run in groupby(self.kinds) if kind == "B"), default=0)

    @property
    def structure(self) -> str:
        """Kinds from the second keyframe on, in coding order; the first GOP may lack what came before it."""
        second = self.kinds.find("I", 1)
        start = second if 0 < second < len(self.kinds) - SHOWN_STRUCTURE else 0
        return self.kinds[start : start + SHOWN_STRUCTURE]

    def _look(self, frame: Any) -> None:
        self.width, self.height = frame.width, frame.height
        self.kinds += frame.slice_type
        self.slices = max(self.slices, int(frame.slice_map.max()) + 1)
        if frame.slice_type == "I":
            return
        classes, blocks = frame.block_class, frame.blocks
        self.qps.append(float(frame.qp.mean()))
        self.skips.append(float((classes == BlockClass.SKIP).mean()))
        self.intras.append(float((classes >= BlockClass.INTRA).mean()))
        used = blocks["ref_idx"].max(axis=-1) >= 0
        speed = np.hypot(*np.moveaxis(blocks["mv"].astype(np.float32), -1, 0)).max(axis=-1) / 4
        self.motions.append(float(speed[used].mean()) if used.any() else 0.0)
