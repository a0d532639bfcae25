"""Ranks: the processes of one run, started by torchrun; one alone when it was started without."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist

from ..evaluation.metrics import Metrics
from ..model.lam import LamModel


class Ranks:
    """This process among those of the run; a context manager that joins and leaves the group."""

    def __init__(self) -> None:
        self.rank, self.world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.local = int(os.environ.get("LOCAL_RANK", "0"))

    @property
    def first(self) -> bool:
        """Whether this rank writes files and shows progress."""
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """Each rank's own GPU."""
        return torch.device("cuda", self.local) if device.type == "cuda" else device

    def __enter__(self) -> Ranks:
        if self.world > 1:
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        return self

    def __exit__(self, *_) -> None:
        if self.world > 1:
            dist.destroy_process_group()

    def sum(self, value: torch.Tensor) -> float:
        """Sum of a number over ranks."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value)
        return float(value)

    def sum_gradients(self, model: LamModel) -> None:
        """Sum gradients over ranks, in one message; a parameter that no rank used keeps none, so that Adam passes it over."""
        if self.world == 1:
            return
        parameters = [p for p in model.parameters() if p.requires_grad]
        used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32, device=parameters[0].device)
        dist.all_reduce(used)
        chosen = [p for p, count in zip(parameters, used.tolist()) if count]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in chosen])
        dist.all_reduce(flat)
        for p, part in zip(chosen, flat.split([p.numel() for p in chosen])):
            p.grad = part.view_as(p)

    def sum_metrics(self, metrics: Metrics) -> None:
        """Add up errors over ranks, in place."""
        if self.world == 1:
            return
        gathered: list[dict | None] = [None] * self.world
        dist.all_gather_object(gathered, {head: dict(sums) for head, sums in metrics.sums.items()})
        for sums in metrics.sums.values():
            sums.clear()
        for part in gathered:
            other = Metrics(metrics.heads)
            for head, sums in part.items():
                other.sums[head].update(sums)
            metrics.add_sums(other)
