"""Plausibility: what is wrong with a whole dataset is found, by its size and sign, and what is right gives no finding."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lamdata import units
from lamdata.frame import Frame
from lamdata.frames import Parsed
from lamdata.plausibility import Finding, Plausibility


def copper(count: int, *, gold: int = 0, seed: int = 0, file: str = "run.xyz", atoms: int = 4) -> list[Frame]:
    """A walk through strained and rattled cells with energy, forces and virial of ASE's EMT potential."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    rng, out = np.random.default_rng(seed), []
    crystal = bulk("Cu", cubic=True) * (atoms // 4, 1, 1)
    crystal.symbols[:gold] = "Au"
    start = crystal.copy()
    for i in range(count):
        crystal = start.copy()
        crystal.set_cell(start.cell.array @ (np.eye(3) + rng.normal(0, 0.015, (3, 3))), scale_atoms=True)
        crystal.positions += rng.normal(0, 0.03, crystal.positions.shape)
        crystal.calc = EMT()
        out.append(
            Frame(
                numbers=crystal.numbers.astype(np.uint8),
                positions=crystal.positions.copy(),
                cell=crystal.cell.array.copy(),
                pbc=(True,) * 3,
                energy=float(crystal.get_potential_energy()),
                forces=crystal.get_forces(),
                virial=-crystal.get_volume() * crystal.get_stress(voigt=False),
                origin=f"{file}#{i}",
            )
        )
    return out


def gather(*parts: list[Frame]) -> Plausibility:
    """One accumulator a part, through JSON as between workers, merged in order."""
    out = Plausibility()
    for part in parts:
        one = Plausibility()
        one.add(Parsed.from_list(part))
        out.merge(Plausibility.from_json(json.loads(json.dumps(one.to_json()))))
    return out


def found(*parts: list[Frame]) -> dict[str, Finding]:
    return {finding.kind: finding for finding in gather(*parts).findings()}


def test_what_is_right_gives_no_finding() -> None:
    assert found(copper(40), copper(20, gold=1, seed=1, file="b"), copper(12, gold=3, seed=2, file="c", atoms=8)) == {}


def test_nothing_gives_no_finding() -> None:
    assert (
        Plausibility().findings() == [] and found([Frame(numbers=np.array([1], np.uint8), positions=np.zeros((1, 3)), origin="a#0")]) == {}
    )


@pytest.mark.parametrize("shift", [28.0, -15.0])
@pytest.mark.parametrize("gold", [0, 1])
def test_an_energy_scan_far_from_the_others_is_named(shift: float, gold: int) -> None:
    good = [copper(30), copper(30, gold=2, seed=1, file="b")]
    scan = [
        replace(f, energy=f.energy + shift * len(f.numbers), forces=None, virial=None) for f in copper(6, gold=gold, seed=3, file="scan")
    ]
    finding = found(*good, scan)["energy_far"]
    assert finding.count == 6 and set(finding.frames) <= {f"scan#{i}" for i in range(6)} and len(finding.frames) == 5
    assert float(finding.text.split()[3]) == pytest.approx(shift, abs=1.0)


def test_energies_of_two_kinds_of_core_do_not_pass_for_one() -> None:
    all_electron = [replace(f, energy=f.energy - 45_000.0 * 4, origin=f"x#{i}") for i, f in enumerate(copper(5, seed=4))]
    assert found(copper(30), copper(30, gold=2, seed=1), all_electron)["energy_far"].count == 5


def test_a_stress_of_exactly_zero_is_found_and_that_of_a_lone_atom_is_not() -> None:
    zero = [replace(f, virial=np.zeros((3, 3))) for f in copper(7, file="zero")]
    lone = [
        Frame(numbers=np.array([29], np.uint8), positions=np.zeros((1, 3)), cell=9 * np.eye(3), pbc=(True,) * 3, virial=np.zeros((3, 3)))
    ]
    finding = found(copper(30), zero, 5 * lone)["virial_zero"]
    assert finding.count == 7 and finding.frames[0] == "zero#0"


def test_forces_that_are_all_zero_are_found() -> None:
    finding = found(copper(30), [replace(f, forces=np.zeros((4, 3))) for f in copper(12, file="zero")])["forces_zero"]
    assert (finding.count, finding.frames) == (12, ("zero",))


def test_zero_forces_of_some_perfect_crystals_are_no_finding() -> None:
    perfect = [replace(f, forces=np.zeros((4, 3))) for f in copper(12)]
    assert "forces_zero" not in found([*copper(30), *perfect])


def test_free_atoms_are_not_far() -> None:
    free = [Frame(numbers=np.array([z], np.uint8), positions=np.zeros((1, 3)), energy=-400.0, origin=f"atoms#{z}") for z in (29, 79)]
    boxed = [replace(f, cell=20 * np.eye(3), pbc=(True,) * 3, isolated=True) for f in free]
    assert found(copper(30), copper(20, gold=1, seed=1), free, boxed).keys() <= {"label_uneven"}


def test_one_energy_in_many_frames_is_found() -> None:
    same = [replace(f, energy=-3.5, forces=None, virial=None) for f in copper(11, file="same")]
    finding = found(copper(25), same[:6], same[6:])["energy_repeated"]
    assert finding.count == 11 and "-3.5 eV" in finding.text


def test_a_label_that_some_files_lack_is_said() -> None:
    finding = found(copper(5), copper(5, file="b"), [replace(f, virial=None) for f in copper(5, file="c")])["label_uneven"]
    assert (finding.count, finding.frames) == (1, ("c",)) and "virial is in 2 files and absent from 1" in finding.text


@pytest.mark.parametrize(
    ("factor", "hint"),
    [
        (10.0, "kbar taken for GPa?"),
        (0.1, "GPa taken for kbar?"),
        (1000.0, "bar taken for kbar"),
        (1e-3, "kbar taken for bar"),
        (1 / units.GPA, "GPa taken for eV/Angstrom^3"),
        (-1.0, "of the opposite sign?"),
    ],
)
def test_the_unit_and_the_sign_of_virials_are_known_by_their_work(factor: float, hint: str) -> None:
    wrong = [replace(f, virial=factor * f.virial) for f in copper(40)]
    finding = found(wrong[:25], wrong[25:])["virial_scale"]
    assert hint in finding.text and finding.frames and finding.frames[0].startswith("run.xyz#")


def test_virials_of_an_equation_of_state_without_forces_tell_their_unit() -> None:
    from ase.build import bulk
    from ase.calculators.emt import EMT

    frames = []
    for i, scale in enumerate(np.linspace(0.95, 1.06, 12)):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell * scale, scale_atoms=True)
        atoms.calc = EMT()
        virial = -10 * atoms.get_volume() * atoms.get_stress(voigt=False)
        frames.append(
            Frame(
                numbers=atoms.numbers.astype(np.uint8),
                positions=atoms.positions,
                cell=atoms.cell.array,
                pbc=(True,) * 3,
                energy=float(atoms.get_potential_energy()),
                forces=np.zeros((4, 3)),
                virial=virial,
                origin=f"eos#{i}",
            )  # fmt: skip
        )
    assert "kbar taken for GPa" in found(frames)["virial_scale"].text


