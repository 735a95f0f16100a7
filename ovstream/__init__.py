"""Understand live video at the edge without paying for pixels."""

__version__ = "0.1.0"
