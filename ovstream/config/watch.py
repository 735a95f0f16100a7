"""Options of what is watched in a picture: zones, and rules that tell of events in them."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ovstream.config.section import Section

Point = tuple[float, float]
NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$"
RuleKind = Literal["motion", "unusual", "silent", "health"]
ConditionName = Literal["frozen", "dark", "starved", "shaking", "infrared", "moved", "cut"]
TROUBLES: tuple[ConditionName, ...] = (
    "frozen",
    "dark",
    "starved",
    "shaking",
    "moved",
)  # of a camera, not of a scene


def _is_polygon(points: tuple[Point, ...]) -> tuple[Point, ...]:
    if not all(0 <= value <= 1 for point in points for value in point):
        raise ValueError("corners are (x, y) as fractions of the picture, 0 to 1, from the upper left")
    area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True))
    if math.isclose(area, 0, abs_tol=1e-9):
        raise ValueError("the corners enclose no area")
    return points


Polygon = Annotated[tuple[Point, ...], Field(min_length=3, max_length=64), AfterValidator(_is_polygon)]


class ZoneConfig(Section):
    """A part of the picture that has scores of its own."""

    name: str = Field(pattern=NAME)
    polygon: Polygon = Field(description="corners (x, y) as fractions of the picture, from the upper left")


class RuleConfig(Section):
    """When to tell of an event; it starts above one threshold and ends below a lower one."""

    name: str = Field(pattern=NAME)
    when: RuleKind = Field(
        description="motion: activity (changed share); unusual: novelty; silent: seconds without a picture; "
        "health: seconds that a condition of the camera has lasted"
    )
    zone: str | None = Field(default=None, description="name of a zone; null: the whole picture")
    conditions: tuple[ConditionName, ...] = Field(
        default=TROUBLES, min_length=1, description="of health: any of them"
    )
    above: float = Field(gt=0, description="score from which the event starts")
    below: float | None = Field(default=None, ge=0, description="score under which it ends; null: half")
    for_seconds: float = Field(default=0.0, ge=0, description="how long above before it starts")
    quiet_seconds: float = Field(default=3.0, ge=0, description="how long below before it ends")

    @model_validator(mode="after")
    def _ends_below_its_start(self) -> RuleConfig:
        if self.below is not None and self.below > self.above:
            raise ValueError(f"rule '{self.name}': 'below' must not be greater than 'above'")
        if self.when in ("silent", "health") and self.zone is not None:
            raise ValueError(f"rule '{self.name}': '{self.when}' is about the camera and has no zone")
        if self.when != "health" and "conditions" in self.model_fields_set:
            raise ValueError(f"rule '{self.name}': 'conditions' belongs to 'health'")
        return self

    @property
    def ends_below(self) -> float:
        """The lower threshold."""
        return self.above / 2 if self.below is None else self.below


class WatchConfig(Section):
    """Zones, rules, and what counts as usual."""

    zones: tuple[ZoneConfig, ...] = Field(default=(), max_length=32)
    rules: tuple[RuleConfig, ...] = Field(default=(), max_length=64)
    history_seconds: float = Field(
        default=600.0, ge=10, le=86_400, description="how far back a scene counts as usual"
    )
    settle_seconds: float = Field(
        default=20.0, ge=0, description="how long a new scene stays unusual before it becomes usual"
    )

    @model_validator(mode="after")
    def _names_fit(self) -> WatchConfig:
        zones = [zone.name for zone in self.zones]
        for kind, names in (("zone", zones), ("rule", [rule.name for rule in self.rules])):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind} '{twice[0]}' is given twice")
        for rule in self.rules:
            if rule.zone is not None and rule.zone not in zones:
                known = ", ".join(zones) or "none is defined"
                raise ValueError(f"rule '{rule.name}': no zone '{rule.zone}' ({known})")
        return self
