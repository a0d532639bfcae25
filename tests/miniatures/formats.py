"""Systems of frames -> the files of each native format, written by the library that a dataset's makers use where there is one.

A system is a list of frames of one composition. A writer takes systems and the folder that a card's paths start from.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamdata.elements import SYMBOLS
from lamdata.frame import Frame
from lamdata.units import KBAR

System = Sequence[Frame]
CALYPSO_FAILED = 610612509.0
CORRECTION = -1.5  # eV, of the Materials Project; never part of a label


def deepmd(systems: Sequence[System], folder: Path) -> None:
    """One folder a system, each in sets of two frames (dpdata)."""
    for i, system in enumerate(systems):
        _dpdata(system).to("deepmd/npy", str(folder / f"sys.{i:03d}"), set_size=2, prec=np.float64)


def deepmd_mixed(systems: Sequence[System], folder: Path) -> None:
    """One folder for each number of atoms, types frame by frame (dpdata)."""
    import dpdata

    dpdata.MultiSystems(*map(_dpdata, systems)).to("deepmd/npy/mixed", str(folder), prec=np.float64)


def _dpdata(system: System) -> Any:
    import dpdata

    names = list(dict.fromkeys(_symbols(system[0])))
    types = [names.index(s) for s in _symbols(system[0])]
    data = {
        "atom_names": names,
        "atom_numbs": [types.count(i) for i in range(len(names))],
        "atom_types": np.array(types),
        "orig": np.zeros(3),
        "cells": np.array([np.eye(3) * 50 if f.cell is None else f.cell for f in system]),
        "coords": np.array([f.positions for f in system]),
        "energies": np.array([f.energy for f in system]),
        "forces": np.array([f.forces for f in system]),
    }
    if system[0].cell is None:
        data["nopbc"] = True
    elif system[0].virial is not None:
        data["virials"] = np.array([f.virial for f in system])
    return dpdata.LabeledSystem(data=data)


def s2ef(systems: Sequence[System], folder: Path) -> None:
    """OC20 as published: `N.extxyz.xz` by ASE with tags and fixed atoms, `N.txt.xz` with the references, a file a system."""
    from ase.constraints import FixAtoms
    from ase.io import write

    folder.mkdir(parents=True)
    (folder / "README").write_text("Compressed trajectories and references.\n")
    for i, system in enumerate(systems):
        images = [frame.to_ase() for frame in system]
        for atoms in images:
            height = atoms.positions[:, 2]
            atoms.set_tags(np.digitize(height, [height.min() + 1, height.max() - 1]))
            atoms.set_constraint(FixAtoms(mask=atoms.get_tags() == 0))
            atoms.info["free_energy"] = atoms.calc.results["energy"]
        with lzma.open(folder / f"{i}.extxyz.xz", "wt") as file:
            write(file, images, format="extxyz", columns=["symbols", "positions", "move_mask", "tags", "forces"])
        with lzma.open(folder / f"{i}.txt.xz", "wt") as file:
            file.writelines(f"random{1000 + i},frame{k},{-100.25 - i}\n" for k in range(len(system)))


def aflux_pages(systems: Sequence[System], folder: Path) -> None:
    """Saved answers of AFLUX; the last entry was asked for its default columns only and holds no structure."""
    from ase.geometry import cell_to_cellpar

    folder.mkdir(parents=True)
    for page, system in enumerate(systems, 1):
        answer = {}
        for i, frame in enumerate(system, 1):
            names, counts = _runs(frame)
            sites = ";".join(",".join(f"{x:.12g}" for x in site) for site in _fractions(frame))
            answer[f"{i} of {len(system)}"] = {
                "compound": "".join(f"{n}{c}" for n, c in zip(names, counts, strict=True)),
                "auid": f"aflow:{page:08x}{i:08x}",
                "aurl": f"aflowlib.duke.edu:AFLOWDATA/ICSD_WEB/{page}/{i}",
                "geometry": ",".join(f"{x:.12g}" for x in cell_to_cellpar(frame.cell)),
                "positions_fractional": sites,
                "species": ",".join(names),
                "composition": ",".join(map(str, counts)),
            }
        if page == len(systems):
            answer["last"] = {key: answer[f"1 of {len(system)}"][key] for key in ("compound", "auid", "aurl")}
        (folder / f"page-{page}.json").write_text(json.dumps(answer))


def mp_summaries(systems: Sequence[System], file: Path) -> None:
    """Summary documents of the Materials Project, one structure each (pymatgen)."""
    frames = [frame for system in systems for frame in system]
    documents = [{"structure": _structure(f).as_dict(), "material_id": f"mp-{i}", "nsites": len(f.numbers)} for i, f in enumerate(frames)]
    _write_gz(file, documents)


def mp_tasks(systems: Sequence[System], file: Path) -> None:
    """Task documents of the Materials Project, whose last run's ionic steps are the frames of a system."""
    _write_gz(file, [_task(system, f"mp-{1000 + i}") for i, system in enumerate(systems)])


def _task(system: System, name: str) -> dict[str, Any]:
    steps = [
        {
            "e_fr_energy": f.energy,
            "e_wo_entrp": f.energy + 0.002,
            "e_0_energy": f.energy + 0.001,
            "forces": f.forces.tolist(),
            "stress": (f.virial / f.volume / KBAR).tolist(),
            "electronic_steps": [{"e_fr_energy": f.energy}] * 5,
            "structure": _structure(f).as_dict(),
        }
        for f in system
    ]
    run = {"output": {"ionic_steps": steps}, "input": {"incar": {"NELM": 100}}, "vasp_version": "5.4.4"}
    return {"calcs_reversed": [run], "task_id": name}


