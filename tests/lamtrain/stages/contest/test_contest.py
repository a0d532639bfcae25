"""A contest of planted structures: what each of fifty is, a score must find; and what a submission says of itself changes nothing."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from lamdata.errors import ConfigError, ConfigErrors, DataError
from lamtrain.files import replace_yaml
from lamtrain.prediction.source import open_source
from lamtrain.properties.crystal import relax
from lamtrain.stages.contest.checks import Rules
from lamtrain.stages.contest.hull import Hull, open_hull
from lamtrain.stages.contest.report import write_report
from lamtrain.stages.contest.score import answers_of, score
from lamtrain.stages.contest.submit import submit
from tests.conftest import tree
from tests.lamtrain.prediction_cases import write_model
from tests.test_errors import call

METALS = ("Cu", "Ag", "Au", "Ni", "Pd", "Pt")
NOBLE = [(a, b) for a in ("Cu", "Ag", "Au", "Pd") for b in ("Cu", "Ag", "Au", "Pd", "Pt") if a != b][:15]
WITHIN = 0.15  # eV/atom: all ordered alloys below are lower, all simple cubic metals higher, which the test looks at
EMT_ANSWER = answers_of(EMT)


def at_rest(atoms: Atoms) -> Atoms:
    moved = relax(atoms, EMT(), fmax=1e-3)
    moved.calc = SinglePointCalculator(moved, energy=moved.get_potential_energy(), forces=moved.get_forces(), stress=moved.get_stress())
    return moved


def ordered(most: str, least: str) -> Atoms:
    """A3B in the order of Cu3Au."""
    cell = (3 * bulk(most, cubic=True).cell.lengths()[0] + bulk(least, cubic=True).cell.lengths()[0]) / 4
    positions = cell * np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return at_rest(Atoms([least, most, most, most], positions=positions, cell=[cell] * 3, pbc=True))


def copies(atoms: Atoms) -> list[Atoms]:
    """The same crystal: turned and moved, then in a larger and skewed cell with its atoms in another order."""
    turned = atoms.copy()
    turned.rotate(33, (1, 2, 3), rotate_cell=True)
    turned.positions += [0.3, 0.2, 0.1]
    larger = atoms.repeat((1, 2, 1))
    larger.set_cell(np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]]) @ larger.cell[:], scale_atoms=False)
    order = np.random.default_rng(len(atoms)).permutation(len(larger))
    return [turned, larger[order]]


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the elements, fcc at rest, and their energies."""
    path = tmp_path_factory.mktemp("hull") / "elements.extxyz"
    write(path, [at_rest(bulk(symbol)) for symbol in METALS], format="extxyz")
    return path


@pytest.fixture(scope="module")
def hull(phases: Path) -> Hull:
    return open_hull(str(phases), None)


@pytest.fixture(scope="module")
def planted(phases: Path) -> list[tuple[str, Atoms]]:
    """Fifty structures, each with the status that it must get."""
    good = [ordered(most, least) for most, least in NOBLE]
    rng = np.random.default_rng(5)
    found = [("counts", atoms) for atoms in good]
    found += [("duplicate", copy) for atoms in good[:5] for copy in copies(atoms)]
    for i, atoms in enumerate(good[5:13]):
        off = atoms.copy()
        if i % 2:
            off.rattle(0.08, rng=rng)
        else:
            off.set_cell(off.cell * 1.03, scale_atoms=True)
        found.append(("not relaxed", off))
    found += [("above the hull", at_rest(bulk(symbol, "sc", a=2.6))) for symbol in METALS]
    found += [("known", copy) for atoms in read(phases, index="0:3") for copy in copies(atoms)]
    close, thin = good[13].copy(), good[14].copy()
    close.positions[1] = close.positions[0] + [0.9, 0.0, 0.0]
    thin.set_cell(thin.cell * 12, scale_atoms=True)
    found += [("implausible", close), ("implausible", thin)]
    found += [("not a crystal", molecule("H2O")), ("not computed", bulk("Fe")), ("no hull", at_rest(bulk("Al")))]
    assert len(found) == 50
    places = rng.permutation(50)
    return [found[i] for i in sorted(places, key=lambda i: found[i][0] == "duplicate")]  # the originals stand before their copies


def hand_in(folder: Path, images: list[Atoms], *, labels: bool = True, **keys: Any) -> Path:
    folder.mkdir()
    for atoms in images:
        if not labels:
            atoms.calc = None
    write(folder / "structures.extxyz", images, format="extxyz")
    replace_yaml(folder / "submission.yaml", {"submission": folder.name, "model": "EMT"} | keys)
    return folder


