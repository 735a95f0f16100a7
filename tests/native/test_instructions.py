"""No clip takes more instructions than it did: see `tests/native/instructions.py`."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.native import instructions


@pytest.mark.skipif(
    shutil.which("valgrind") is None and "CI" not in os.environ,
    reason="valgrind is not installed: apt-get install valgrind",
)
def test_no_clip_takes_more_instructions_than_before() -> None:
    before = instructions.baseline()
    if before["compiler"] != instructions.compiler():
        pytest.skip(f"counted with {before['compiler']}, this is {instructions.compiler() or 'no compiler'}")
    counts = instructions.measure()
    assert counts.keys() == before["instructions"].keys()
    for name, count in counts.items():
        most = before["instructions"][name] * (1 + instructions.TOLERANCE)
        assert count <= most, f"{name}: {count:,} for {before['instructions'][name]:,}"
