"""Files of foreign formats, and how their own libraries read them: what benchmarks/ingest.py compares."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

QUICKSTART = Path(__file__).resolve().parents[1] / "catalogs" / "quickstart" / "raw"
SYMBOLS = ("Cu", "Au", "O")


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format: how its files are made and how its library reads them."""

    library: str
    format: str  # name of our reader
    write: Callable[[Path, int, int], Path]  # (folder, frames, atoms) -> what a card would name
    bare: Callable[[Path], int]  # -> frames that the library made objects of
    members: str | None = None


def arrays(frames: int, atoms: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Rattled simple-cubic cells and labels of the right size; forces have no net."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.cbrt(atoms)))
    sites = 2.4 * np.stack(np.unravel_index(np.arange(atoms), (side, side, side)), axis=1)
    forces = rng.normal(0, 1, (frames, atoms, 3))
    symmetric = rng.normal(0, 1, (frames, 3, 3))
    return {
        "coord": sites + rng.uniform(-0.2, 0.2, (frames, atoms, 3)),
        "box": np.broadcast_to(np.eye(3) * 2.4 * side, (frames, 3, 3)) + rng.normal(0, 0.02, (frames, 3, 3)),
        "energy": rng.normal(-4 * atoms, 1, frames),
        "force": forces - forces.mean(axis=1, keepdims=True),
        "virial": symmetric + symmetric.transpose(0, 2, 1),
    }


def symbols(atoms: int) -> list[str]:
    """Elements of the frames, the atoms of each together."""
    return [SYMBOLS[i * len(SYMBOLS) // atoms] for i in range(atoms)]


def extxyz_text(frames: int, atoms: int, *, seed: int = 0, stress: bool = True) -> str:
    """Extended XYZ as ASE writes it."""
    data, names, out = arrays(frames, atoms, seed=seed), symbols(atoms), []
    for i in range(frames):
        lattice = " ".join(f"{x:.8f}" for x in data["box"][i].ravel())
        tensor = " ".join(f"{x:.8f}" for x in data["virial"][i].ravel() / -1e3) if stress else ""
        labels = f"energy={data['energy'][i]:.8f}" + (f' stress="{tensor}"' if stress else " free_energy=0.0")
        out.append(f'{atoms}\nLattice="{lattice}" Properties=species:S:1:pos:R:3:forces:R:3 {labels} pbc="T T T"')
        rows = np.hstack([data["coord"][i], data["force"][i]]).tolist()
        out += [f"{name:2} " + " ".join(f"{x:16.8f}" for x in row) for name, row in zip(names, rows)]
    return "\n".join(out) + "\n"


def _write_extxyz(folder: Path, frames: int, atoms: int) -> Path:
    path = folder / "data.extxyz"
    path.write_text(extxyz_text(frames, atoms))
    return path


def _write_s2ef(folder: Path, frames: int, atoms: int) -> Path:
    (folder / "0.txt").write_text("".join(f"random{i // 4},frame{i % 4},-100.5\n" for i in range(frames)))
    with lzma.open(folder / "0.extxyz.xz", "wt", preset=1) as file:
        file.write(extxyz_text(frames, atoms, stress=False))
    return folder / "0.extxyz.xz"


def _read_ase(path: Path) -> int:
    from ase.io import iread

    return sum(1 for _ in iread(path, index=":", format="extxyz"))


def _read_ase_xz(path: Path) -> int:
    from ase.io.extxyz import read_xyz

    with lzma.open(path, "rt") as file:
        text = io.StringIO(file.read())  # ASE seeks back and forth
    return sum(1 for _ in read_xyz(text, index=slice(None)))


def _write_system(folder: Path, frames: int, atoms: int) -> Path:
    system, names = folder / "sys", symbols(atoms)
    (system / "set.000").mkdir(parents=True)
    (system / "type.raw").write_text("\n".join(str(SYMBOLS.index(s)) for s in names))
    (system / "type_map.raw").write_text("\n".join(SYMBOLS))
    for name, values in arrays(frames, atoms).items():
        np.save(system / "set.000" / f"{name}.npy", values.reshape(frames, -1) if values.ndim > 1 else values)
    return system


def _write_mixed(folder: Path, frames: int, atoms: int) -> Path:
    system = _write_system(folder, frames, atoms)
    types = np.loadtxt(system / "type.raw", dtype=np.int64)
    np.save(system / "set.000/real_atom_types.npy", np.tile(types, (frames, 1)))
    (system / "type.raw").write_text("0\n" * atoms)
    return system


def _read_dpdata(system: Path) -> int:
    import dpdata

    return len(dpdata.LabeledSystem(str(system), fmt="deepmd/npy"))


def _read_dpdata_mixed(system: Path) -> int:
    import dpdata

    return sum(len(s) for s in dpdata.MultiSystems().load_systems_from_file(str(system), fmt="deepmd/npy/mixed").systems.values())


def _write_raw(folder: Path, frames: int, atoms: int) -> Path:
    system = _write_system(folder, 1, atoms)
    for name, values in arrays(frames, atoms).items():
        np.savetxt(system / f"{name}.raw", values.reshape(frames, -1), fmt="%.10f")
    (system / "set.000").rename(folder / "unused")
    return system


def _read_dpdata_raw(system: Path) -> int:
    import dpdata

    return len(dpdata.LabeledSystem(str(system), fmt="deepmd/raw"))


def _structures(frames: int, atoms: int) -> Iterator:
    from pymatgen.core import Structure

    data, names = arrays(frames, atoms), symbols(atoms)
    for cell, positions in zip(data["box"], data["coord"]):
        yield Structure(cell, names, positions, coords_are_cartesian=True)


def _write_entries(folder: Path, frames: int, atoms: int) -> Path:
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    entries = [ComputedStructureEntry(s, -4.0 * atoms, entry_id=f"wbm-1-{i}").as_dict() for i, s in enumerate(_structures(frames, atoms))]
    (folder / "step_1.json.bz2").write_bytes(bz2.compress(json.dumps({"entries": entries}).encode(), 1))
    return folder / "step_1.json.bz2"


def _read_entries(path: Path) -> int:
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    with bz2.open(path) as file:
        return len([ComputedStructureEntry.from_dict(entry) for entry in json.load(file)["entries"]])


def _write_cifs(folder: Path, frames: int, atoms: int) -> Path:
    from pymatgen.io.cif import CifWriter

    for i, structure in enumerate(_structures(min(frames, 200), atoms)):
        CifWriter(structure).write_file(folder / f"{i}.cif")
    return folder


def _read_cifs(folder: Path) -> int:
    from pymatgen.io.cif import CifParser

    return sum(len(CifParser(path).parse_structures(primitive=False)) for path in folder.glob("*.cif"))


def _write_poscars(folder: Path, frames: int, atoms: int) -> Path:
    for i, structure in enumerate(_structures(min(frames, 500), atoms)):
        structure.to(str(folder / f"{i}.POSCAR"), fmt="poscar")
    return folder


def _read_poscars(folder: Path) -> int:
    from pymatgen.io.vasp import Poscar

    return sum(1 for path in folder.glob("*.POSCAR") if Poscar.from_file(path, check_for_potcar=False).structure)


def _write_traj(folder: Path, frames: int, atoms: int) -> Path:
    from ase.io import read, write

    text = folder.with_name("traj.extxyz")
    text.write_text(extxyz_text(frames, atoms))
    write(folder / "run.traj", read(text, index=":"))
    return folder / "run.traj"


def _read_traj(path: Path) -> int:
    from ase.io.trajectory import Trajectory

    return sum(1 for _ in Trajectory(path))


def _write_db(folder: Path, frames: int, atoms: int) -> Path:
    from ase.db import connect
    from ase.io import read

    text = folder.with_name("db.extxyz")
    text.write_text(extxyz_text(min(frames, 500), atoms))
    with connect(folder / "data.db") as database:
        for image in read(text, index=":"):
            database.write(image)
    return folder / "data.db"


def _read_db(path: Path) -> int:
    from ase.db import connect

    return sum(1 for row in connect(path).select() if row.toatoms() is not None)


def _unpack(name: str) -> Callable[[Path, int, int], Path]:
    """The quickstart's own outputs, a frame each, as often as it takes; the number of atoms is theirs."""

    def write(folder: Path, frames: int, atoms: int) -> Path:
        while sum(1 for _ in folder.glob("**/*.out")) < frames:
            with tarfile.open(QUICKSTART / name) as tar:
                tar.extractall(folder / f"{len(list(folder.iterdir()))}", filter="data")
        return folder

    return write


def _read_espresso(folder: Path) -> int:
    from ase.io import read

    return sum(1 for path in folder.glob("**/*.out") if read(path, format="espresso-out"))


def _read_cp2k(folder: Path) -> int:
    import dpdata

    return sum(max(1, len(dpdata.LabeledSystem(str(path), fmt="cp2k/output"))) for path in folder.glob("**/*.out"))


FORMATS = {
    "extxyz": Format(library="ase", format="extxyz", write=_write_extxyz, bare=_read_ase),
    "s2ef": Format(library="ase, lzma", format="oc20/s2ef", write=_write_s2ef, bare=_read_ase_xz),
    "deepmd_npy": Format(library="dpdata", format="deepmd/npy", write=_write_system, bare=_read_dpdata, members="**/coord.npy"),
    "deepmd_mixed": Format(library="dpdata", format="deepmd/npy", write=_write_mixed, bare=_read_dpdata_mixed, members="**/coord.npy"),
    "deepmd_raw": Format(library="dpdata", format="deepmd/raw", write=_write_raw, bare=_read_dpdata_raw, members="coord.raw"),
    "entries": Format(library="pymatgen, bz2", format="pymatgen/json", write=_write_entries, bare=_read_entries),
    "cif": Format(library="pymatgen", format="cif", write=_write_cifs, bare=_read_cifs, members="*.cif"),
    "poscar": Format(library="pymatgen", format="vasp/poscar", write=_write_poscars, bare=_read_poscars, members="*.POSCAR"),
    "ase_traj": Format(library="ase", format="ase/traj", write=_write_traj, bare=_read_traj),
    "ase_db": Format(library="ase", format="ase/db", write=_write_db, bare=_read_db),
    "qe_pw": Format(library="ase", format="qe/pw", write=_unpack("qe-pbe.tar.xz"), bare=_read_espresso, members="**/*.out"),
    "cp2k": Format(library="dpdata", format="cp2k/output", write=_unpack("cp2k-pade.tar.xz"), bare=_read_cp2k, members="**/*.out"),
}
