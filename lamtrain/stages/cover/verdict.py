"""Gates, scores and errors -> covered, partly or not, and why. Shares are compared with those of the model's own held-out frames, see `usually`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lamdata.elements import SYMBOLS

from .gates import FAILED
from .scores import Coverage, Distinct, usually
from .sketch import Sketch

MOST = 0.5  # share of frames from which on little is covered
TIMES = 2.0  # the error on held-out frames up to which an error is the model's usual one
ORDER = ("covered", "partly", "not")
ERRORS = {  # table -> its key, what it is, and the unit
    "energy": ("rmse_after_a_fit_mev_per_atom", "energies after a fit of references", "meV/atom"),
    "forces": ("rmse_mev_per_angstrom", "forces", "meV/Å"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided."""

    word: str  # covered, partly or not
    reasons: list[str]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"verdict": self.word, "reasons": self.reasons}


def decide(
    sketch: Sketch,
    gates: Mapping[str, Mapping[str, Any]],
    errors: Mapping[str, Mapping[str, Any]],
    *,
    distinct: Distinct,
    coverage: Coverage,
) -> Verdict:
    """The worst of what each part says; `errors` are the tables of energies and forces."""
    found = [
        *_by_gates(gates, coverage.frames),
        *_by_frames(sketch, distinct, coverage),
        *_by_elements(coverage),
        *_by_errors(sketch, errors),
    ]
    worst = max((ORDER.index(word) for word, _ in found), default=0)
    return Verdict(ORDER[worst], [reason for word, reason in sorted(found, key=lambda row: -ORDER.index(row[0]))])


def _by_gates(gates: Mapping[str, Mapping[str, Any]], frames: int) -> list[tuple[str, str]]:
    """Another theory or unit fails the whole; an element that is not known at least a part."""
    out = [("not", f"{name}: {gates[name]['said']}") for name in ("theory", "units") if gates[name]["state"] == FAILED]
    if gates["elements"]["state"] == FAILED:
        out.append(("partly", f"elements: {gates['elements']['said']}"))
    if gates["pairs"]["state"] == FAILED:
        out.append(("not" if gates["pairs"]["frames"] > MOST * frames else "partly", f"pairs: {gates['pairs']['said']}"))
    return out


def _by_frames(sketch: Sketch, distinct: Distinct, coverage: Coverage) -> list[tuple[str, str]]:
    """The share of frames that are not covered: beyond the limit, or of elements that are not known."""
    frames = coverage.frames + distinct.refused
    beyond = coverage.beyond + distinct.refused
    share = beyond / frames
    allowed = usually(sketch.held_out.get("frames_beyond", 0.0), frames)
    word = "covered" if share <= min(allowed, MOST) else "partly" if share <= MOST else "not"
    own = f", and of the model's own held-out ones {sketch.held_out['frames_beyond']:.1%}" if sketch.held_out else ""
    return [(word, f"frames: {beyond} of {frames} are beyond what training covers ({share:.1%}; up to {allowed:.1%} is usual{own})")]


def _by_elements(coverage: Coverage) -> list[tuple[str, str]]:
    """An element most of whose atoms are beyond its limit, however rare it is."""
    most = {SYMBOLS[z]: (beyond, atoms) for z, (atoms, beyond) in sorted(coverage.elements.items()) if beyond > MOST * atoms}
    text = ", ".join(f"{symbol} {beyond} of {atoms}" for symbol, (beyond, atoms) in most.items())
    return [("partly", f"atoms: most of an element are beyond its limit: {text}")] if most else []


def _by_errors(sketch: Sketch, errors: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Errors beside those on the model's own held-out frames, as they are and over a guess from compositions: one of both must be usual."""
    out = []
    for name, (key, what, unit) in ERRORS.items():
        own = sketch.held_out.get(name, {})
        if key not in errors[name] or not own.get(key):
            continue
        here, usual, over, usual_over = errors[name][key], own[key], errors[name]["over_guess"], own["over_guess"]
        times = [here / usual, *([over / usual_over] if over and usual_over else [])]
        word = "covered" if min(times) <= TIMES else "not" if over is not None and over >= 1.0 else "partly"
        said = f"{what}: error {here:.3g} {unit}, {times[0]:.2g} times that on the model's own held-out frames"
        if over is not None and usual_over is not None:
            said += f"; {over:.2g} times that of a guess from compositions (held-out {usual_over:.2g})"
        out.append((word, said))
    return out