@pytest.mark.parametrize(("factor", "hint"), [(units.HARTREE / units.BOHR, "Hartree/bohr"), (-1.0, "opposite sign"), (1e-3, "meV")])
def test_the_unit_and_the_sign_of_forces_are_known_by_their_work(factor: float, hint: str) -> None:
    from ase.build import molecule

    rng, frames = np.random.default_rng(0), []
    water = molecule("H2O")
    stiff = 20.0
    for i in range(20):
        moved = rng.normal(0, 0.05, (3, 3))
        frames.append(
            Frame(numbers=water.numbers.astype(np.uint8), positions=water.positions + moved, energy=0.5 * stiff * float((moved**2).sum()),
                  forces=factor * -stiff * moved, origin=f"w#{i}")
        )  # fmt: skip
    assert hint in found(frames)["forces_scale"].text


def test_a_stress_beyond_all_pressures_is_found() -> None:
    mad = [replace(f, virial=f.virial + 7.0 * f.volume * np.eye(3), energy=None) for f in copper(4, file="mad")]
    assert found(copper(20), mad)["virial_large"].count == 4


def test_what_is_kept_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from lamdata import plausibility

    for name, most in (("MOST_CELLS", 8), ("MOST_FILES", 6), ("MOST_VALUES", 4)):
        monkeypatch.setattr(plausibility, name, most)
    one = copper(1)[0]
    parts = [[replace(one, energy=-10.0 * k + i % 2, origin=f"f{k}#{i}") for i in range(4)] for k in range(30)]
    whole = gather(*parts)
    assert (len(whole.energies), len(whole.files)) == (8, 6) and len(whole.values) <= 4
    assert whole.unjudged + sum(seen.count for seen, _ in whole.energies.values()) == 120


