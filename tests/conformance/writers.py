"""Frames -> small files of each structure and database format: what the readers are tested and fuzzed on.

A writer takes frames and a folder and returns the path that a card would name. The labels that a format cannot hold are lost.
"""

from __future__ import annotations

import bz2
import json
import lzma
import pickle
import sqlite3
import sys
import types
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lamdata.elements import SYMBOLS
from lamdata.frame import Frame

Writer = Callable[[list[Frame], Path], Path]


def emt_frames(count: int = 3, *, seed: int = 0) -> list[Frame]:
    """Strained and rattled CuAu cells with energy, forces and virial of ASE's EMT potential."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.symbols[0] = "Au"
        atoms.set_cell(atoms.cell.array @ (np.eye(3) * 1.02 + rng.normal(0, 0.01, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.calc = EMT()
        out.append(frame_of(atoms, f"emt#{i}"))
    return out


def frame_of(atoms: Any, origin: str) -> Frame:
    """A frame with the labels of an ASE calculator."""
    stress = atoms.get_stress(voigt=False)
    return Frame(
        numbers=atoms.numbers.astype(np.uint8),
        positions=atoms.positions.copy(),
        cell=atoms.cell.array.copy(),
        pbc=(True, True, True),
        energy=float(atoms.get_potential_energy()),
        forces=atoms.get_forces(),
        virial=-atoms.get_volume() * stress,
        origin=origin,
    )


def symbols(frame: Frame) -> list[str]:
    """Element of each atom."""
    return [SYMBOLS[z] for z in frame.numbers]


def fractions(frame: Frame) -> np.ndarray:
    """(A, 3) fractional coordinates."""
    return frame.positions @ np.linalg.inv(frame.cell)


def stress(frame: Frame) -> np.ndarray:
    """(3, 3) eV/Å^3, ASE's sign."""
    return -frame.virial / frame.volume


def extxyz_text(frames: list[Frame], *, forces: str = "forces", extra: str = "") -> str:
    """Extended XYZ with energy, stress and forces."""
    out = []
    for f in frames:
        lattice, s = (" ".join(f"{x:.12g}" for x in m.ravel()) for m in (f.cell, stress(f)))
        out += [
            str(len(f.numbers)),
            f'Lattice="{lattice}" Properties=species:S:1:pos:R:3:{forces}:R:3 energy={f.energy:.12g} stress="{s}" pbc="T T T" {extra}',
        ]
        out += [f"{e} " + " ".join(f"{x:.12g}" for x in (*p, *g)) for e, p, g in zip(symbols(f), f.positions, f.forces, strict=True)]
    return "\n".join(out) + "\n"


def extxyz(frames: list[Frame], folder: Path) -> Path:
    path = folder / "data.extxyz"
    path.write_text(extxyz_text(frames))
    return path


def s2ef(frames: list[Frame], folder: Path) -> Path:
    """OC20 as published; every reference is 1 eV."""
    (folder / "0.extxyz.xz").write_bytes(lzma.compress(extxyz_text(frames, extra="free_energy=0").encode()))
    (folder / "0.txt.xz").write_bytes(lzma.compress("".join(f"random{i // 2},frame{i},1.0\n" for i in range(len(frames))).encode()))
    return folder / "0.extxyz.xz"


def _deepmd_types(frames: list[Frame]) -> tuple[list[int], list[str]]:
    names = list(dict.fromkeys(symbols(frames[0])))
    return [names.index(s) for s in symbols(frames[0])], names


def _deepmd_arrays(frames: list[Frame]) -> dict[str, np.ndarray]:
    return {
        "coord": np.array([f.positions.ravel() for f in frames]),
        "box": np.array([f.cell.ravel() for f in frames]),
        "energy": np.array([f.energy for f in frames]),
        "force": np.array([f.forces.ravel() for f in frames]),
        "virial": np.array([f.virial.ravel() for f in frames]),
    }


def _deepmd_system(frames: list[Frame], system: Path) -> None:
    system.mkdir(parents=True, exist_ok=True)
    types_, names = _deepmd_types(frames)
    (system / "type.raw").write_text("\n".join(map(str, types_)) + "\n")
    (system / "type_map.raw").write_text("\n".join(names) + "\n")


def deepmd_npy(frames: list[Frame], folder: Path) -> Path:
    _deepmd_system(frames, folder / "sys")
    (folder / "sys/set.000").mkdir()
    for name, value in _deepmd_arrays(frames).items():
        np.save(folder / f"sys/set.000/{name}.npy", value)
    return folder / "sys"


def deepmd_mixed(frames: list[Frame], folder: Path) -> Path:
    path = deepmd_npy(frames, folder)
    types_, _ = _deepmd_types(frames)
    np.save(path / "set.000/real_atom_types.npy", np.array([types_] * len(frames)))
    (path / "type.raw").write_text("0\n" * len(types_))
    return path


def deepmd_raw(frames: list[Frame], folder: Path) -> Path:
    _deepmd_system(frames, folder / "sys")
    for name, value in _deepmd_arrays(frames).items():
        np.savetxt(folder / f"sys/{name}.raw", value.reshape(len(frames), -1), fmt="%.12g")
    return folder / "sys"


def deepmd_hdf5(frames: list[Frame], folder: Path) -> Path:
    import h5py

    types_, names = _deepmd_types(frames)
    with h5py.File(folder / "data.hdf5", "w") as root:
        group = root.create_group("CuAu")
        group["type.raw"], group["type_map.raw"] = types_, [n.encode() for n in names]
        for name, value in _deepmd_arrays(frames).items():
            group[f"set.000/{name}.npy"] = value
    return folder / "data.hdf5"


