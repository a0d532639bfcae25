"""The name of a key, a column or a file -> the label that it may hold, for formats that leave names open."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

KEYS = {
    "energy": ("energy", "Energy", "free_energy", "energies", "total_energy", "TotEnergy"),
    "forces": ("forces", "force", "Forces"),
    "virial": ("virial", "virials", "Virial"),
    "stress": ("stress", "stresses", "Stress"),
    "charge": ("charge", "total_charge"),
    "multiplicity": ("multiplicity", "spin_multiplicity"),
    "group": (
        "material_id", "mp_id", "mol_id", "molecule_id", "traj_id", "trajectory_id", "trajectory", "frame_group", "group_id", "system_id",
        "structure_id", "sid", "mof_id", "mofid", "run_id",
    ),
    "weight": (),  # only where the card names it, as the next
    "split": (),  # only where the card names it
}  # fmt: skip
REFERENCE = ("REF_", "ref_", "dft_", "DFT_")  # put before a name by those who keep a model's prediction under the plain one

STORED = {"energy": "energy", "energies": "energy", "etot": "energy", "toten": "energy", "force": "forces", "forces": "forces",
          "gradient": "forces", "gradients": "forces", "virial": "virial", "virials": "virial", "stress": "virial", "stresses": "virial"}  # fmt: skip
OTHERS = {"dipole": "dipole", "dipoles": "dipole", "quadrupole": "quadrupole", "polarizability": "polarizability", "hessian": "hessian",
          "magmom": "magnetic moments", "magmoms": "magnetic moments", "charges": "atomic charges", "bec": "Born charges"}  # fmt: skip
OF_SEVERAL = ("forces", "virial", "stress")  # labels that a lone atom need not have
WHOLE = {"E": "energy", "F": "forces", "f": "forces"}
NO_LABEL = set(
    "unit units weight weights sigma std error errors err uncertainty variance var max min fmax mask rms rmse mae threshold cutoff tol "
    "tolerance convergence converged type source functional method config key scale shift mean num count kinetic hull initial has is".split()
)  # words beside which the name of a label means something about it


@lru_cache(maxsize=10_000)
def label_in(name: str) -> str | None:
    """The label that a name speaks of ("MACE_forces": forces, "myStress": virial), or None."""
    if name in WHOLE:
        return WHOLE[name]
    words = split_name(name)
    if NO_LABEL & set(words):
        return None
    return next((table[word] for table in (STORED, OTHERS) for word in words if word in table), None)


def split_name(name: str) -> list[str]:
    """Lower-case words of a name: "REF_energy-unit" and "EnergyUnit" have their words apart."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Za-z][a-z]*|\d+", name)]


def unread_labels(names: Iterable[str], *, read: Mapping[str, str | None], silent: Iterable[str] = ()) -> tuple[str, ...]:
    """What to say of names that hold a label and are not read; `read` gives the key of each label, None where there is none.

    `silent` are names of which nothing is to be said: those that are read, and labels that the card switches off.
    """
    quiet, out = {key for key in read.values() if key} | set(silent), []
    for name in names:
        label = label_in(name)
        if label is None or name in quiet:
            continue
        if label in OTHERS.values():
            out.append(f"{label}: {name!r} is not a label that is stored")
            continue
        chosen = next((read[kind] for kind in (label, "stress" if label == "virial" else label) if read.get(kind)), None)
        out.append(f"{label}: {name!r} is not read{f', {chosen!r} is' if chosen else ''}")
    return tuple(out)


def lacking(label: str, key: str) -> str:
    """What to say of a frame that lacks a key which the card names."""
    return f"{label}: its key {key!r} is not there"
