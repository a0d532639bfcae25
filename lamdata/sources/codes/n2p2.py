"""n2p2 and RuNNer: `input.data` -> structures with their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.frame import Frame, Rejection
from lamdata.frames import Frames, Parsed
from lamdata.units import ENERGY, FORCE, LENGTH

from ..build import Unusable, build, rejects
from ..bytes.alike import FRAMES, Line, Template
from ..bytes.borders import Border, spans_of
from ..bytes.files import SourceFile, Span
from ..bytes.lines import Lines
from ..gathered import TRUNCATED, are_sound, gather, not_only_cut

Units = tuple[float, float, float]  # Å, eV and eV/Å in those of a file
BORDER = Border(b"\nbegin\n", (b"begin", b"end"), between=b"\nend\nbegin\n")


class N2p2Reader:
    """n2p2 / RuNNer `input.data` (`n2p2`). It states no units: in Hartree and bohr by custom, unless the card's `units` say otherwise.

    The format has no way to leave a label out: an energy and forces that are all exactly zero stand for none.
    """

    name = "n2p2"
    options: dict[str, tuple[str, ...]] = {}
    open_units = ("length", "energy", "force")
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Parsed | Rejection]:
        """Yield every structure between `begin` and `end`, many at once; each is a group of its own, the format knows no trajectories."""
        units = (LENGTH[spec.units.length or "bohr"], ENERGY[spec.units.energy or "Hartree"], FORCE[spec.units.force or "Hartree/bohr"])
        return gather(not_only_cut(_frames(file, units), "ends within its first structure: truncated", file=file))

    def spans(self, file: SourceFile, size: int) -> list[Span]:
        """Spans of structures, each right behind another."""
        return spans_of(file, size, BORDER)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """The format states nothing."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return head.lstrip().startswith(b"begin") and b"\natom" in head

    def usual_units(self, file: SourceFile) -> dict[str, str]:
        """The units that no file states, as they mostly are."""
        return {"length": "bohr", "energy": "Hartree", "force": "Hartree/bohr"}