def _lmdb(path: Path, records: dict[bytes, bytes]) -> Path:
    import lmdb

    with lmdb.open(str(path), subdir=False, map_size=64 << 20, lock=False) as database, database.begin(write=True) as change:
        for key, value in records.items():
            change.put(key, value)
    return path


def deepmd_lmdb(frames: list[Frame], folder: Path) -> Path:
    import msgpack

    types_, names = _deepmd_types(frames)

    def packed(array: object) -> dict:
        array = np.asarray(array)
        return {"type": str(array.dtype), "shape": list(array.shape), "data": array.tobytes()}

    records = {b"__metadata__": msgpack.packb({"nframes": len(frames), "type_map": names})}
    for i, f in enumerate(frames):
        fields = {
            "atom_types": np.array(types_, np.int32),
            "coords": f.positions,
            "cells": f.cell,
            "energies": f.energy,
            "forces": f.forces,
        }
        record = {k: packed(v) for k, v in fields.items()} | {"virials": packed(f.virial), "atom_numbs": [1, 3]}
        records[b"%012d" % i] = msgpack.packb(record)
    (folder / "data.lmdb").mkdir()
    return _lmdb(folder / "data.lmdb/data.mdb", records)


def ase_db(frames: list[Frame], folder: Path) -> Path:
    from ase.db import connect

    with connect(folder / "data.db") as database:
        for f in frames:
            database.write(f.to_ase())
    return folder / "data.db"


def ase_json(frames: list[Frame], folder: Path) -> Path:
    from ase.db import connect

    with connect(folder / "data.json", type="json") as database:
        for f in frames:
            database.write(f.to_ase())
    return folder / "data.json"


def ase_traj(frames: list[Frame], folder: Path) -> Path:
    from ase.io.trajectory import Trajectory

    with Trajectory(str(folder / "run.traj"), "w") as out:
        for f in frames:
            out.write(f.to_ase())
    return folder / "run.traj"


def ase_lmdb(frames: list[Frame], folder: Path) -> Path:
    records = {b"nextid": zlib.compress(json.dumps(len(frames) + 1).encode())}
    for i, f in enumerate(frames):
        voigt = stress(f)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        row = {
            "numbers": f.numbers.tolist(),
            "positions": f.positions.tolist(),
            "cell": f.cell.tolist(),
            "pbc": [True] * 3,
            "energy": f.energy,
        }
        row |= {"forces": f.forces.tolist(), "stress": voigt.tolist(), "key_value_pairs": {}, "data": {}}
        records[b"%d" % (i + 1)] = zlib.compress(json.dumps(row).encode())
    return _lmdb(folder / "data.aselmdb", records)


def oc20_lmdb(frames: list[Frame], folder: Path) -> Path:
    """Records as torch_geometric 2 pickles them, without it: only the class names matter."""
    import torch

    modules = {
        name: types.ModuleType(name)
        for name in ("torch_geometric", "torch_geometric.data", "torch_geometric.data.data", "torch_geometric.data.storage")
    }
    data = type("Data", (), {"__module__": "torch_geometric.data.data"})
    store = type("GlobalStorage", (), {"__module__": "torch_geometric.data.storage"})
    modules["torch_geometric.data.data"].Data, modules["torch_geometric.data.storage"].GlobalStorage = data, store
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        records = {}
        for i, f in enumerate(frames):
            record, inner = data(), store()
            fields = {"pos": f.positions, "cell": f.cell[None], "atomic_numbers": f.numbers.astype(np.float32), "force": f.forces}
            inner._mapping = {
                k: torch.tensor(np.asarray(v, np.float64 if k != "atomic_numbers" else np.float32)) for k, v in fields.items()
            }
            inner._mapping |= {"y": f.energy, "sid": 7 + i // 2, "fid": i, "natoms": len(f.numbers)}
            record._store, inner._parent = inner, None
            records[b"%d" % i] = pickle.dumps(record, protocol=-1)
    finally:
        for name, module in before.items():
            sys.modules.pop(name) if module is None else sys.modules.__setitem__(name, module)
    return _lmdb(folder / "data.0000.lmdb", records | {b"length": pickle.dumps(len(frames), protocol=-1)})


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


WRITERS: dict[str, tuple[Writer, str]] = {
    "extxyz": (extxyz, "extxyz"),
    "s2ef": (s2ef, "oc20/s2ef"),
    "deepmd_npy": (deepmd_npy, "deepmd/npy"),
    "deepmd_mixed": (deepmd_mixed, "deepmd/npy"),
    "deepmd_raw": (deepmd_raw, "deepmd/raw"),
    "deepmd_hdf5": (deepmd_hdf5, "deepmd/hdf5"),
    "deepmd_lmdb": (deepmd_lmdb, "deepmd/lmdb"),
    "ase_db": (ase_db, "ase/db"),
    "ase_json": (ase_json, "ase/json"),
    "ase_traj": (ase_traj, "ase/traj"),
    "ase_lmdb": (ase_lmdb, "ase/lmdb"),
    "oc20_lmdb": (oc20_lmdb, "oc20/lmdb"),
    "pymatgen_json": (pymatgen_json, "pymatgen/json"),
    "mp_task": (mp_task, "mp/task"),
    "aflux": (aflux, "aflow/aflux"),
    "optimade": (optimade, "optimade"),
    "optimade_jsonl": (optimade_jsonl, "optimade"),
    "jarvis": (jarvis, "jarvis"),
    "mc2d": (mc2d, "mc2d"),
    "aiida": (aiida, "aiida"),
    "cif": (cif, "cif"),
    "xsf": (xsf, "xsf"),
    "poscar": (poscar, "vasp/poscar"),
    "calypso": (calypso, "calypso"),
}
