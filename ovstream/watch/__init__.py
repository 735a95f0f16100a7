"""Scores and rules on what a stream shows: activity and novelty per zone, events with hysteresis. Pure numpy."""

from ovstream.watch.novelty import Novelty
from ovstream.watch.rules import RuleEvent, RuleState
from ovstream.watch.watcher import WHOLE, Scores, Watcher

__all__ = ["WHOLE", "Novelty", "RuleEvent", "RuleState", "Scores", "Watcher"]