def test_parts_merge_to_the_whole() -> None:
    frames = copper(30) + copper(10, gold=1, file="b")
    frames[5] = replace(frames[5], energy=500.0)
    whole, parts = gather(frames), gather(frames[:9], frames[9:10], frames[10:])
    assert (
        [(f.kind, f.count, f.frames) for f in whole.findings()]
        == [(f.kind, f.count, f.frames) for f in parts.findings()]
        == [("energy_far", 1, ("run.xyz#5",))]
    )
    assert whole.energetic == parts.energetic == 40 and whole.files == parts.files


def test_real_collections_of_one_kind_are_plausible() -> None:
    samples = Path(__file__).resolve().parents[2].parent / "shared" / "samples"
    if not samples.is_dir():
        pytest.skip("../shared/samples is not there")
    from lamdata.catalog import SourceSpec
    from lamdata.sources import expand, read_all

    for name in ("extxyz/ethanol_reduced_100.xyz", "deepmd_npy/data_1", "deepmd_nopbc/data/C3H3O4"):
        out = Plausibility()
        for file in expand(SourceSpec(path=str(samples / name)), base=samples):
            if file.basename.endswith(("xyz", "coord.npy")):
                frames = [item for item in read_all(file, SourceSpec(path=file.name)) if isinstance(item, Frame)]
                out.add(Parsed.from_list(frames))
        assert out.frames >= 100 and {finding.kind for finding in out.findings()} <= {"label_uneven"}, name


def water(count: int, *, noise: float = 0.0, seed: int = 0, file: str = "water.xyz") -> list[Frame]:
    """Molecules whose forces are those of springs between all atoms, each turned at random."""
    rng, out = np.random.default_rng(seed), []
    start, lengths = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]), {(0, 1): 0.96, (0, 2): 0.96, (1, 2): 1.52}
    for i in range(count):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        positions = (start + rng.normal(0, 0.08, (3, 3))) @ turn
        forces, energy = np.zeros((3, 3)), -14.0
        for (a, b), length in lengths.items():
            vector = positions[b] - positions[a]
            size = float(np.linalg.norm(vector))
            energy += 10.0 * (size - length) ** 2
            forces[a] += 20.0 * (size - length) * vector / size
            forces[b] -= 20.0 * (size - length) * vector / size
        forces += rng.normal(0, noise, (3, 3)) if noise else 0.0
        numbers = np.array([8, 1, 1], np.uint8)
        out.append(Frame(numbers=numbers, positions=positions, energy=energy, forces=forces, origin=f"{file}#{i}"))
    return out


def test_forces_of_a_free_molecule_do_not_turn_it() -> None:
    assert "forces_turn" not in found(water(40), water(40, noise=0.05, seed=1, file="noisy.xyz"))


@pytest.mark.parametrize("fault", ["of the next frame", "along other axes", "in another order"])
def test_forces_of_another_geometry_or_along_other_axes_turn_molecules_and_are_named(fault: str) -> None:
    right = water(40, seed=2)
    if fault == "of the next frame":
        wrong = [replace(one, forces=other.forces) for one, other in zip(right, right[1:])]
    elif fault == "along other axes":
        wrong = [replace(one, forces=one.forces[:, [1, 2, 0]]) for one in right]
    else:
        wrong = [replace(one, forces=one.forces[[2, 0, 1]]) for one in right]
    finding = found(wrong[:20], wrong[20:])["forces_turn"]
    assert finding.count > 20 and finding.frames[0].startswith("water.xyz#") and "along other axes" in finding.text
    assert "forces_turn" not in found(water(200), wrong[:3])  # a few of many may be a field


def test_a_crystal_and_a_lone_atom_have_no_moment() -> None:
    shifted = [replace(one, forces=one.forces[[1, 2, 3, 0]]) for one in copper(10)]
    atoms = [Frame(numbers=np.array([8], np.uint8), positions=np.zeros((1, 3)), forces=np.ones((1, 3)), origin=f"o#{i}") for i in range(9)]
    assert "forces_turn" not in found(shifted, atoms)
