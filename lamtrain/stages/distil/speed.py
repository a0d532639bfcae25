"""Speed: a teacher and its students on one structure -> time of a step of dynamics, one thread, in turn; memory, and the largest system that fits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ...calculator import Calculator
from ...prediction.model import Model
from ..cost import peak_of

ROUNDS, STEPS = 5, 3
MOVED = 0.01  # Å, of each atom between two steps: as far as a femtosecond takes it


def compare_speed(models: Mapping[str, Model], head: str, atoms: Any, *, memory: float) -> dict[str, Any]:
    """Milliseconds of CPU for energy, forces and stress of `atoms`, whose list has a skin; each round takes the models one after the other.

    The first is the teacher; `times_faster` of each other one is the median over the rounds, with the lowest and the highest.
    `largest_atoms` is what fits into `memory` GiB by the bytes that an evaluation adds for each atom, None where the system does not say.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _compare(models, head, atoms, memory=memory)
    finally:
        torch.set_num_threads(threads)


def _compare(models: Mapping[str, Model], head: str, atoms: Any, *, memory: float) -> dict[str, Any]:
    moving, chance = {}, np.random.default_rng(0)
    for name, model in models.items():
        moving[name] = atoms.copy()
        moving[name].calc = Calculator(model, head=head)

    def step(one: Any, way: Any) -> None:
        one.set_positions(one.get_positions() + way)
        one.get_forces()

    peaks = {name: peak_of(lambda one=one: step(one, MOVED)) for name, one in moving.items()}  # type: ignore[misc]
    spent: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        ways = [chance.normal(scale=MOVED, size=(len(atoms), 3)) for _ in range(STEPS)]
        for name, one in moving.items():
            start = time.process_time()
            for way in ways:
                step(one, way)
            spent[name].append(1000 * (time.process_time() - start) / STEPS)
    room = memory * 2**30
    rows = {
        name: {
            "step_ms": statistics.median(times),
            "bytes_per_atom": peak / len(atoms) if (peak := peaks[name]) else None,
            "largest_atoms": int(room * len(atoms) / peak) if peak else None,
            "parameters": sum(parameter.numel() for parameter in models[name].net.parameters()),
        }
        for name, times in spent.items()
    }
    teacher, *students = spent
    faster = {}
    for name in students:
        ratios = [a / b for a, b in zip(spent[teacher], spent[name])]
        faster[name] = [statistics.median(ratios), min(ratios), max(ratios)]
    return {"atoms": len(atoms), "threads": 1, "rounds": ROUNDS, "memory_gib": memory, "times_faster": faster, "models": rows}
