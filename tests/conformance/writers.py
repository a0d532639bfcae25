"""Frames with labels -> small files of each format that holds labels: what the readers are tested and fuzzed on.

A writer takes frames and a folder and returns the path that a card would name. The labels that a format cannot hold are lost.
"""

from __future__ import annotations

import json
import lzma
import pickle
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lamdata.elements import SYMBOLS
from lamdata.frame import Frame


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


def lmdb_file(path: Path, records: dict[bytes, bytes]) -> Path:
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
    return lmdb_file(folder / "data.lmdb/data.mdb", records)


def ase_db(frames: list[Frame], folder: Path) -> Path:
    from ase.db import connect

    with connect(folder / "data.db") as database:
        for f in frames:
            database.write(f.to_ase())
    return folder / "data.db"


def parquet(frames: list[Frame], folder: Path) -> Path:
    from lamdata.exporting.parquet import write_parquet
    from lamdata.exporting.rows import About, Row

    elements = [SYMBOLS[z] for z in sorted({z for f in frames for z in f.numbers.tolist()})]
    about = About(dataset="demo", elements=elements, card={"dataset": "demo", "title": "demo"})
    write_parquet((Row(f, "train") for f in frames), folder / "data.parquet", about)
    return folder / "data.parquet"


def atompack(frames: list[Frame], folder: Path) -> Path:
    from atompack import Database, Molecule

    database = Database(str(folder / "data.atp"))
    for f in frames:
        labels = {"energy": f.energy, "forces": f.forces, "stress": None if f.virial is None else -f.virial / f.volume}
        labels = {name: value for name, value in labels.items() if value is not None}
        database.add_molecule(Molecule.from_arrays(f.positions, f.numbers, cell=f.cell, pbc=f.pbc, **labels))
    database.flush()
    return folder / "data.atp"


def chemreporter(frames: list[Frame], folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "data.hdf5", "w", libver="latest") as root:
        for i, f in enumerate(frames):
            group = root.create_group(f"demo_train_data_{i}")
            group.attrs["energy"] = f.energy
            stress = {} if f.virial is None else {"stress": -f.virial / f.volume}
            for name, values in {"elements": f.numbers, "positions": f.positions, "forces": f.forces, "cell": f.cell, **stress}.items():
                group.create_dataset(name, data=values)
            group.create_dataset("pbc", data=np.array(f.pbc), dtype=np.float32)
    return folder / "data.hdf5"


def nvalchemi(frames: list[Frame], folder: Path) -> Path:
    from tests.lamdata.sources.labelled.nvalchemi_groups import write_group

    def all_of(name: str) -> list:
        return [getattr(f, name) for f in frames]

    stress = {"stress": np.stack([-f.virial / f.volume for f in frames])} if all(f.virial is not None for f in frames) else {}
    core = {"positions": np.concatenate(all_of("positions")), "atomic_numbers": np.concatenate(all_of("numbers")).astype(np.int64)}
    core |= {"cell": np.stack(all_of("cell")), "pbc": np.array(all_of("pbc")), "energy": np.array(all_of("energy"))[:, None]}
    core |= {"forces": np.concatenate(all_of("forces"))} | stress
    return write_group(folder / "data.zarr", [len(f.numbers) for f in frames], core)


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
    return lmdb_file(folder / "data.aselmdb", records)


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
    return lmdb_file(folder / "data.0000.lmdb", records | {b"length": pickle.dumps(len(frames), protocol=-1)})
