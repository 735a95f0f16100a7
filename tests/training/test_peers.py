"""Two processes that train together keep the same weights, those of one process that sees what both see."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ovstream.errors import TrainingError
from ovstream.training.fit import CHECKPOINT_NAME, LOG_NAME, Trainer
from ovstream.training.peers import Peers

from .tiny import bank, recipe

STEPS = 4
WORKER = """
import sys
from itertools import islice
from pathlib import Path

import torch

from ovstream.training.fit import Trainer
from ovstream.training.peers import Peers
from tests.training.tiny import bank, recipe

torch.set_num_threads(1)
peers, device = Peers.join("cpu")
number = peers.rank
for word in sys.argv[2:]:
    name, steps = word.split(":")
    folder = Path(sys.argv[1]) / name
    peers.rank = 0 if name == "alike" else number  # the same pictures in both
    mine = folder / str(number) if name == "alike" else folder
    run = Trainer(recipe(steps=4, rounds=2), bank(), mine, device=device, peers=peers)
    run.prepare()
    logs = list(islice(run.run(), int(steps)))
    run.save()
    torch.save({"model": run.model.state_dict(), "loss": logs[-1]["loss"]}, folder / f"{number}.pt")
peers.leave()
"""


def train_together(folder: Path, *runs: str) -> None:
    """Starts two processes; each run is `name:steps`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), *runs],
            cwd=Path(__file__).parents[2],
            env=os.environ | group | {"RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=180)[1] for process in started]
        assert [process.returncode for process in started] == [0, 0], errors
    finally:
        for process in started:
            process.kill()
            process.communicate()


def results(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    one, other = (torch.load(folder / f"{rank}.pt") for rank in range(2))
    return one, other


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], *, within: float = 0.0) -> bool:
    return all((value - other[key]).abs().max() <= within for key, value in one.items())


@pytest.mark.timeout(400)  # two processes load torch, on a busy machine one after the other
def test_two_processes_are_one_run(tmp_path: Path) -> None:
    alone = Trainer(recipe(batch=4, steps=STEPS, rounds=2), bank(), tmp_path / "alone")
    alone.prepare()
    *_, last = alone.run()
    train_together(tmp_path, "alike:4", "whole:4", "halves:2", "halves:4")  # the last goes on after step 2
    one, other = results(tmp_path / "alike")
    assert same(one["model"], other["model"])
    assert same(one["model"], alone.model.state_dict(), within=1e-5)  # the mean of two like gradients
    assert one["loss"] == pytest.approx(last["loss"], rel=1e-4)

    one, other = results(tmp_path / "whole")  # each sees pictures of its own
    assert same(one["model"], other["model"])
    assert not same(one["model"], alone.model.state_dict(), within=1e-4)
    assert one["loss"] == other["loss"]
    written = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert written == ["0.pt", "1.pt", CHECKPOINT_NAME, LOG_NAME, "recipe.json"]
    log = (tmp_path / "whole" / LOG_NAME).read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3, 4]
    assert not torch.equal(*torch.load(tmp_path / "whole" / CHECKPOINT_NAME)["generators"])

    resumed, _ = results(tmp_path / "halves")
    assert same(resumed["model"], one["model"])
    with pytest.raises(TrainingError, match="2 processes, not of 1"):
        Trainer(recipe(steps=STEPS, rounds=2), bank(), tmp_path / "whole").prepare()


def test_a_batch_must_be_shared_evenly() -> None:
    assert Peers(1, 4).part(8) == 2
    with pytest.raises(TrainingError, match="shared by 3"):
        Peers(0, 3).part(8)
