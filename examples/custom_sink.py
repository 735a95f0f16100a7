"""A sink of your own: a plug-in that keeps a table of who moved when, as CSV.

    python examples/custom_sink.py [rtsp://... or FILE]

In a package of yours it gets an entry point, and may be named in a configuration file:
    [project.entry-points."ovstream.sinks"]
    diary = "my_package:Diary"                  # {type: diary, path: /var/lib/diary.csv, least_share: 0.05}
"""

from __future__ import annotations

import csv
import sys
import tempfile
from pathlib import Path

import ovstream
from ovstream.sinks import Sink
from ovstream.types import Embedding, StreamEvent


class Diary(Sink):
    """Writes a line when enough of a picture changed, and one for each event.

    Its options are the arguments: `path` to append to, and the `least_share` of the patches that must have changed.
    """

    def __init__(self, path: Path, *, least_share: float = 0.02) -> None:
        self._file = Path(path).open("a", newline="")  # noqa: SIM115 - closed by close()
        self._csv = csv.writer(self._file)
        self._least_share = least_share

    def publish(self, embedding: Embedding) -> None:
        """Takes every embedding, in order; must not make the pipeline wait."""
        share = float(embedding.changed.mean())
        if share >= self._least_share:
            self._csv.writerow([embedding.stream_id, embedding.seq, "moved", f"{share:.3f}"])

    def event(self, event: StreamEvent) -> None:
        """Takes what happens beside the pictures."""
        self._csv.writerow([event.stream_id, "", event.kind, event.detail])

    def close(self) -> None:
        """Finishes; called once the last stream that uses it is gone."""
        self._file.close()


def main(url: str = "synthetic:?seconds=4") -> None:
    """Follows the camera to its end and prints the diary."""
    with tempfile.TemporaryDirectory() as folder:
        sink = Diary(Path(folder, "diary.csv"))
        pictures = sum(1 for _ in ovstream.iterate(url, stream_id="door", sinks=[sink]))
        sink.close()
        print(Path(folder, "diary.csv").read_text(), end="")
    print(f"{pictures} pictures")


if __name__ == "__main__":
    main(*sys.argv[1:])
