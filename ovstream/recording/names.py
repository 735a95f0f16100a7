"""Where recordings go: a new file for every start, and not too many of them."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime
from pathlib import Path

_SUFFIX = ".ovr"
_WHEN = "%Y%m%dT%H%M%SZ"


def new_recording(path: Path, *, stream_id: str, started_ns: int, max_files: int | None) -> Path:
    """Names a recording that begins, and removes the oldest of earlier starts where there are too many.

    Args:
        path: A folder: the file gets the stream's name and the time. A file that exists: the time is added to its name.
        stream_id: Of the stream.
        started_ns: Wall clock (UTC, Unix).
        max_files: With a time in their names, this one included; None: all are kept.
    """
    when = datetime.fromtimestamp(started_ns / 1e9, UTC).strftime(_WHEN)
    if path.is_dir():
        folder, stem, suffix = path, stream_id, _SUFFIX
    elif path.exists():
        folder, stem, suffix = path.parent, path.stem, path.suffix
    else:
        return path
    if max_files is not None:
        with contextlib.suppress(OSError):
            _make_room(folder, stem, suffix, max_files - 1)
    return folder / f"{stem}-{when}{suffix}"


def _make_room(folder: Path, stem: str, suffix: str, most: int) -> None:
    name = re.compile(rf"{re.escape(stem)}-\d{{8}}T\d{{6}}Z{re.escape(suffix)}")
    earlier = sorted(one for one in folder.iterdir() if name.fullmatch(one.name))
    for one in earlier[: max(len(earlier) - most, 0)]:
        one.unlink()
