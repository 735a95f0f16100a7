"""Scores and rules on what a stream shows: activity and novelty per zone, events with hysteresis. Pure numpy."""

from ovstream.watch.novelty import Novelty
from ovstream.watch.rules import RuleEvent, RuleState
from ovstream.watch.watcher import HAPPENED_SECONDS, WHOLE, Scores, Watcher

__all__ = ["HAPPENED_SECONDS", "WHOLE", "Novelty", "RuleEvent", "RuleState", "Scores", "Watcher"]
