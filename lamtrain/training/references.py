"""References: a head that was taken, and this run's training frames -> the reference energies b_e of its elements, as far as frames determine them.

With n_fe atoms of element e in frame f, E_f its label and E_model,f what the head says with the parent's b (eV):

    change   b = b_parent + argmin_d sum_f (sum_e n_fe d_e - (E_f - E_model,f))^2     DeePMD-kit's change-by-statistic
    refit    b = argmin_b sum_f (sum_e n_fe b_e - E_f)^2                              DeePMD-kit's set-by-statistic; the net is not asked
    keep     b = b_parent

Elements that frames hold in fixed proportions only have no b of their own: their compositions fix sums. Of all b with these sums, that one
is taken whose difference to the parent's is as equal as can be among them, an energy by atom, and the elements are named. An element that
no frame has keeps the parent's b, and is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lamdata.elements import SYMBOLS
from lamdata.energies import Energies, References, references_of_atoms
from lamdata.errors import ConfigError
from lamdata.notebook import listed
from lamdata.store import cut_batches

from ..data.batch import collate
from ..data.mixture import TrainingData
from ..evaluation.evaluate import BATCH_ATOMS
from ..model.lam import LamModel
from ..prediction.shift import Differences, Shift, fit_shift
from ..tasks import MILLI

FIT_FRAMES = 2000  # of each dataset that the net is asked for; the reference takes 10 batches of each system
JOINED = 1e-8  # of a direction that frames do not determine, the part of an element that counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What was found for one head, eV; elements by symbol."""

    mode: str  # change, refit, keep, or isolated: the energies of the datasets' isolated atoms
    energies: dict[str, float]  # all that the head has a reference for
    shift: dict[str, float]  # beyond the parent's, of the elements whose own value frames determine
    collinear: list[dict[str, float]]  # groups whose sums alone are determined, with the shift that was given to each element
    absent: list[str]  # elements of the model that none of these frames has
    frames: int
    rank: int  # of the compositions
    before: float | None  # eV/atom, root mean square of E - E_model with the parent's references; None without energies
    after: float | None  # with these

    def to_json(self) -> dict[str, Any]:
        """As plain data, for the checkpoint."""
        return {
            "mode": self.mode,
            "frames": self.frames,
            "rank": self.rank,
            "shift_ev": self.shift,
            "collinear_ev": self.collinear,
            "absent": self.absent,
            "residual_before_mev_per_atom": None if self.before is None else MILLI * self.before,
            "residual_after_mev_per_atom": None if self.after is None else MILLI * self.after,
        }


def fit_head(model: LamModel, data: TrainingData, head: str, *, known: list[str], mode: str) -> Fitted:
    """Find the references of an energy head of `model`, whose biases are the parent's; `known` are elements for which these mean something."""
    bias = dict(zip(model.config.elements, model.energy_head(head).bias.tolist()))
    parents = {symbol: bias[symbol] for symbol in known}
    seen = data.statistics(head).elements
    if data.of_isolated_atoms(head):
        if mode == "change":
            hint = "set start.references to refit or keep, or the mixture's to fitted"
            raise ConfigError(f"head {head!r}: the mixture asks for isolated atoms, start.references for change", hint=hint)
        mode = "isolated" if mode == "refit" else mode
    if mode == "keep" and (new := [symbol for symbol in seen if symbol not in parents]):
        hint = "set start.references to change, which keeps nothing that the frames contradict"
        raise ConfigError(
            f"head {head!r}: the parent has no reference energy of {', '.join(new)} to keep", where="start.references", hint=hint
        )
    groups: list[list[str]] = []
    apart = residuals(model, data, head)
    if not apart.frames:
        return _unfitted(parents, model, seen)
    if mode in ("keep", "isolated"):
        given = data.references(head) if mode == "isolated" else None
        energies = parents if given is None else given.energies
        shift, rank = {symbol: energies[symbol] - bias[symbol] for symbol in seen}, fit_shift(apart).rank
    else:
        found = fit_shift(apart if mode == "change" else data.energies(head))
        base = {symbol: 0.0 if mode == "change" else bias[symbol] for symbol in seen}
        whole, groups = spread_evenly(found, base)
        shift, rank = {symbol: value - base[symbol] for symbol, value in whole.items()}, found.rank
        energies = (parents if mode == "change" else {}) | {symbol: bias[symbol] + value for symbol, value in shift.items()}
    shared = {symbol for group in groups for symbol in group}
    return Fitted(
        mode=mode,
        energies=energies,
        shift={symbol: value for symbol, value in shift.items() if symbol not in shared},
        collinear=[{symbol: shift[symbol] for symbol in group} for group in groups],
        absent=[symbol for symbol in model.config.elements if symbol not in shift],
        frames=apart.frames,
        rank=rank,
        before=apart.left({})[0],
        after=apart.left(shift)[0],
    )


