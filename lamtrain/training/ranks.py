"""Ranks: the processes of one run, started by torchrun; one alone when it was started without."""

from __future__ import annotations

import os
from datetime import timedelta
from itertools import chain
from typing import NamedTuple

import torch
import torch.distributed as dist

from lamdata.errors import ConfigError

from ..device import device_of
from ..evaluation.metrics import Metrics
from ..model.lam import LamModel

TIMEOUT = timedelta(minutes=30)  # the first rank may look at held-out frames while the others wait


class Agreed(NamedTuple):
    """What all ranks know of a step."""

    loss: float  # summed over ranks
    stop: bool  # whether any was told to stop


class Ranks:
    """This process among those of the run; a context manager that joins and leaves the group."""

    def __init__(self, device: str = "cpu") -> None:
        self.rank, self.world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.local, self.on_this_machine = (
            int(os.environ.get(name, default)) for name, default in (("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))
        )
        self.device = self._own(device_of(device))

    def _own(self, device: torch.device) -> torch.device:
        """The device of this rank: the one that was named, or with several ranks each its own GPU."""
        if device.type != "cuda" or self.world == 1:
            return device
        if device.index is not None:
            raise ConfigError(
                f"{self.world} ranks cannot share {device}", where="--device", hint="say cuda: each rank takes a GPU of its own"
            )
        return torch.device("cuda", self.local)

    @property
    def first(self) -> bool:
        """Whether this rank writes files and shows progress."""
        return self.rank == 0

    def __enter__(self) -> Ranks:
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.set_device(self.device)
        if self.world > 1:
            dist.init_process_group("nccl" if cuda else "gloo", timeout=TIMEOUT, device_id=self.device if cuda else None)
        return self

    def __exit__(self, *_: object) -> None:
        if self.world > 1:
            dist.destroy_process_group()

    def agree(self, loss: torch.Tensor, *, stop: bool) -> Agreed:
        """Add up the loss of a step, and find out whether any rank was told to stop."""
        if self.world == 1:
            return Agreed(float(loss), stop)
        both = torch.stack([loss.double(), torch.tensor(float(stop), dtype=torch.float64, device=loss.device)])
        dist.all_reduce(both)
        total, stops = both.tolist()
        return Agreed(total, stops > 0)

    def sum_gradients(self, model: LamModel) -> None:
        """Sum gradients over ranks, in one message; a parameter that no rank used keeps none, so that Adam passes it over."""
        if self.world == 1:
            return
        parameters = [p for p in model.parameters() if p.requires_grad]
        used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32, device=parameters[0].device)
        dist.all_reduce(used)
        chosen = [p for p, count in zip(parameters, used.tolist()) if count]
        if not chosen:  # of a head whose frames have no label
            return
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in chosen])
        dist.all_reduce(flat)
        for p, part in zip(chosen, torch.split(flat, [p.numel() for p in chosen])):
            p.grad = part.view_as(p)

    def sum_metrics(self, metrics: Metrics, truncated: list[int]) -> None:
        """Gather errors and counts in the first rank; the others begin anew."""
        if self.world == 1:
            return
        counts = torch.tensor(truncated, dtype=torch.float64, device=self.device)
        sums = metrics.tensor(self.device)
        for tensor in (sums, counts):
            dist.all_reduce(tensor)
        truncated[:] = [int(count) if self.first else 0 for count in counts.tolist()]
        if not self.first:
            sums.zero_()

    def share_weights(self, model: LamModel) -> None:
        """Give every rank the weights and buffers of the first, to the last digit."""
        if self.world > 1:
            for tensor in chain(model.parameters(), model.buffers()):
                dist.broadcast(tensor.detach(), 0)

    def gather_lines(self, lines: list[str]) -> list[str]:
        """Lines of all ranks, in their order."""
        if self.world == 1:
            return lines
        gathered: list[list[str] | None] = [None] * self.world
        dist.all_gather_object(gathered, lines)
        return [line for part in gathered for line in part or []]

    def wait(self) -> None:
        """Go on when all ranks are here: a launcher ends those that are left when the first has ended, were it in the middle of saving."""
        if self.world > 1:
            dist.barrier()

    def share_flag(self, flag: bool) -> bool:
        """What the first rank says."""
        if self.world == 1:
            return flag
        told = torch.tensor(float(flag), device=self.device)
        dist.broadcast(told, 0)
        return bool(told)
