"""Looks at a camera for some seconds: what it sends, how well that suits us, and what to change in its settings."""

from ovstream.probing.probe import probe
from ovstream.probing.report import Finding, ProbeReport

__all__ = ["Finding", "ProbeReport", "probe"]