def _unfitted(parents: Mapping[str, float], model: LamModel, seen: list[str]) -> Fitted:
    """Of a head whose frames have no energies: forces alone say nothing of references."""
    absent = [symbol for symbol in model.config.elements if symbol not in seen]
    empty: dict[str, Any] = {"shift": {}, "collinear": [], "before": None, "after": None}
    return Fitted(mode="keep", energies=dict(parents), absent=absent, frames=0, rank=0, **empty)


@torch.no_grad()
def residuals(model: LamModel, data: TrainingData, head: str) -> Energies:
    """E - E_model (eV) of a head's first training frames (a store is shuffled)."""
    index, parameter, found = list(model.config.heads).index(head), next(model.parameters()), Differences()
    for task in data.of_head(head):
        for part in cut_batches(task.train.frames(0, min(FIT_FRAMES, len(task.train))), batch_atoms=BATCH_ATOMS):
            asked = part.with_(head=np.full(len(part), index, np.int32))
            batch = collate(asked, model.config, dtype=parameter.dtype, chunk_atoms=model.chunk_atoms).to(parameter.device)
            energy = model(batch, forces=False, virial=False).energy
            assert energy is not None
            apart = part.energy - energy.cpu().numpy()
            for f in np.flatnonzero(part.has_energy).tolist():
                found.add(part.numbers[part.starts[f] : part.starts[f + 1]], float(apart[f]))
    return found.factored()


def spread_evenly(found: Shift, base: Mapping[str, float]) -> tuple[dict[str, float], list[list[str]]]:
    """Element -> value (eV), and the groups of which only sums are determined: there, value - base is as equal as these sums allow."""
    symbols, values = [SYMBOLS[z] for z in found.numbers.tolist()], found.values.copy()
    free = np.eye(len(symbols)) - found.basis.T @ found.basis  # projects on what is not determined
    groups = _connected(np.abs(free) > JOINED, np.flatnonzero(np.diag(free) > JOINED).tolist())
    for group in groups:
        directions = np.linalg.svd(free[np.ix_(group, group)])
        basis = directions[0][:, directions[1] > 0.5]  # singular values of a projector are 0 and 1
        apart = values[group] - np.array([base[symbols[i]] for i in group])
        values[group] += basis @ np.linalg.lstsq(basis - basis.mean(0), apart.mean() - apart, rcond=None)[0]
    return dict(zip(symbols, values.tolist())), [[symbols[i] for i in group] for group in groups]


def _connected(joined: NDArray[np.bool_], members: list[int]) -> list[list[int]]:
    groups: list[list[int]] = []
    left = set(members)
    while left:
        group, reached = set[int](), {min(left)}
        while reached:
            group |= reached
            reached = {int(j) for i in reached for j in np.flatnonzero(joined[i])} & left - group
        left -= group
        groups.append(sorted(group))
    return groups


def apply_references(model: LamModel, data: TrainingData, head: str, fitted: Fitted) -> None:
    """Write what was found into the head, and let `data` know it."""
    bias, known = model.energy_head(head).bias, data.energies(head)
    for symbol, energy in fitted.energies.items():
        bias[model.config.elements.index(symbol)] = energy
    table = dict.fromkeys(known.elements, 0.0) | fitted.energies
    found = references_of_atoms(known, table) or References(energies={}, std_before=0.0, std_after=0.0)
    data.take_references(head, replace(found, energies=dict(fitted.energies)))


def describe(head: str, fitted: Fitted) -> list[str]:
    """Lines for people."""
    if fitted.before is None or fitted.after is None:
        return [f"head {head}: its training frames have no energies; references as they were"]
    what = f"references ({fitted.mode}) from {fitted.frames} training frames, rank {fitted.rank}"
    shifts = ", ".join(f"{symbol} {value:+.4f}" for symbol, value in fitted.shift.items())
    left = f"E - E_model {MILLI * fitted.before:.4g} meV/atom before, {MILLI * fitted.after:.4g} after"
    lines = [f"head {head}: {what}; {f'shift {shifts} eV; ' if shifts else ''}{left}"]
    for group in fitted.collinear:
        shared = ", ".join(f"{symbol} {value:+.4f}" for symbol, value in group.items())
        lines.append(f"head {head}: {', '.join(group)} come in fixed proportions only: sums are fitted ({shared} eV), no element by itself")
    if fitted.absent:
        kept = "keep the parent's reference, where it has one" if fitted.mode in ("change", "keep") else "have no reference energy"
        lines.append(f"head {head}: none of these frames has {listed(fitted.absent)}, which {kept}")
    return lines
