"""Frames -> small files of each format that holds structures and at most energies; see `writers` for those with labels."""

from __future__ import annotations

import bz2
import json
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from writers import fractions, stress, symbols

from lamdata.elements import SYMBOLS
from lamdata.frame import Frame


def structure_dict(f: Frame) -> dict:
    """pymatgen's Structure.as_dict."""
    sites = [
        {"species": [{"element": e, "occu": 1}], "abc": x.tolist(), "label": e, "properties": {}}
        for e, x in zip(symbols(f), fractions(f), strict=True)
    ]
    return {
        "@module": "pymatgen.core.structure",
        "@class": "Structure",
        "charge": 0,
        "lattice": {"matrix": f.cell.tolist()},
        "sites": sites,
    }


def pymatgen_json(frames: list[Frame], folder: Path) -> Path:
    """A step file of WBM; the correction must not be added."""
    head = {"@module": "pymatgen.entries.computed_entries", "@class": "ComputedStructureEntry"}
    entries = [
        head | {"energy": f.energy, "correction": -1.5, "entry_id": f"wbm-1-{i}", "structure": structure_dict(f)}
        for i, f in enumerate(frames)
    ]
    (folder / "step_1.json.bz2").write_bytes(bz2.compress(json.dumps({"entries": entries}).encode()))
    return folder / "step_1.json.bz2"


def mp_task(frames: list[Frame], folder: Path) -> Path:
    from lamdata.units import KBAR

    steps = [
        {
            "e_fr_energy": f.energy,
            "e_wo_entrp": f.energy + 0.01,
            "e_0_energy": f.energy + 0.005,
            "forces": f.forces.tolist(),
            "structure": structure_dict(f),
        }
        | {"stress": (-stress(f) / KBAR).tolist(), "electronic_steps": [{}] * 5}
        for f in frames
    ]
    calculation = {"vasp_version": "5.4.4", "input": {"incar": {"ENCUT": 520, "NELM": 100, "ISPIN": 2}}, "output": {"ionic_steps": steps}}
    (folder / "task.json").write_text(json.dumps({"task_id": "mp-1", "calcs_reversed": [calculation]}))
    return folder / "task.json"


def aflux(frames: list[Frame], folder: Path) -> Path:
    """Lattice vectors become lengths and angles, so the cell is turned; forces would not turn with it and are left out."""
    from ase import Atoms

    page = {}
    for i, f in enumerate(frames):
        order = np.argsort(f.numbers, kind="stable")
        names, counts = np.unique(f.numbers, return_counts=True)
        sites = ";".join(",".join(f"{x:.12g}" for x in site) for site in fractions(f)[order])
        geometry = ",".join(f"{x:.12g}" for x in Atoms(cell=f.cell).cell.cellpar())
        species = ",".join(SYMBOLS[z] for z in names)
        page[f"{i + 1} of {len(frames)}"] = {
            "auid": f"aflow:{i}", "geometry": geometry, "positions_fractional": sites, "species": species,
            "composition": ",".join(map(str, counts)), "energy_cell": f"{f.energy:.12g}", "dft_type": "PAW_PBE",
        }  # fmt: skip
    (folder / "aflux.json").write_text(json.dumps(page))
    return folder / "aflux.json"


def optimade_entry(f: Frame, identity: str) -> dict:
    """One structure resource."""
    names = sorted(set(symbols(f)))
    attributes = {
        "lattice_vectors": f.cell.tolist(), "cartesian_site_positions": f.positions.tolist(), "species_at_sites": symbols(f), "dimension_types": [1, 1, 1],
        "species": [{"name": n, "chemical_symbols": [n], "concentration": [1.0]} for n in names], "_mcloud_total_energy": f.energy,
    }  # fmt: skip
    return {"id": identity, "type": "structures", "attributes": attributes}


def optimade(frames: list[Frame], folder: Path) -> Path:
    answer = {"data": [optimade_entry(f, f"id{i}") for i, f in enumerate(frames)], "meta": {"api_version": "1.1.0"}}
    (folder / "page.json").write_text(json.dumps(answer))
    return folder / "page.json"


