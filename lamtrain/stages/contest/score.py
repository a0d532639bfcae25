"""Score: a submission and a hull -> a verdict on each structure; how many are at rest, low enough, new, and there once.

What is handed in is not believed: energies, forces and virials are computed again where there is a calculator, at the very positions that
are handed in. Without one the submission's own are taken, and the score is said not to be checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from lamdata.errors import DataError, LamError
from lamdata.frame import Frame, Rejection
from lamdata.overlap.duplicates import Sets, find_duplicates
from lamdata.progress import Progress

from .checks import REASONS, Rules, Verdict, implausible, largest, unrelaxed
from .hull import Answer, Hull, composition_of
from .submission import read_handed

DIFFERS = 1e-3  # eV/atom, eV/Å: by more, what is handed in is not what is computed


def answers_of(calculator: Callable[[], Any]) -> Answer:
    """A structure -> the same with what a calculator of ASE, of which each structure gets its own, says of it: eV, eV/Å, eV."""

    def answer(frame: Frame) -> Frame:
        atoms: Any = frame.to_ase()
        atoms.calc = calculator()
        try:
            energy, forces = float(atoms.get_potential_energy()), np.asarray(atoms.get_forces(), np.float64)
            stress = np.asarray(atoms.get_stress(voigt=False), np.float64)
        except NotImplementedError as err:  # as ASE's own potentials say that they do not know an element
            raise DataError(str(err) or "the calculator does not know it", where=frame.origin) from None
        found = replace(frame, energy=energy, forces=forces, virial=-stress * atoms.get_volume())
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            raise DataError("its energy, forces or stress are not finite", where=frame.origin)
        return found

    return answer


def score(folder: Path, hull: Hull, *, answer: Answer | None = None, rules: Rules | None = None, quiet: bool = False) -> dict[str, Any]:
    """Judge every structure of a submission; return what contest.json holds. Without `answer` its own numbers are taken."""
    rules = rules or Rules()
    handed, items = read_handed(folder)
    verdicts, passed = list[Verdict](), dict[int, Frame]()
    with Progress("judging", total=len(items), unit="structures", quiet=quiet) as bar:
        for row, item in enumerate(items):
            verdict, frame = _judge(row, item, hull, answer, rules)
            verdicts.append(verdict)
            if frame is not None:
                passed[row] = frame
            bar.advance()
    _mark_copies(verdicts, passed, hull.known, rules)
    counts = Counter(verdict.status for verdict in verdicts)
    return {
        "submission": handed.submission,
        "model": handed.model,
        "authors": handed.authors,
        "hull": hull.name,
        "hull_energies": hull.energies,
        "phases": len(hull.phases),
        "known": len(hull.known),
        "computed_again": answer is not None,
        "rules": asdict(rules),
        "score": counts["counts"],
        "claim": handed.claim,
        "statuses": {status: counts[status] for status in REASONS if counts[status]},
        "structures": [asdict(verdict) for verdict in verdicts],
    }


def _judge(row: int, item: Frame | Rejection, hull: Hull, answer: Answer | None, rules: Rules) -> tuple[Verdict, Frame | None]:
    """A verdict, and the structure where nothing but copies is left to be looked for."""
    verdict = Verdict(row=row, origin=item.origin, status="counts")
    if isinstance(item, Rejection):
        verdict.status, verdict.reason = "unreadable", item.reason
        return verdict, None
    _describe(verdict, item)
    if (found := implausible(item)) is not None:
        verdict.status, verdict.reason = found
        return verdict, None
    try:
        frame = item if answer is None else answer(item)
    except LamError as err:
        verdict.status, verdict.reason = "not computed", err.message
        return verdict, None
    if frame.energy is not None and frame.forces is not None and frame.virial is not None:
        verdict.energy_ev_per_atom = frame.energy / len(frame.numbers)
        verdict.largest_force_ev_per_angstrom, verdict.largest_virial_ev_per_atom = largest(frame)
        verdict.note = _differences(item, frame)
    if (why := unrelaxed(frame, rules)) is not None:
        verdict.status, verdict.reason = "not relaxed", why
        return verdict, None
    assert frame.energy is not None, "what has none is not relaxed"
    try:
        above = hull.above(frame, frame.energy)
    except DataError as err:
        verdict.status, verdict.reason = "no hull", err.message
        return verdict, None
    verdict.above_hull_mev_per_atom = 1000 * above
    if above > rules.within + 1e-9:
        verdict.status = "above the hull"
        verdict.reason = f"{1000 * above:.4g} meV/atom above the hull, at most {1000 * rules.within:g}"
        return verdict, None
    return verdict, frame


def _describe(verdict: Verdict, frame: Frame) -> None:
    verdict.formula = "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in composition_of(frame).items())
    verdict.atoms = len(frame.numbers)
    verdict.volume_angstrom3_per_atom = None if frame.volume is None else frame.volume / len(frame.numbers)


def _differences(handed: Frame, found: Frame) -> str:
    """What is handed in and is not so."""
    words = []
    if handed.energy is not None and found.energy is not None:
        apart = (handed.energy - found.energy) / len(found.numbers)
        words += [f"handed in with an energy {1000 * apart:+.3g} meV/atom off"] if abs(apart) > DIFFERS else []
    if handed.forces is not None and found.forces is not None:
        off = float(np.abs(handed.forces - found.forces).max())
        words += [f"handed in with forces up to {off:.3g} eV/Å off"] if off > DIFFERS else []
    return "; ".join(words)


def _mark_copies(verdicts: Sequence[Verdict], passed: dict[int, Frame], known: Sequence[Frame], rules: Rules) -> None:
    """Of structures that passed all else: which are known, and which are copies of one further up; the first of each set counts."""
    rows = list(passed)
    frames = [*known, *passed.values()]
    sets = Sets(len(frames))
    for match in find_duplicates(frames, tolerance=rules.tolerance):
        sets.join(match.first, match.second)
    for number, row in enumerate(rows, start=len(known)):
        first = sets.first(number)
        if first < len(known):
            verdicts[row].status, verdicts[row].reason = "known", f"is {known[first].origin or 'a known structure'}"
        elif first != number:
            verdicts[row].status, verdicts[row].reason = "duplicate", f"is structure {rows[first - len(known)]} again"
