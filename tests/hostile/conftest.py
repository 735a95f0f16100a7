"""One short real stream with everything in it, to be damaged."""

from __future__ import annotations

import pytest

from tests.native.streams import Tool, encode


@pytest.fixture(scope="session", params=["cabac", "cavlc"])
def clip(request: pytest.FixtureRequest) -> list[bytes]:
    cabac = int(request.param == "cabac")
    x264 = f"cabac={cabac}:bframes=2:b-adapt=0:ref=3:slices=2:direct=auto:analyse=all:keyint=6"
    return encode(Tool("damaged", x264, width=80, height=64, noise=10), frames=10)
