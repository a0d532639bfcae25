"""Ranks: the processes of one run, started by torchrun; one alone when it was started without."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from itertools import chain

import numpy as np
import torch
import torch.distributed as dist

from lamdata.errors import ConfigError
from lamdata.stream.exchange import Bytes

from ..device import device_of
from ..evaluation.evaluate import Together
from ..evaluation.metrics import Metrics
from ..model.lam import LamModel
from .meeting import meeting_place
from .stop import Interrupted

TIMEOUT = timedelta(minutes=30)  # the first rank may write a model while the others wait


class Ranks:
    """This process among those of the run; a context manager that joins and leaves the group."""

    def __init__(self, device: str = "cpu") -> None:
        self.rank, self.world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.local, self.on_this_machine = (
            int(os.environ.get(name, default)) for name, default in (("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))
        )
        self.device = self._own(device_of(device))
        self._joined = False
        self._hands: dist.ProcessGroup | None = None  # over which frames are handed on, beside what the steps say to each other
        self._hosts: dist.ProcessGroup | None = None  # for what a host knows and its GPU need not be waited for

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
            if not dist.is_initialized():
                store = meeting_place(self.rank, self.world, timeout=TIMEOUT)
                dist.init_process_group(
                    "nccl" if cuda else "gloo",
                    store=store,
                    rank=self.rank,
                    world_size=self.world,
                    timeout=TIMEOUT,
                    device_id=self.device if cuda else None,
                )
                self._joined = True
            self._hands = dist.new_group(backend="gloo", timeout=TIMEOUT)
            self._hosts = dist.new_group(backend="gloo", timeout=TIMEOUT) if cuda else None
        return self

    def __exit__(self, *_: object) -> None:
        if self._joined:
            dist.destroy_process_group()

    def exchange(self, parts: Sequence[Bytes]) -> list[Bytes]:
        """Part r for rank r -> the part that each rank had for this one (`lamdata.stream.exchange.Exchange`)."""
        sent = torch.tensor([len(part) for part in parts])
        lengths = torch.empty_like(sent)
        dist.all_to_all_single(lengths, sent, group=self._hands)
        data, got = torch.from_numpy(np.concatenate(parts)), torch.empty(int(lengths.sum()), dtype=torch.uint8)
        dist.all_to_all_single(got, data, lengths.tolist(), sent.tolist(), group=self._hands)
        return np.split(got.numpy(), np.cumsum(lengths.numpy())[:-1])

    def agree(self, loss: torch.Tensor, *, stop: bool, gradients_of: LamModel | None = None) -> torch.Tensor:
        """(2,) float64: the loss of a step, added up, and how many ranks were told to stop; in the same message, the gradients of a model."""
        told = torch.stack([loss.double(), torch.full_like(loss, float(stop), dtype=torch.float64)])
        return told if self.world == 1 else self._add_up(gradients_of, told)

    def sum_gradients(self, model: LamModel) -> None:
        """Sum gradients over ranks."""
        if self.world > 1:
            self._add_up(model, torch.empty(0, device=self.device))

    def _add_up(self, model: LamModel | None, more: torch.Tensor) -> torch.Tensor:
        """Sum gradients over ranks, and a few numbers besides, in one message; what `more` became.

        A parameter that no rank used keeps no gradient, so that Adam passes it over. Which those are is known to hosts: GPUs are not asked.
        """
        parameters = [] if model is None else [p for p in model.parameters() if p.requires_grad]
        dtype = parameters[0].dtype if parameters else torch.float64
        used = torch.tensor([p.grad is not None for p in parameters], dtype=dtype)
        grads = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters]
        apart = self._hosts is not None
        message = torch.cat([*grads, *([] if apart else [used.to(self.device)]), more.to(dtype)])
        try:
            if apart:
                dist.all_reduce(used, group=self._hosts)
            dist.all_reduce(message)
        except RuntimeError as err:
            found = f"another rank is gone ({str(err).splitlines()[0]})"
            raise Interrupted(found, hint="the same command goes on from last.pt, and torchrun by itself where it may restart") from err
        *parts, rest = torch.split(message, [*(p.numel() for p in parameters), len(message) - sum(p.numel() for p in parameters)])
        used, more = (used, rest) if apart else (rest[: len(used)], rest[len(used) :])
        for p, part, count in zip(parameters, parts, used.tolist()):
            p.grad = part.view_as(p) if count else None
        return more.double()

    @property
    def together(self) -> Together:
        """How held-out frames are shared among ranks."""
        return Together(self.rank, self.world, self._total)

    def _total(self, metrics: Metrics) -> None:
        if self.world > 1:
            dist.all_reduce(metrics.tensor(self.device))

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