def test_of_fifty_planted_structures_each_gets_what_it_is(planted: list[tuple[str, Atoms]], hull: Hull, tmp_path: Path) -> None:
    folder = hand_in(tmp_path / "fifty", [atoms for _, atoms in planted], claim=50)
    result = score(folder, hull, answer=EMT_ANSWER, rules=Rules(within=WITHIN), quiet=True)
    wrong = [
        (want, row["status"], row["formula"], row["reason"])
        for (want, _), row in zip(planted, result["structures"])
        if want != row["status"]
    ]
    assert not wrong
    assert result["score"] == 15 and result["statuses"] == dict(Counter(want for want, _ in planted))
    rows = result["structures"]
    for row in rows:
        assert bool(row["reason"]) == (row["status"] != "counts")
        if row["status"] == "duplicate":
            original = rows[int(row["reason"].split()[2])]
            assert original["status"] == "counts" and original["row"] < row["row"]
            assert original["above_hull_mev_per_atom"] == pytest.approx(row["above_hull_mev_per_atom"], abs=0.1)
        if row["status"] == "known":
            assert "elements.extxyz#" in row["reason"] and abs(row["above_hull_mev_per_atom"]) < 0.1
    write_report(result, tmp_path / "out")
    with open(tmp_path / "out/contest.csv") as file:
        assert [row["status"] for row in csv.DictReader(file)] == [row["status"] for row in rows]
    page = (tmp_path / "out/contest.html").read_text()
    assert "claims 50, found 15" in page and "data:image/png;base64," in page
    assert json.loads((tmp_path / "out/contest.json").read_text())["score"] == 15


def test_copies_within_a_submission_count_once_whichever_comes_first(hull: Hull, tmp_path: Path) -> None:
    one = ordered("Cu", "Au")
    loose = one.copy()
    loose.rattle(0.08, seed=1)  # a bad copy further up must not take the place of the good one
    result = score(
        hand_in(tmp_path / "copies", [loose, *copies(one), one]), hull, answer=EMT_ANSWER, rules=Rules(within=WITHIN), quiet=True
    )
    assert [row["status"] for row in result["structures"]] == ["not relaxed", "counts", "duplicate", "duplicate"]


def test_what_is_handed_in_is_not_believed(hull: Hull, tmp_path: Path) -> None:
    loose = ordered("Cu", "Au")
    loose.rattle(0.08, seed=1)
    calm = {"energy": -100.0, "forces": np.zeros((4, 3)), "stress": np.zeros(6)}
    loose.calc = SinglePointCalculator(loose, **calm)
    folder = hand_in(tmp_path / "doctored", [loose])
    believed = score(folder, hull, rules=Rules(within=WITHIN), quiet=True)
    assert believed["score"] == 1 and not believed["computed_again"]
    (row,) = score(folder, hull, answer=EMT_ANSWER, rules=Rules(within=WITHIN), quiet=True)["structures"]
    assert row["status"] == "not relaxed" and "eV/atom off" in row["note"] and "forces up to" in row["note"]


def test_without_labels_and_without_a_model_nothing_counts(hull: Hull, tmp_path: Path) -> None:
    (row,) = score(hand_in(tmp_path / "bare", [ordered("Cu", "Au")], labels=False), hull, quiet=True)["structures"]
    assert (row["status"], row["reason"]) == ("not relaxed", "it has no energy, forces, virial")


def test_a_hull_of_formulas_is_pymatgens(phases: Path, tmp_path: Path) -> None:
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    from lamdata import Frame

    energies = {"Cu": 0.1, "Au": -0.2, "Cu3Au": -0.3, "CuAu3": 0.4}
    spec = {"hull": "mine", "energies": "EMT", "phases": [{"formula": name, "energy": value} for name, value in energies.items()]}
    replace_yaml(tmp_path / "hull.yaml", spec)
    hull = open_hull(str(tmp_path / "hull.yaml"), None, known=[str(phases)])
    diagram = PhaseDiagram([PDEntry(Composition(name), value * Composition(name).num_atoms) for name, value in energies.items()])
    for numbers in ([29], [29, 79], [29, 29, 79, 79, 79]):
        frame = Frame(numbers=np.array(numbers, np.uint8), positions=np.zeros((len(numbers), 3)))
        entry = PDEntry(Composition({"Cu": numbers.count(29), "Au": numbers.count(79)}), 1.5)
        assert hull.above(frame, 1.5) == pytest.approx(diagram.get_e_above_hull(entry, allow_negative=True))
    assert len(hull.known) == len(METALS)
    with pytest.raises(DataError, match="no phase of Al alone"):
        hull.above(Frame(numbers=np.array([13], np.uint8), positions=np.zeros((1, 3))), 0.0)
    replace_yaml(tmp_path / "hull.yaml", spec | {"phases": [{"formula": "Xx2", "energy": 0}], "other": 1})
    with pytest.raises(ConfigErrors, match="expected a formula.*\n?.*unknown key 'other'|unknown key 'other'"):
        open_hull(str(tmp_path / "hull.yaml"), None)


