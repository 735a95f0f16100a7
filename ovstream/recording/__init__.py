"""What the bitstream said and what became of it, in a file without pixels (docs/recordings.md)."""

from ovstream.recording.container import RecordingReader, RecordingWriter
from ovstream.recording.entries import Decoded, Differed, Encoded, Probed, Pushed, UnitEntry, Watched
from ovstream.recording.header import Header

__all__ = [
    "Decoded",
    "Differed",
    "Encoded",
    "Header",
    "Probed",
    "Pushed",
    "RecordingReader",
    "RecordingWriter",
    "UnitEntry",
    "Watched",
]
