"""A file that was cut anywhere: every frame that is still read is the frame of the whole file, and what was lost is said.

A number that lost its last digits, a table that lost its last rows and a step that lost its end are all still text: none may become data.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection
from tests.lamdata.sources.codes import (
    outcars,
    test_abacus,
    test_cp2k,
    test_molecules,
    test_orca_psi4_theory,
    test_outputs,
    test_qe,
    test_trajectories,
)
from tests.lamdata.sources.reading import read

POSITIONS = 60  # cuts of a file
FIRST_TABLE = 8  # of `labels`: forces, virial
LAST = 90  # bytes at its end of which each is tried: two rows of a table
EXTXYZ = "".join(
    f'2\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3:forces:R:3 energy=-{n}.125 config={n} pbc="T T T"\n'
    f"H 0.{n}25 0 0 0.125 0 0\nO 0 0 1.{n}25 -0.125 0 0\n"
    for n in range(1, 4)
)
JSONL = "".join(
    f'{{"id": "{n}", "type": "structures", "attributes": {{"lattice_vectors": [[5, 0, 0], [0, 5, 0], [0, 0, 5]], "species_at_sites": ["Na", "Cl"],'
    f' "cartesian_site_positions": [[0, 0, 0], [2.5{n}, 0, 0]], "species": [{{"name": "Na", "chemical_symbols": ["Na"], "concentration": [1]}},'
    ' {"name": "Cl", "chemical_symbols": ["Cl"], "concentration": [1]}], "nsites": 2}}\n'
    for n in range(1, 4)
)
AIMS_MOVED = """  Updated atomic structure:
                         x [A]             y [A]             z [A]
            atom         0.00000000        0.00000000        0.{n}0000000  B
            atom         0.90000000        0.90000000        0.90000000  N