def mc2d(systems: Sequence[System], folder: Path) -> None:
    """MC2D: a CIF and an XSF a structure, named by its UUID, and beside their folder the tables of the two versions of the record."""
    from ase.io import write

    files = folder / "optimized_2d_structures"
    files.mkdir(parents=True)
    properties, older = [], []
    for i, frame in enumerate(f for system in systems for f in system):
        name = str(uuid.UUID(int=i + 1))
        _write_cif(frame, files / f"{name}.cif")
        atoms = frame.to_ase()
        atoms.calc = None
        write(str(files / f"{name}.xsf"), atoms, format="xsf")
        properties.append({"optimized_structure_uuid": name, "formula": atoms.get_chemical_formula(), "be_df2": 20.0})
        older.append(
            {
                "relaxed_2D_structure_uuid": name,
                "number_of_atoms": len(atoms),
                "cell": [[f"a{k}", *vector] for k, vector in enumerate(atoms.cell.tolist(), 1)],
                "atomic_positions": [[f"{s}1", *x, s] for s, x in zip(atoms.symbols, atoms.positions.tolist(), strict=True)],
            }
        )
    (folder / "structure_2d.json").write_text(json.dumps(properties))
    (folder / "structures.json").write_text(json.dumps(older))


def mc3d(systems: Sequence[System], folder: Path) -> None:
    """MC3D: one CIF a structure; in the last a site is half empty."""
    folder.mkdir(parents=True)
    for i, frame in enumerate(f for system in systems for f in system):
        _write_cif(frame, folder / f"mc3d-{i}_pbe-v1.cif")
    text = (folder / "mc3d-0_pbe-v1.cif").read_text().rstrip().splitlines()
    text[-1] = text[-1].rsplit(maxsplit=1)[0] + " 0.5"
    (folder / "mc3d-partial_pbe-v1.cif").write_text("\n".join(text) + "\n")


def _write_cif(frame: Frame, path: Path) -> None:
    from pymatgen.io.cif import CifWriter

    CifWriter(_structure(frame), significant_figures=12).write_file(path)


def entries(systems: Sequence[System], folder: Path) -> None:
    """ChemicalSimilarity: a file of ComputedStructureEntry for each step; in the first also a cell without volume and a placeholder."""
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    for step, system in enumerate(systems, 1):
        found = [
            ComputedStructureEntry(_structure(f), f.energy, correction=CORRECTION, entry_id=f"wbm-{step}-{i}").as_dict()
            for i, f in enumerate(system)
        ]
        if step == 1:
            flat, placeholder = json.loads(json.dumps([found[0], found[0]]))
            flat["structure"]["lattice"]["matrix"][2] = flat["structure"]["lattice"]["matrix"][1]
            placeholder["energy"] = -10.0 * len(system[0].numbers)
            found += [flat | {"entry_id": "flat"}, placeholder | {"entry_id": "placeholder"}]
        (folder / f"step_{step}.json.bz2").write_bytes(bz2.compress(json.dumps({"entries": found}).encode()))


def charged_extxyz(systems: Sequence[System], folder: Path, *, charges: Sequence[int] = ()) -> None:
    """One extxyz a system (ASE); frame k of each carries the charge `charges[k]`."""
    from ase.io import write

    folder.mkdir(parents=True)
    for i, system in enumerate(systems):
        images = [frame.to_ase() for frame in system]
        for atoms, charge in zip(images, charges, strict=False):
            atoms.info["charge"] = charge
        write(folder / f"{i}.extxyz", images, format="extxyz")


def calypso(systems: Sequence[System], folder: Path) -> None:
    """A search: input.dat, and results of one generation a system, as generated and as relaxed; the last relaxation of each failed."""
    results = folder / "results"
    results.mkdir(parents=True)
    names, counts = _runs(systems[0][0])
    (folder / "input.dat").write_text(f"SystemName = mini\nNameOfAtoms = {' '.join(names)}\nNumberOfAtoms = {' '.join(map(str, counts))}\n")
    for generation, system in enumerate(systems, 1):
        structures = [_poscar_without_symbols(frame) for frame in (*system, system[0])]
        enthalpies = [f"{f.energy / len(f.numbers):.6f}" for f in system] + [f"{CALYPSO_FAILED:.6f}"]
        (results / f"pso_ini_{generation}").write_text("".join(structures))
        relaxed = "".join(f"{h}\n{s}" for h, s in zip(enthalpies, structures, strict=True))
        (results / f"pso_opt_{generation}").write_text(relaxed)


def _poscar_without_symbols(frame: Frame) -> str:
    rows = [" ".join(f"{x:.12f}" for x in row) for row in (*frame.cell, *_fractions(frame))]
    return "\n".join(["mini", "1.0", *rows[:3], " ".join(map(str, _runs(frame)[1])), "Direct", *rows[3:]]) + "\n"


def _runs(frame: Frame) -> tuple[list[str], list[int]]:
    """Elements in the order of the atoms, and how many of each; atoms of an element must stand together."""
    symbols = _symbols(frame)
    names = list(dict.fromkeys(symbols))
    if symbols != sorted(symbols, key=names.index):
        raise ValueError(f"atoms of an element are apart: {symbols}")
    return names, [symbols.count(name) for name in names]


def _symbols(frame: Frame) -> list[str]:
    return [SYMBOLS[z] for z in frame.numbers]


def _fractions(frame: Frame) -> np.ndarray:
    return frame.positions @ np.linalg.inv(frame.cell)


def _structure(frame: Frame) -> Any:
    from pymatgen.core import Structure

    return Structure(frame.cell, _symbols(frame), _fractions(frame))


def _write_gz(file: Path, documents: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(json.dumps(documents).encode()))
