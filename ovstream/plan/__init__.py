"""Plans without pixels: camera motion, change per patch, budget and debt."""

from ovstream.plan.grid import PatchGrid
from ovstream.plan.planner import Planner

__all__ = ["PatchGrid", "Planner"]