"""
AIMS = test_outputs.AIMS + "".join(
    test_outputs.AIMS_STEP.format(kind="Initialization" if n == 1 else "Re-initialization", n=n, scf=test_outputs.AIMS_GOOD)
    + AIMS_MOVED.format(n=n)
    for n in (1, 2, 3)
)
GAUSSIAN = (
    test_molecules.GAUSSIAN
    + "".join(test_molecules.axes(x=0.1 * n) + test_molecules.scf(-75.5 - 0.1 * n) + test_molecules.FORCES for n in range(3))
    + test_molecules.END
)
FILES: dict[str, tuple[str, str, Callable[[], str], dict]] = {
    "qe/pw": ("run.out", "qe/pw", lambda: test_qe.text("md"), {}),
    "vasp/outcar": ("OUTCAR", "vasp/outcar", lambda: outcars.HEAD + outcars.step(1) + outcars.step(2, energy=-13.5) + outcars.step(3), {}),
    "siesta/output": (
        "run.out",
        "siesta/output",
        lambda: test_outputs.SIESTA + "".join(test_outputs.SIESTA_STEP.format(n=n, scf=test_outputs.GOOD) for n in (1, 2, 3)),
        {},
    ),
    "fhi_aims/output": ("run.out", "fhi_aims/output", lambda: AIMS, {}),
    "openmx/md": ("x.md", "openmx/md", lambda: "".join(test_trajectories.OPENMX.format(n=n) for n in range(3)), {}),
    "pwmat/movement": ("MOVEMENT", "pwmat/movement", lambda: 3 * test_trajectories.PWMAT, {}),
    "n2p2": ("input.data", "n2p2", lambda: 3 * test_trajectories.N2P2, {}),
    "extxyz": ("x.xyz", "extxyz", lambda: EXTXYZ, {"units": {"energy": "eV", "length": "Angstrom", "force": "eV/Angstrom"}}),
    "optimade": ("x.jsonl", "optimade", lambda: JSONL, {}),
    "abacus/log": (
        "running_relax.log",
        "abacus/log",
        lambda: (
            test_abacus.ABACUS
            + "".join(test_abacus.ABACUS_STEP.format(n=n, scf=test_abacus.ABACUS_GOOD) + test_abacus.ABACUS_MOVED for n in (1, 2, 3))
        ),
        {},
    ),
    "castep/output": (
        "x.castep",
        "castep/output",
        lambda: test_outputs.CASTEP + "".join(test_outputs.CASTEP_STEP.format(n=n) for n in (1, 2, 3)),
        {},
    ),
    "gaussian/log": ("x.log", "gaussian/log", lambda: GAUSSIAN, {}),
    "orca/output": ("x.out", "orca/output", lambda: 3 * test_molecules.ORCA + test_molecules.ORCA_END, {}),
    "psi4/output": ("x.out", "psi4/output", lambda: 3 * test_molecules.PSI4 + test_orca_psi4_theory.PSI4_END, {}),
    "lammps/dump": (
        "x.dump",
        "lammps/dump",
        lambda: "".join(test_trajectories.dump(n=n, rows="2 2 1.5 1 1.375\n1 1 1 1 1.625\n") for n in range(3)),
        test_trajectories.FEO,
    ),
}


def labels(frame: Frame) -> tuple:
    """All that a store would keep of it."""
    arrays = (frame.numbers, frame.positions, frame.cell, frame.forces, frame.virial)
    return (frame.energy, frame.charge, frame.multiplicity, frame.group, frame.pbc, *(None if a is None else a.tobytes() for a in arrays))


def same_but_for_what_is_missing(cut: tuple, whole: tuple) -> bool:
    """Whether every label is that of the whole, or is not there."""
    return all(
        mine == theirs or (mine is None and place >= FIRST_TABLE) for place, (mine, theirs) in enumerate(zip(cut, whole, strict=True))
    )


def near(cut: tuple, whole: tuple) -> bool:
    """The same, and forces as the log prints them, with fewer digits."""
    mine, theirs = (None if values[FIRST_TABLE] is None else np.frombuffer(values[FIRST_TABLE]) for values in (cut, whole))
    rest = [values[:FIRST_TABLE] + values[FIRST_TABLE + 1 :] for values in (cut, whole)]
    return rest[0] == rest[1] and (mine is None or bool(np.allclose(mine, theirs, atol=1e-5)))


def items(path: Path, name: str, choices: dict) -> tuple[dict[str, tuple], list[Rejection], SourceError | None]:
    """(frames by origin, refused frames, the error that ended the file)."""
    try:
        found = read(path, name, **choices)
    except SourceError as err:
        return {}, [], err
    return {one.origin: labels(one) for one in found if isinstance(one, Frame)}, [one for one in found if isinstance(one, Rejection)], None


@pytest.mark.parametrize("name", FILES)
def test_a_cut_costs_frames_and_changes_none(name: str, tmp_path: Path) -> None:
    file, reader, text, choices = FILES[name]
    whole, path = text(), tmp_path / file
    path.write_text(whole)
    frames, refused, error = items(path, reader, choices)
    assert len(frames) > 1 and not refused and error is None
    ends = np.unique(np.linspace(1, len(whole) - 1, POSITIONS).astype(int))
    lines = list(itertools.accumulate(map(len, whole.splitlines(keepends=True))))[:: max(1, whole.count("\n") // 40)]
    tail = range(len(whole.rstrip()) - LAST, len(whole))
    seen = set()
    for at in sorted({*ends.tolist(), *lines, *tail} - {len(whole)}):
        path.write_text(whole[:at])
        kept, lost, error = items(path, reader, choices)
        last = max(kept, key=lambda origin: int(origin.rpartition("#")[2]), default=None)
        for origin, values in kept.items():  # tables that come after the energy may be missing from the step that was cut, and are no zeros
            same = same_but_for_what_is_missing(values, frames[origin]) if origin == last else values == frames[origin]
            assert same, f"{name}: {origin} is another frame after a cut at byte {at} of {len(whole)}"
        assert error is None or "\n" not in str(error)
        seen.add(len(kept))
    assert {0, len(frames) - 1} <= seen  # the cuts were such that frames were lost, one after the other


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_ends_within_its_last_frame_does_not_pass_for_a_whole_one(name: str, tmp_path: Path) -> None:
    """Either the frame is refused, or the file is; it is never left out without a word."""
    file, reader, text, choices = FILES[name]
    whole, path = text().rstrip(), tmp_path / file
    path.write_text(whole)
    frames, _, _ = items(path, reader, choices)
    at = len(whole)
    while True:  # back to where the last frame is first lost
        at -= max(1, len(whole) // 200)
        path.write_text(whole[:at])
        kept, lost, error = items(path, reader, choices)
        if len(kept) < len(frames):
            break
    assert lost or error is not None, f"{name}: cut at byte {at} of {len(whole)}, the last frame is gone without a word"


@pytest.mark.parametrize("beside", ["h2-pos-1.xyz", "h2-frc-1.xyz"])
def test_a_trajectory_of_several_files_of_which_one_was_cut_keeps_the_frames_that_all_have(beside: str, tmp_path: Path) -> None:
    """CP2K writes positions and forces apart: a cut of one must not pair the other's steps anew."""
    path = test_cp2k.md_run(tmp_path)
    whole = (tmp_path / beside).read_text()
    frames, _, error = items(path, "cp2k/aimd", {})
    assert len(frames) > 2 and error is None
    seen = set()
    for at in {*range(0, len(whole), 37), *range(len(whole) - LAST, len(whole))}:
        (tmp_path / beside).write_text(whole[:at])
        kept, _, error = items(path, "cp2k/aimd", {})
        for origin, values in kept.items():
            same = values == frames[origin] if "pos" in beside else near(values, frames[origin])
            assert same, f"{origin} is another frame after a cut of {beside} at byte {at} of {len(whole)}"
        seen.add(len(kept))
    assert 0 in seen and len(seen) > 1
