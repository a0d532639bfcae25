"""Every format that can be written here, with the reader that must read it: name -> (writer, reader's name)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structure_writers as structures
import writers

from lamdata.frame import Frame

Writer = Callable[[list[Frame], Path], Path]

WRITERS: dict[str, tuple[Writer, str]] = {
    "extxyz": (writers.extxyz, "extxyz"),
    "s2ef": (writers.s2ef, "oc20/s2ef"),
    "deepmd_npy": (writers.deepmd_npy, "deepmd/npy"),
    "deepmd_mixed": (writers.deepmd_mixed, "deepmd/npy"),
    "deepmd_raw": (writers.deepmd_raw, "deepmd/raw"),
    "deepmd_hdf5": (writers.deepmd_hdf5, "deepmd/hdf5"),
    "deepmd_lmdb": (writers.deepmd_lmdb, "deepmd/lmdb"),
    "ase_db": (writers.ase_db, "ase/db"),
    "ase_json": (writers.ase_json, "ase/json"),
    "ase_traj": (writers.ase_traj, "ase/traj"),
    "ase_lmdb": (writers.ase_lmdb, "ase/lmdb"),
    "atompack": (writers.atompack, "atompack"),
    "chemreporter": (writers.chemreporter, "chemreporter/hdf5"),
    "nvalchemi": (writers.nvalchemi, "nvalchemi/zarr"),
    "parquet": (writers.parquet, "parquet"),
    "oc20_lmdb": (writers.oc20_lmdb, "oc20/lmdb"),
    "pymatgen_json": (structures.pymatgen_json, "pymatgen/json"),
    "mp_task": (structures.mp_task, "mp/task"),
    "aflux": (structures.aflux, "aflow/aflux"),
    "optimade": (structures.optimade, "optimade"),
    "optimade_jsonl": (structures.optimade_jsonl, "optimade"),
    "jarvis": (structures.jarvis, "jarvis"),
    "mc2d": (structures.mc2d, "mc2d"),
    "aiida": (structures.aiida, "aiida"),
    "cif": (structures.cif, "cif"),
    "xsf": (structures.xsf, "xsf"),
    "poscar": (structures.poscar, "vasp/poscar"),
    "calypso": (structures.calypso, "calypso"),
}
