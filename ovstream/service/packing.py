"""What goes over a link beside plain values and the wire format."""

from __future__ import annotations

from dataclasses import astuple, fields
from fractions import Fraction
from typing import Any

from ovstream.service.timeline import Second
from ovstream.types import AccessUnit

_UNIT_FIELDS = tuple(one.name for one in fields(AccessUnit))


def packed_second(second: Second) -> tuple[Any, ...]:
    """As plain values, in the order of its fields."""
    return astuple(second)


def unpacked_second(values: list[Any]) -> Second:
    """The inverse of `packed_second`."""
    time, activity, novelty, actions, cpu, latencies, latency, dropped = values
    return Second(time, activity, novelty, tuple(actions), tuple(cpu), latencies, latency, dropped)


def packed_unit(unit: AccessUnit) -> dict[str, Any]:
    """As plain values."""
    values = {name: getattr(unit, name) for name in _UNIT_FIELDS}
    return {**values, "time_base": (unit.time_base.numerator, unit.time_base.denominator)}


def unpacked_unit(values: dict[str, Any]) -> AccessUnit:
    """The inverse of `packed_unit`."""
    return AccessUnit(**{**values, "time_base": Fraction(*values["time_base"])})
