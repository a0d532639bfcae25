"""What dpdata, ASE and pymatgen, called bare, read from a file: numbers that do not depend on how a library turns or sorts a structure."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DPDATA = {
    "vasp/outcar": "vasp/outcar", "vasp/xml": "vasp/xml", "cp2k/output": "cp2k/output", "gaussian/log": "gaussian/log",
    "orca/output": "orca/spout", "psi4/output": "psi4/out", "sqm/output": "sqm/out", "extxyz": "extxyz", "ase/traj": "ase/traj",
    "siesta/output": "siesta/output", "n2p2": "n2p2", "fhi_aims/output": "fhi_aims/md", "pwmat/movement": "pwmat/movement",
    "deepmd/hdf5": "deepmd/hdf5", "qe/pw": "qe/pw/scf",
}  # fmt: skip
DPDATA_FOLDER = {"deepmd/npy": "deepmd/npy", "deepmd/raw": "deepmd/raw", "deepmd/lmdb": "deepmd/lmdb"}
ASE = {
    "vasp/xml": "vasp-xml", "vasp/outcar": "vasp-out", "extxyz": "extxyz", "ase/db": "db", "ase/json": "json", "ase/traj": "traj",
    "qe/pw": "espresso-out", "gaussian/log": "gaussian-out", "castep/output": "castep-castep", "cif": "cif",
    "fhi_aims/output": "aims-output",
    "vasp/poscar": "vasp", "xsf": "xsf", "orca/output": "orca-output",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Values:
    """One frame, by numbers that survive rotation and permutation; None where the library has none."""

    natoms: int
    energies: tuple[float, ...]  # eV; all that the library calls energy: ASE knows two
    forces: np.ndarray | None  # (A,) sorted lengths, eV/Å
    virial: np.ndarray | None  # (3,) eigenvalues, eV


def values(natoms: int, energies: list[float | None], forces: np.ndarray | None, virial: np.ndarray | None) -> Values:
    """Reduce a frame's labels to what does not depend on orientation and order."""
    return Values(
        natoms,
        tuple(float(e) for e in energies if e is not None),
        None if forces is None else np.sort(np.linalg.norm(forces, axis=1)),
        None if virial is None else np.linalg.eigvalsh((virial + np.transpose(virial)) / 2),
    )


def bare(format_name: str, path: Path) -> dict[str, list[Values] | str]:
    """Library -> what it reads, or in a line why it does not; a library that does not know the format is left out."""
    out: dict[str, list[Values] | str] = {}
    calls: dict[str, Callable[[], list[Values]]] = {}
    if format_name in DPDATA:
        calls["dpdata"] = lambda: _dpdata(path, DPDATA[format_name])
    if format_name in DPDATA_FOLDER:
        folder = path if path.is_dir() else path.parent
        calls["dpdata"] = lambda: _dpdata(folder, DPDATA_FOLDER[format_name])
    if format_name in ASE:
        calls["ase"] = lambda: _ase(path, "vasp-xdatcar" if path.name.startswith("XDATCAR") else ASE[format_name])
    if format_name == "pymatgen/json":
        calls["pymatgen"] = lambda: _pymatgen(path)
    for name, call in calls.items():
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                warnings.simplefilter("ignore")
                out[name] = call()
        except BaseException as err:  # a library's failure is a line of the table, not ours
            out[name] = f"{type(err).__name__}: {' '.join(str(err).split())[:100]}"
    return out


def _dpdata(path: Path, fmt: str) -> list[Values]:
    import dpdata

    if fmt in ("extxyz", "deepmd/lmdb"):
        systems = list(dpdata.MultiSystems.from_file(str(path), fmt=fmt))
    else:
        # Convergence is ours to judge: dpdata counts electronic steps, whatever they changed, and those of a response with them.
        unchecked = {"convergence_check": False} if fmt.startswith("vasp/") else {}
        systems = [dpdata.LabeledSystem(str(path), fmt=fmt, **unchecked)]
    out = []
    for system in systems:
        data = system.data
        for i in range(len(data["energies"])):
            virial = data["virials"][i] if "virials" in data else None
            out.append(values(len(data["atom_types"]), [data["energies"][i]], data["forces"][i] if "forces" in data else None, virial))
    return out


def _ase(path: Path, fmt: str) -> list[Values]:
    from ase.io import iread

    out = []
    for atoms in iread(str(path), index=":", format=fmt):
        results = atoms.calc.results if atoms.calc is not None else {}
        if any(key.endswith(("_unit", "-unit")) for key in atoms.info):  # ASE takes the numbers for eV and Å whatever the file says
            results = {}
        stress = results.get("stress")
        virial = None
        if stress is not None and atoms.pbc.any():
            full = stress if np.shape(stress) == (3, 3) else np.asarray(stress)[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
            virial = -abs(np.linalg.det(atoms.cell.array)) * full
        energies = [results.get(key) if np.ndim(results.get(key)) == 0 else None for key in ("free_energy", "energy")]
        out.append(values(len(atoms), energies, results.get("forces"), virial))
    return out


def _pymatgen(path: Path) -> list[Values]:
    from monty.serialization import loadfn
    from pymatgen.core import Structure

    found = loadfn(str(path))
    found = found.get("entries", found) if isinstance(found, dict) and "@module" not in found else found
    table = isinstance(found, dict) and not {"structure", "lattice"} & found.keys()
    out = []
    for entry in found.values() if table else found if isinstance(found, list) else [found]:
        if isinstance(entry, dict):  # a document of no class that is here
            structure = Structure.from_dict(entry) if "lattice" in entry else entry.get("structure")
        else:
            structure = getattr(entry, "structure", entry)
        if hasattr(structure, "lattice"):
            energies = [getattr(entry, "uncorrected_energy", None), getattr(entry, "energy", None)]
            out.append(values(len(structure), energies, None, None))
    return out