def _frames(file: SourceFile, units: Units) -> Iterator[Frame | Parsed | Rejection]:
    lines, index = file.lines(), file.span.first if file.span else 0
    block: list[list[str]] | None = None
    common: Common | None = None
    astray = False  # there are lines outside of structures
    while True:
        if block is None and not astray and common is not None and (many := _take_alike(lines, common, index, units, file)) is not None:
            yield many
            index += len(many)
            continue
        if (line := next(lines, None)) is None:
            break
        words = line.split()
        if words[:1] == ["begin"]:
            if block is not None or astray:  # what wrote the structure before was killed, and the next run went on behind it
                yield Rejection(origin=f"{file.name}#{index}", reason=TRUNCATED)
                index += 1
            block, astray = [], False
        elif words[:1] == ["end"] and block is not None:
            yield _n2p2_frame(block, *units, origin=f"{file.name}#{index}")
            common = _common(block, common)
            index, block = index + 1, None
        elif block is not None and words:
            block.append(words)
        elif words[:1] == ["end"]:
            yield Rejection(origin=f"{file.name}#{index}", reason="no `begin` before its `end`")
            index, astray = index + 1, False
        elif words and not words[0].startswith("#"):
            astray = True
    if block is not None or astray:
        yield Rejection(origin=f"{file.name}#{index}", reason=TRUNCATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """The lines that structures have in common, and where their numbers are."""

    template: Template
    values: Mapping[str, slice]
    names: Sequence[str]


def _common(block: Sequence[Sequence[str]], known: Common | None) -> Common | None:
    """The lines of a structure as those of others, `known` where they are the same; None where there is more in it than the format asks for."""
    lines, values, at = [Line("=", "begin")], dict[str, slice](), 0
    names = [word for i, (word, *_) in enumerate(block) if word not in ("atom", "lattice") or i == 0 or block[i - 1][0] != word]
    names = [name for word in names for name in ([word] * 3 if word == "lattice" else [word])]
    if known is not None and known.names == names:
        return known
    counts = [names.count(word) for word in ("atom", "energy", "charge", "lattice")]
    if counts not in ([1, 1, 1, 3], [1, 1, 1, 0], [1, 1, 0, 3], [1, 1, 0, 0]):
        return None
    for word in names:
        if word not in ("atom", "energy", "charge", "lattice", "comment"):
            return None
        if word == "atom":
            lines.append(Line("*", "atom", "wnnnewwnnn*"))
            continue
        pattern = {"comment": "*", "lattice": "nnn*"}.get(word, "n*")
        lines.append(Line("w", word, pattern))
        size = pattern.count("n")
        values[word] = slice(values[word].start if word in values else at, at := at + size)
    return Common(template=Template([*lines, Line("=", "end")], style="plain"), values=values, names=names)


def _take_alike(lines: Lines, common: Common, first: int, units: Units, file: SourceFile) -> Parsed | None:
    """The next structures, of which the first has the number `first`; None, and nothing is taken, where it is not as plain."""
    found = lines.alike(common.template, FRAMES)
    if found is None:
        return None
    length, energy, force = units
    ends, natoms = np.cumsum(found.natoms), found.natoms.astype(np.int32)
    positions, forces = (np.ascontiguousarray(found.table[:, at]) * unit for at, unit in ((slice(0, 3), length), (slice(3, 6), force)))
    values = {word: np.ascontiguousarray(found.values[:, at]) for word, at in common.values.items()}
    cell = values["lattice"].reshape(-1, 3, 3) * length if "lattice" in values else None
    charge = values["charge"][:, 0] if "charge" in values else np.zeros(len(found))
    fine = np.isfinite(np.add.reduceat(positions.sum(axis=1) + forces.sum(axis=1), ends - natoms)) & np.isfinite(
        values["energy"][:, 0] * energy
    )
    fine &= (np.abs(charge - np.rint(charge)) <= MOST_OFF) & (np.abs(charge) < 1000)
    fine &= True if cell is None else are_sound(cell)
    count = len(found) if fine.all() else int(np.argmin(fine))
    if count < len(found):
        lines.back_to(int(found.places[count]))
    if count == 0:
        return None
    atoms = int(ends[count - 1])
    positions, forces, energies = positions[:atoms], forces[:atoms], values["energy"][:count, 0]
    labelled = np.logical_or.reduceat((forces != 0).any(axis=1), (ends - natoms)[:count]) | (energies != 0)
    frames = Frames.from_arrays(
        numbers=found.numbers[:atoms].copy(),
        positions=positions,
        natoms=natoms[:count],
        cell=None if cell is None else cell[:count],
        energy=np.where(labelled, energies * energy, 0.0),
        forces=np.where(np.repeat(labelled, natoms[:count])[:, None], forces, 0.0),
    )
    origins = [f"{file.name}#{i}" for i in range(first, first + count)]
    return Parsed(
        frames=frames.with_(has_energy=labelled, has_forces=labelled.copy(), charge=np.rint(charge[:count]).astype(np.int16)),
        groups=origins,
        origins=list(origins),
        unconverged=np.zeros(count, bool),
    )


MOST_OFF = 0.1  # of a charge: a sum of atomic charges is nearly whole
N2P2_STRESS = ("virial: the stress of n2p2 has no documented unit",)


@rejects("a structure of n2p2")
def _n2p2_frame(block: list[list[str]], length: float, energy: float, force: float, *, origin: str) -> Frame | Rejection:
    rows: dict[str, list[list[str]]] = {"atom": [], "lattice": [], "energy": [], "charge": []}
    left_out: tuple[str, ...] = ()
    for word, *rest in block:
        if word in rows:
            rows[word].append(rest)
        elif word in ("stress", "virial"):
            left_out = N2P2_STRESS
        elif word != "comment":
            raise Unusable("a word of the structure is not known", word[:40])
    atoms, energies = rows["atom"], [float(row[0]) for row in rows["energy"]]
    if any(len(atom) < 9 for atom in atoms):
        raise Unusable("an atom has fewer than nine columns")
    if len(set(energies)) > 1:
        raise Unusable("several energies for one geometry", energies[:4])
    charge = float(rows["charge"][0][0]) if rows["charge"] else 0.0
    if abs(charge - round(charge)) > MOST_OFF:
        raise Unusable("the charge is not a whole number", charge)
    forces = np.array([[float(word) for word in atom[6:9]] for atom in atoms]).reshape(-1, 3) * force
    labelled = bool(forces.any()) or any(energies)
    return build(
        origin=origin,
        symbols=[atom[3] for atom in atoms],
        positions=np.array([[float(word) for word in atom[:3]] for atom in atoms]).reshape(-1, 3) * length,
        cell=np.array([[float(word) for word in row[:3]] for row in rows["lattice"]]) * length if rows["lattice"] else None,
        energy=energies[0] * energy if energies and labelled else None,
        forces=forces if labelled else None,
        charge=round(charge),
        group=origin,
        left_out=left_out,
    )
