"""Gaussian's formatted checkpoints (.fchk): text in, one frame out, by what the reader of logs knows of states, ghosts and fields.

Other programs write the format too (Q-Chem): without a total energy and a method they are refused, since which of their energies the gradient
belongs to is not said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import MAX_ATOMS, Frame, Rejection
from lamdata.units import BOHR, HARTREE

from ..build import build
from ..bytes.files import SourceFile
from ..bytes.numbers import floats
from .gaussian_route import CHANGED_FUNCTIONAL, asked_dispersion, asked_surroundings, bare_method, route_words
from .jobs import GHOSTS, UNTOLD
from .theory_words import built_in_dispersion

FORCE = HARTREE / BOHR  # eV/Å
SAME = 1e-6  # Hartree: the energies of one calculation
NEEDED = ("Atomic numbers", "Current cartesian coordinates", "Total Energy")
WANTED = (
    *NEEDED, "Charge", "Multiplicity", "Grdnt Energy", "Cartesian Gradient", "Nuclear charges", "External E-field",
    "Number of point charges in /Mol/", "ETran state values", "ETran scalars", "Number of translation vectors",
)  # fmt: skip
UNKNOWN = "root not known"
LAYERS = re.compile(r"\boniom\b")
UNTOLD_METHODS = re.compile(r"(?:^|\s)(?:ro|r|u)?(?:cis\(d\)|sac-ci|zindo)")  # excited states whose energies are not told apart
SAME_STATE = 1e-5  # Hartree: nine digits are kept of a state's energy
METHOD, BASIS = slice(10, 70), slice(70, None)  # of the second line
PER_STATE = 16  # values, of which the first is the energy
FIELD = slice(1, 4)  # of the external field: the charge, the three components, then the gradients


class FchkReader:
    """Formatted checkpoint: one frame (`gaussian/fchk`)."""

    name = "gaussian/fchk"
    options: dict[str, tuple[str, ...]] = {}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the one frame."""
        found = fchk_fields(file)
        missing = [name for name in NEEDED if name not in found]
        if missing:
            raise SourceError(f"has no {missing[0]!r}", where=file.name, hint="it is Gaussian's checkpoints that are read")
        gradient = _gradient(found)
        origin = f"{file.name}#0"
        if 0.0 in found.get("Nuclear charges", ()) or min(found["Atomic numbers"]) < 1:
            yield Rejection(origin=origin, reason=GHOSTS)
            return
        head = file.head(400).decode("utf-8", errors="replace").partition("\n")[2].partition("\n")[0].lower()
        if LAYERS.search(head) or {"oniom", "counterpoise"} & route_words(_route(file)).keys():
            raise SourceError("a run of layers or fragments, whose energies are not those of the whole", where=file.name)
        if UNTOLD_METHODS.search(head) or self.theory(file).get("state", "").endswith(UNKNOWN):
            yield Rejection(origin=origin, reason=UNTOLD)
            return
        if found.get("Number of translation vectors", [0])[0] > 0:
            yield Rejection(origin=origin, reason="a crystal, whose vectors are not read")
            return
        yield build(
            origin=origin,
            numbers=np.array(found["Atomic numbers"], np.int64),
            positions=np.array(found["Current cartesian coordinates"]).reshape(-1, 3) * BOHR,
            energy=found["Total Energy"][0] * HARTREE,
            forces=None if gradient is None else -np.array(gradient).reshape(-1, 3) * FORCE,
            charge=int(found.get("Charge", [0])[0]),
            multiplicity=int(found["Multiplicity"][0]) if "Multiplicity" in found else None,
            group=file.name,
            left_out=("forces: the gradient is that of another energy",)
            if gradient is None and any(found.get("Cartesian Gradient", ()))
            else (),
        )

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return what the second line states, type, method and basis, and what the route and the fields say of the state."""
        line = file.head(400).decode("utf-8", errors="replace").partition("\n")[2].partition("\n")[0]
        methods, basis = line[METHOD].split(), line[BASIS].split()
        if not methods or not basis:
            return {}  # another program's
        return _theory(methods, basis[0], fchk_fields(file), route_words(_route(file)))

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """The name of a field, in its columns, below the two lines of the title."""
        return re.search(rb"^Number of atoms {20,}I ", head, re.MULTILINE) is not None


def _theory(methods: list[str], basis: str, found: dict[str, list[float]], route: dict[str, str]) -> dict[str, Any]:
    """`methods` are "RB3LYP" and "TD-FC", in one word or two."""
    reference, method = bare_method(methods[0])
    spelled = re.sub(r"-(?:FC|FU|RW|Full)\b", "", " ".join([method, *methods[1:]]))
    excited = re.search(r"(?:^|[- ])(TDA|TD|CIS|EOM-?CCSD)(?=[- ]|$)", spelled)
    functional: str | None = re.sub(r"^MP4((?:S?DT?)?Q|D)$", r"MP4(\1)", re.sub(r"(?:^|[- ])TDA?(?=[- ]|$)", "", spelled).strip("- "))
    if excited and excited[1] == "CIS":
        functional = "HF"
    if any(CHANGED_FUNCTIONAL.match(f"{word}({options}") for word, options in route.items() if word.startswith("iop")):
        functional = None
    out = {"code": "Gaussian", "functional": functional or None, "core": None if basis.lower().startswith("gen") else basis}
    around = asked_surroundings(route)
    if any(found.get("External E-field", [])[FIELD]):
        around.setdefault("field", "electric field")
    if found.get("Number of point charges in /Mol/", [0])[0] > 0:
        around["charges"] = "point charges"
    solvent = f"{around['model']} {around['solvent']}" if "solvent" in around else None
    state = ", ".join(
        part
        for part in (
            _excited_state(excited[1], found, reference, route) if excited else None,
            solvent,
            around.get("field"),
            around.get("charges"),
        )
        if part
    )
    correction = asked_dispersion(route) or built_in_dispersion(functional)
    out |= {"state": state or None, "dispersion": correction}
    return {name: value for name, value in out.items() if value is not None}


def _excited_state(method: str, found: dict[str, list[float]], reference: str, route: dict[str, str]) -> str:
    """The state that the total energy is of, as a log calls it: the root that has this energy, and its spin where the route says it."""
    energies = found.get("ETran state values", [])[: PER_STATE * int(found.get("ETran scalars", [0])[0]) : PER_STATE]
    total = found.get("Total Energy", [np.nan])[0]
    root = next((i for i, energy in enumerate(energies, 1) if abs(energy - total) < SAME_STATE), None)
    if root is None:
        return f"{method} {UNKNOWN}"
    options = route.get(method.lower())
    spin = "triplet" if options and "triplet" in options else "singlet" if options is not None and reference == "R" else None
    return f"{method} root {root}" + (f" ({spin})" if spin and "50-50" not in (options or "") else "")


def _route(file: SourceFile) -> str:
    """The route that newer versions keep, in pieces of twelve characters that are printed sixty a line."""
    lines = file.head(4000).decode("utf-8", errors="replace").split("\n")
    at = next((i for i, line in enumerate(lines) if re.match(r"Route +C +N=", line)), None)
    if at is None:
        return ""
    count = -(-int(lines[at].rpartition("=")[2]) // 5)
    return "".join(line.ljust(60) for line in lines[at + 1 : at + 1 + count])


def _gradient(found: dict[str, list[float]]) -> list[float] | None:
    """The gradient that belongs to the total energy: a single point keeps zeros in its place, or that of the job before it."""
    gradient, energy = found.get("Cartesian Gradient"), found["Total Energy"]
    belongs = np.allclose(found.get("Grdnt Energy", energy), energy, rtol=0, atol=SAME)
    return gradient if gradient is not None and belongs and any(gradient) else None


def fchk_fields(file: SourceFile) -> dict[str, list[float]]:
    """The fields that a frame needs: a title, I or R, then a value or N= and the values below."""
    out: dict[str, list[float]] = {}
    lines = file.lines()
    for line in lines:
        title = line[:40].strip()
        if title not in WANTED:
            continue
        if "N=" not in line:
            out[title] = floats(line[43:])
            continue
        count = int(line.partition("N=")[2])
        if not 0 < count <= 3 * MAX_ATOMS:
            raise SourceError(f"states {count} values of {title!r}", where=file.name)
        values: list[float] = []
        while len(values) < count and (row := next(lines, "")):
            values += floats(row)
        if len(values) != count:
            raise SourceError(f"has {len(values)} of {count} values of {title!r}", where=file.name)
        out[title] = values
    return out