def optimade_jsonl(frames: list[Frame], folder: Path) -> Path:
    lines = [{"x-optimade": {"meta": {"api_version": "1.2.0"}}}] + [optimade_entry(f, f"id{i}") for i, f in enumerate(frames)]
    (folder / "dump.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "dump.jsonl"


def jarvis(frames: list[Frame], folder: Path) -> Path:
    entries = [
        {
            "jid": f"JVASP-{i}",
            "atoms": {"lattice_mat": f.cell.tolist(), "coords": fractions(f).tolist(), "elements": symbols(f), "cartesian": False},
        }
        for i, f in enumerate(frames)
    ]
    (folder / "jarvis.json").write_text(json.dumps(entries))
    return folder / "jarvis.json"


def mc2d(frames: list[Frame], folder: Path) -> Path:
    entries = [
        {
            "relaxed_2D_structure_uuid": f"uuid-{i}",
            "number_of_atoms": len(f.numbers),
            "cell": [[f"a{k + 1}", *vector] for k, vector in enumerate(f.cell.tolist())],
            "atomic_positions": [[f"{s}1", *x, s] for s, x in zip(symbols(f), f.positions.tolist(), strict=True)],
        }
        for i, f in enumerate(frames)
    ]
    (folder / "structures.json").write_text(json.dumps(entries))
    return folder / "structures.json"


def aiida_attributes(f: Frame) -> dict:
    """Attributes of a StructureData node."""
    kinds = [{"name": s, "symbols": [s], "weights": [1.0], "mass": 1.0} for s in sorted(set(symbols(f)))]
    sites = [{"kind_name": s, "position": x.tolist()} for s, x in zip(symbols(f), f.positions, strict=True)]
    return {"cell": f.cell.tolist(), "kinds": kinds, "sites": sites, "pbc1": True, "pbc2": True, "pbc3": True}


def aiida(frames: list[Frame], folder: Path) -> Path:
    """A `main_0001` archive with only the tables that hold structures and groups."""
    with sqlite3.connect(folder / "db.sqlite3") as database:
        database.execute("CREATE TABLE db_dbnode (id INTEGER PRIMARY KEY, uuid TEXT, node_type TEXT, attributes JSON)")
        database.execute("CREATE TABLE db_dbgroup (id INTEGER PRIMARY KEY, label TEXT)")
        database.execute("CREATE TABLE db_dbgroup_dbnodes (dbnode_id INTEGER, dbgroup_id INTEGER)")
        database.execute("INSERT INTO db_dbgroup VALUES (1, 'relaxed')")
        for i, f in enumerate(frames):
            database.execute(
                "INSERT INTO db_dbnode VALUES (?, ?, 'data.core.structure.StructureData.', ?)",
                (i + 1, f"uuid-{i}", json.dumps(aiida_attributes(f))),
            )
        database.execute("INSERT INTO db_dbgroup_dbnodes VALUES (1, 1)")
    database.close()
    with zipfile.ZipFile(folder / "archive.aiida", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps({"export_version": "main_0001"}))
        archive.write(folder / "db.sqlite3", "db.sqlite3")
    (folder / "db.sqlite3").unlink()
    return folder / "archive.aiida"


def cif(frames: list[Frame], folder: Path) -> Path:
    from ase.io import write

    write(str(folder / "all.cif"), [f.to_ase() for f in frames], format="cif")
    return folder / "all.cif"


def xsf(frames: list[Frame], folder: Path) -> Path:
    from ase.io import write

    write(str(folder / "all.xsf"), [_bare(f) for f in frames], format="xsf")
    return folder / "all.xsf"


def _bare(f: Frame) -> Any:
    """`ase.Atoms` without labels: the columns of forces are not what is tested."""
    atoms = f.to_ase()
    atoms.calc = None
    return atoms


def poscar_lines(f: Frame, *, names: bool = True) -> list[str]:
    """One POSCAR, atoms in their order."""
    runs: list[list] = []
    for s in symbols(f):
        if runs and runs[-1][0] == s:
            runs[-1][1] += 1
        else:
            runs.append([s, 1])
    rows = [" ".join(f"{x:.12f}" for x in row) for row in (*f.cell, *fractions(f))]
    return [
        "made here",
        "1.0",
        *rows[:3],
        *([" ".join(r[0] for r in runs)] if names else []),
        " ".join(str(r[1]) for r in runs),
        "Direct",
        *rows[3:],
    ]


def poscar(frames: list[Frame], folder: Path) -> Path:
    (folder / "POSCAR").write_text("\n".join(line for f in frames for line in poscar_lines(f)) + "\n")
    return folder / "POSCAR"


def calypso(frames: list[Frame], folder: Path) -> Path:
    (folder / "results").mkdir()
    lines = [line for f in frames for line in [f"{f.energy / len(f.numbers):.10f}", *poscar_lines(f, names=False)]]
    (folder / "results/pso_opt_1").write_text("\n".join(lines) + "\n")
    (folder / "input.dat").write_text("SystemName = AuCu\nNameOfAtoms = Au Cu\nNumberOfAtoms = 1 3\n")
    return folder / "results/pso_opt_1"