def test_what_is_submitted_comes_to_rest_once_and_passes(hull: Hull, tmp_path: Path) -> None:
    ideas = [bulk("Cu", "hcp", a=2.5, c=4.1), molecule("H2O"), bulk("Fe")]
    for i, atoms in enumerate(ideas):
        write(tmp_path / f"idea-{i}.extxyz", atoms)
    source = open_source([str(tmp_path / f"idea-{i}.extxyz") for i in range(3)], dataset=None, split=None, format="auto", quiet=True)

    def once(make: Callable[[], Any], name: str = "EMT") -> dict[str, Any]:
        return submit(source, make, tmp_path / "mine", name="mine", model=name)

    done = once(EMT)
    assert (done["structures"], done["relaxed"]) == (3, 1)
    assert [Path(row["origin"]).name for row in done["left_out"]] == ["idea-1.extxyz#0", "idea-2.extxyz#0"]
    before = tree(tmp_path / "mine")
    assert once(lambda: pytest.fail("relaxed again")) == done and tree(tmp_path / "mine") == before
    (tmp_path / "mine/relaxed/000000.json").unlink()  # as a kill leaves it
    (tmp_path / "mine/submission.yaml").unlink()
    assert once(EMT) == done and tree(tmp_path / "mine") == before
    with pytest.raises(ConfigError, match="relaxed with another model"):
        once(EMT, name="another")
    (row,) = score(tmp_path / "mine", hull, answer=EMT_ANSWER, rules=Rules(within=WITHIN), quiet=True)["structures"]
    assert row["status"] == "counts" and row["largest_force_ev_per_angstrom"] < 1e-3 and row["note"] == ""


def test_a_submission_is_data_inside_its_folder(hull: Hull, tmp_path: Path) -> None:
    for name, keys, words in (
        ("out", {"structures": "../x.extxyz"}, "a path below the folder"),
        ("pickled", {"structures": "x.pkl"}, "handed in as extended XYZ"),
        ("more", {"score": 3}, "unknown key 'score'"),
    ):
        with pytest.raises(ConfigErrors, match=words):
            score(hand_in(tmp_path / name, [bulk("Cu")], **keys), hull, quiet=True)
    linked = hand_in(tmp_path / "linked", [bulk("Cu")])
    (linked / "structures.extxyz").rename(tmp_path / "elsewhere.extxyz")
    (linked / "structures.extxyz").symlink_to(tmp_path / "elsewhere.extxyz")
    with pytest.raises(DataError, match="is a link"):
        score(linked, hull, quiet=True)


def test_the_commands_compute_by_a_model_and_end_with_one_where_nothing_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model.pt")
    carbon = bulk("C", "diamond", a=3.6)
    hand_in(tmp_path / "mine", [carbon.copy(), carbon * (1, 1, 2), bulk("Cu")])
    write(tmp_path / "phases.extxyz", bulk("C", "sc", a=1.8))  # without an energy, which the model gives
    options = ("--hull", "phases.extxyz", "-o", "scored", "--model", "model.pt", "--within", "1e6", "--fmax", "1e6", "--device", "cpu")
    code, out, lines = call("lamtrain", "contest", "score", "mine", *options, "--json", capsys=capsys, monkeypatch=monkeypatch)
    result = json.loads(out)
    assert code == 0 and result["computed_again"], lines
    assert [row["status"] for row in result["structures"]] == ["counts", "duplicate", "not computed"]
    assert "does not know Cu" in result["structures"][2]["reason"]
    code, out, lines = call("lamtrain", "contest", "score", "mine", *options, "--known", "mine/structures.extxyz", capsys=capsys, monkeypatch=monkeypatch)  # fmt: skip
    assert code == 1 and "known" in out and lines[-1].startswith("error: mine: no structure counts; see scored/contest.html")
    write(tmp_path / "water.extxyz", molecule("H2O"))
    code, _, lines = call("lamtrain", "contest", "submit", "model.pt", "water.extxyz", "-o", "sent", "--device", "cpu", "--quiet", capsys=capsys, monkeypatch=monkeypatch)  # fmt: skip
    assert code == 1 and "no structure came to rest" in lines[-1]
    code, _, lines = call(
        "lamtrain", "contest", "score", "mine", "--hull", "phases.extxyz", "-o", "scored", capsys=capsys, monkeypatch=monkeypatch
    )
    assert code == 2 and "a phase has no energy" in lines[-1] and "--model" in lines[-1]
