"""The spool keeps what it took through a kill, in order, within its bound."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ovstream.errors import ConfigError
from ovstream.sinks.spool import Spool

KILLED = """
import os, signal, sys
from ovstream.sinks.spool import Spool
spool = Spool(sys.argv[1], max_bytes=10**6)
for number in range(500):
    spool.append("door", str(number))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    spool = Spool(path, max_bytes=10**6)
    assert [one.payload for one in spool.oldest(1000)] == [str(number) for number in range(500)]
    spool.close()


def test_the_oldest_give_way_and_are_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=1000)
    for number in range(30):
        spool.append("door", f"{number:0100}")
    assert (len(spool), spool.lost) == (10, 20)
    assert int(spool.oldest(1)[0].payload) == 20
    spool.close()


def test_what_gave_way_while_it_was_delivered_is_not_lost(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=300)
    for number in range(3):
        spool.append("door", f"{number:0100}")
    under_way = spool.oldest(2)
    spool.append("door", f"{3:0100}")
    assert spool.lost == 1
    spool.remove(under_way)
    assert spool.lost == 0
    assert [int(one.payload) for one in spool.oldest(9)] == [2, 3]
    spool.close()


def test_the_file_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    spool = Spool(path, max_bytes=100_000)
    for _ in range(2000):
        spool.append("door", "x" * 1000)
    spool.close()
    assert path.stat().st_size < 300_000


def test_a_spool_has_one_owner(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=1000)
    with pytest.raises(ConfigError, match="each sink needs its own"):
        Spool(tmp_path / "spool", max_bytes=1000)
    spool.close()
    Spool(tmp_path / "spool", max_bytes=1000).close()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot open the spool"):
        Spool(tmp_path / "no" / "spool", max_bytes=1000)
