"""A launch of a kernel as one operator of torch, `lamtrain::launch`: what counts operators counts it, and tensors without numbers pass through.

A `Plan` is a kernel with what is known when it is compiled. Of a launch torch learns which tensors are read and which are written.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

PROGRAMS = 528
"""How many programs share the atoms where each keeps sums of its own: four for each multiprocessor of an H100 or H200."""
PRECISIONS = ("tf32", "tf32x3", "ieee")

_LIBRARY: Any = torch.library.Library("lamtrain", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("launch(int plan, int[] grid, Tensor?[] given, Tensor(a!)[] written, int[] sizes) -> ()")


@dataclass(frozen=True, slots=True)
class Plan:
    """A kernel, `source/<source>.py`'s, imported when first launched, so that steps are counted without triton; its constants, and the types that it takes."""

    source: str
    kernel: str
    warps: int
    registers: int | None
    """Of a thread, at most; None where the compiler may aim at what it likes."""
    constants: tuple[tuple[str, Any], ...]
    types: tuple[torch.dtype | None, ...]
    """Of its tensors; None where it gets none."""


PLANS: list[Plan] = []
"""All that were launched in this process, or would have been."""


@functools.cache
def kernel_of(plan: int) -> Any:
    """The compiled function of a plan."""
    return getattr(import_module(f"{__package__}.source.{PLANS[plan].source}"), PLANS[plan].kernel)


def _launch(plan: int, grid: Sequence[int], given: Sequence[Tensor | None], written: Sequence[Tensor], sizes: Sequence[int]) -> None:
    of = PLANS[plan]
    if 0 not in grid:
        kernel_of(plan)[tuple(grid)](*given, *written, *sizes, **dict(of.constants), num_warps=of.warps, maxnreg=of.registers)


_LIBRARY.impl("launch", _launch, "CompositeExplicitAutograd")
torch.library.register_fake("lamtrain::launch", lambda plan, grid, given, written, sizes: None, lib=_LIBRARY)


@functools.cache
def _number(plan: Plan) -> int:
    PLANS.append(plan)
    return len(PLANS) - 1


def launch(
    source: str,
    kernel: str,
    grid: Sequence[int],
    given: Sequence[Tensor | None],
    written: Sequence[Tensor | None],
    sizes: Sequence[int] = (),
    *,
    warps: int = 4,
    registers: int | None = None,
    **constants: Any,
) -> None:
    """Launch it on contiguous tensors of one precision; a tensor to be written that is None must not be by those constants."""
    some = next(tensor for tensor in written if tensor is not None)
    places = [some if tensor is None else tensor for tensor in written]
    types = tuple(None if tensor is None else tensor.dtype for tensor in (*given, *places))
    number = _number(Plan(source, kernel, warps, registers, tuple(constants.items()), types))
    torch.ops.lamtrain.launch(number, list(grid), list(given), places, list(sizes))


def power(width: int, least: int = 16) -> int:
    """The power of 2 that holds `width`: tiles are as wide, and no narrower than a product of tiles takes."""
    return max(least, 1 << (width - 1).bit_length())
