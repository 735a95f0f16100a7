"""Processes that train together, one for each device, as `torchrun` starts them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from ovstream.errors import TrainingError


class Peers:
    """This process among those that train together; alone, everything here does nothing.

    Each process draws its own part of a step's pictures, and gradients are averaged before the step: all keep the same
    weights. The first one looks at pictures for the clusters, and writes.

    Args:
        rank: Of this process.
        size: Of the group, which has been joined if there are several.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @classmethod
    def join(cls, device: str) -> tuple[Peers, str]:
        """Joins the group that the environment names, if it does.

        Args:
            device: "cpu" or "cuda"; of several GPUs each process takes its own.

        Returns:
            The peers, and the device of this process.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls(), device
        on_gpu = device.startswith("cuda")
        if on_gpu:
            device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
            torch.cuda.set_device(device)
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
        return cls(torch.distributed.get_rank(), size), device

    @property
    def first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def part(self, batch: int) -> int:
        """Pictures of a step that this process draws.

        Raises:
            TrainingError: They cannot be shared evenly.
        """
        if batch % self.size:
            raise TrainingError(f"a batch of {batch} cannot be shared by {self.size} processes")
        return batch // self.size

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors of one type by their means over the processes."""
        if self.size == 1:
            return
        together = torch.cat([tensor.flatten() for tensor in tensors])
        torch.distributed.all_reduce(together)
        parts = torch.split(together / self.size, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """This tensor of every process, in order."""
        if self.size == 1:
            return [tensor]
        found: list[Tensor | None] = [None] * self.size
        torch.distributed.all_gather_object(found, tensor.cpu())
        return [one for one in found if one is not None]

    def told(self, value: Any) -> Any:
        """What the first process says; the others' own value is not looked at."""
        if self.size == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def leave(self) -> None:
        """Ends the group."""
        if self.size > 1:
            torch.distributed.destroy_process_group()
