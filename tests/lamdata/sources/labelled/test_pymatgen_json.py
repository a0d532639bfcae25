"""pymatgen's JSON and the Materials Project's task documents: which energy, and what is no structure."""

from __future__ import annotations

import json

import numpy as np
import pytest
from structure_writers import mp_task, pymatgen_json, structure_dict
from writers import emt_frames

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection
from lamdata.sources import SourceFile, guess_format, read_all, read_theory, reader
from lamdata.sources.bytes import json_items
from lamdata.units import GPA, KBAR


def read(path, name="pymatgen/json", **spec):
    return list(read_all(SourceFile(name=path.name, path=str(path)), SourceSpec(path=path.name, **spec), use=reader(name)))


def entry(tmp_path, change):
    """Read one entry after a change to it."""
    frame = emt_frames(1)[0]
    record = {"energy": frame.energy, "entry_id": "wbm-1-1", "data": {}, "structure": structure_dict(frame)}
    change(record)
    (tmp_path / "a.json").write_text(json.dumps([record]))
    return read(tmp_path / "a.json")[0]


def test_the_energy_is_the_uncorrected_one(tmp_path):
    frames = emt_frames()
    back = read(pymatgen_json(frames, tmp_path))  # written with a correction of -1.5 eV
    assert [f.energy for f in back] == pytest.approx([f.energy for f in frames])


def test_the_entry_is_the_group(tmp_path):
    assert [f.group for f in read(pymatgen_json(emt_frames(2), tmp_path))] == ["wbm-1-0", "wbm-1-1"]


def flatten(record):
    record["structure"]["lattice"]["matrix"][2] = record["structure"]["lattice"]["matrix"][1]


def share(record):
    record["structure"]["sites"][0]["species"] = [{"element": "Cu", "occu": 0.5}, {"element": "Au", "occu": 0.5}]


def half(record):
    record["structure"]["sites"][0]["species"][0]["occu"] = 0.5


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (flatten, "zero volume"),
        (lambda r: r["structure"]["lattice"].update(volume=0.0), "zero volume"),
        (lambda r: r.update(energy=-40.0), "-10 eV/atom"),
        (lambda r: r["data"].update(e_form=-10.0), "-10 eV/atom"),
        (share, "disorder"),
        (half, "disorder"),
        (lambda r: r.pop("structure"), "no structure"),
        (lambda r: r.update(energy="high"), "not a"),
        (lambda r: r.update(energy=float("nan")), "nonfinite"),
        (lambda r: r["structure"]["sites"].clear(), "no atoms"),
        (lambda r: r["structure"]["sites"][0]["species"][0].update(element="X"), "unknown element"),
        (lambda r: r["structure"].update(sites=7), "not a pymatgen document"),
    ],
)
def test_what_is_no_structure_is_rejected_with_the_reason(tmp_path, change, reason):
    found = entry(tmp_path, change)
    assert isinstance(found, Rejection) and reason in found.reason


def test_an_oxidation_state_is_not_part_of_the_element(tmp_path):
    frame = entry(tmp_path, lambda r: r["structure"]["sites"][0]["species"][0].update(element="Au3+"))
    assert frame.numbers[0] == 79


def test_a_class_name_is_never_imported(tmp_path):
    def hostile(record):
        record["structure"]["sites"][0]["properties"] = {"@module": "os", "@class": "system", "command": f"touch {tmp_path / 'ran'}"}
        record["@module"], record["@class"] = "subprocess", "Popen"

    assert isinstance(entry(tmp_path, hostile), Frame) and not (tmp_path / "ran").exists()


def test_deep_nesting_is_one_line(tmp_path):
    (tmp_path / "a.json").write_text('{"energy":' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(SourceError, match="nested too deeply"):
        read(tmp_path / "a.json")


@pytest.mark.parametrize("shape", ["entries", "list", "table"])
def test_a_big_file_is_read_record_by_record(tmp_path, monkeypatch, shape):
    pytest.importorskip("ijson")
    records = [{"energy": f.energy, "entry_id": f"e{i}", "structure": structure_dict(f)} for i, f in enumerate(emt_frames(4))]
    whole = {"entries": {"entries": records}, "list": records, "table": {f"k{i}": r for i, r in enumerate(records)}}[shape]
    (tmp_path / "a.json").write_text(json.dumps(whole))
    small = read(tmp_path / "a.json")
    monkeypatch.setattr(json_items, "WHOLE", 1000)
    big = read(tmp_path / "a.json")
    assert [(f.energy, f.group) for f in big] == [(f.energy, f.group) for f in small] and len(big) == 4


def test_one_record_of_a_big_file_is_bounded(tmp_path, monkeypatch):
    pytest.importorskip("ijson")
    monkeypatch.setattr(json_items, "WHOLE", 1000)
    monkeypatch.setattr(json_items, "RECORD", 80_000)
    (tmp_path / "a.json").write_text("[" + "1," * 10_000 + "[" + "1," * 120_000 + "1]]")
    with pytest.raises(SourceError, match="a record of more than"):
        read(tmp_path / "a.json")


@pytest.mark.parametrize(("option", "shift"), [("free", 0.0), ("without_entropy", 0.01), ("zero", 0.005)])
def test_a_task_has_three_energies(tmp_path, option, shift):
    frames = emt_frames()
    back = read(mp_task(frames, tmp_path), "mp/task", options={"energy": option})
    assert [f.energy for f in back] == pytest.approx([f.energy + shift for f in frames])


@pytest.mark.parametrize("first", ["calcs_reversed", "orig_inputs", "dir_name"])
def test_a_task_is_known_though_its_runs_come_late(tmp_path, first):
    """Newer documents hold structures, and the final energy, long before `calcs_reversed`."""
    path = mp_task(emt_frames(2), tmp_path)
    late = {first: {}, "calc_type": "GGA", "structure": structure_dict(emt_frames(1)[0]), "input": "x" * 10_000}
    path.write_text(json.dumps([late | json.loads(path.read_text())]))
    assert guess_format(SourceFile(name=path.name, path=str(path))) == "mp/task"
    assert len(read(path, "mp/task")) == 2


def test_steps_of_several_runs_come_in_the_order_of_the_runs(tmp_path):
    path = mp_task(emt_frames(2), tmp_path)
    task = json.loads(path.read_text())
    task["calcs_reversed"] = [mine(task, 9.0), mine(task, 1.0)]
    path.write_text(json.dumps(task))
    assert [f.energy for f in read(path, "mp/task")] == [1.0, 1.0, 9.0, 9.0]


def mine(task, energy):
    run = json.loads(json.dumps(task["calcs_reversed"][0]))
    for step in run["output"]["ionic_steps"]:
        step["e_fr_energy"] = energy
    return run


@pytest.mark.parametrize(("done", "change", "converged"), [(5, 1.0, True), (100, 1.0, False), (120, 1e-9, True)])
def test_convergence_is_told_by_the_electronic_steps(tmp_path, done, change, converged):
    path = mp_task(emt_frames(1), tmp_path)
    task = json.loads(path.read_text())
    task["calcs_reversed"][0]["output"]["ionic_steps"][0]["electronic_steps"] = [{"e_fr_energy": change * i} for i in range(done)]
    path.write_text(json.dumps(task))
    assert read(path, "mp/task")[0].converged is converged


def test_an_energy_that_an_old_parser_lost_is_not_zero(tmp_path):
    path = mp_task(emt_frames(1), tmp_path)
    path.write_text(path.read_text().replace('"e_0_energy": ', '"e_0_energy": 0.0, "was": '))
    assert isinstance(read(path, "mp/task", options={"energy": "zero"})[0], Rejection)


def test_the_theory_of_a_task_is_stated(tmp_path):
    path = mp_task(emt_frames(1), tmp_path)
    theory = read_theory(SourceFile(name="t", path=str(path)), use=reader("mp/task"))
    assert theory == {"code": "VASP 5.4.4", "cutoff": 520.0, "spin": "collinear", "hubbard_u": "none", "dispersion": "none"}


def changed(tmp_path, change, **spec):
    """Read a task of two steps after a change to its run."""
    path = mp_task(emt_frames(2), tmp_path)
    task = json.loads(path.read_text())
    change(task["calcs_reversed"][0])
    path.write_text(json.dumps(task))
    return read(path, "mp/task", **spec)


@pytest.mark.parametrize(("option", "shift"), [("free", 0.0), ("without_entropy", 0.01), ("zero", 0.005)])
def test_a_task_under_pstress_holds_enthalpies(tmp_path, option, shift):
    frames = emt_frames(2)
    back = changed(tmp_path, lambda run: run["input"]["incar"].update(PSTRESS=30.0), options={"energy": option})
    assert [f.energy for f in back] == pytest.approx([f.energy + shift - 30.0 * KBAR * f.volume for f in frames])


def test_the_energy_without_smearing_is_told_by_the_last_electronic_step(tmp_path):
    """The ionic step's own is wrong in many versions."""

    def lose(run):
        for step in run["output"]["ionic_steps"]:
            step["electronic_steps"] = [{"e_fr_energy": -3.0, "e_0_energy": -2.75}]
            step["e_0_energy"] = 7.0

    assert [f.energy for f in changed(tmp_path, lose, options={"energy": "zero"})] == pytest.approx(
        [f.energy + 0.25 for f in emt_frames(2)]
    )


@pytest.mark.parametrize(
    ("tags", "structure", "expected"),
    [
        ({}, {}, 0),
        ({"NELECT": 33.0}, {}, "the charge is not known: the INCAR sets NELECT, and no structure states a charge"),
        ({"NELECT": 33.0}, {"charge": -1}, -1),
        ({"NELECT": 33.5}, {"charge": 0.5}, "charge is not a whole number"),
        ({"ICHARG": 11}, {}, "the charge density is that of a file: not self-consistent"),
    ],
)
def test_a_task_knows_the_charge_or_is_refused(tmp_path, tags, structure, expected):
    def change(run):
        run["input"]["incar"].update(tags)
        run["input"]["structure"] = structure

    found = changed(tmp_path, change)
    assert [item.charge if isinstance(item, Frame) else item.reason for item in found] == [expected] * 2


@pytest.mark.parametrize(("nsw", "converged"), [(0, False), (99, False), (2, True)])
def test_a_run_that_says_it_was_not_completed_is_believed(tmp_path, nsw, converged):
    """Unless the relaxation was at its limit, which says nothing of the last step."""

    def fail(run):
        run["has_vasp_completed"] = False
        run["input"]["incar"].update(NSW=nsw)

    assert [f.converged for f in changed(tmp_path, fail)] == [True, converged]


def test_tasks_one_a_line_or_in_an_answer_are_read(tmp_path):
    path = mp_task(emt_frames(2), tmp_path)
    task = json.loads(path.read_text())
    path.write_text("\n".join(json.dumps(task | {"task_id": f"mp-{i}"}) for i in range(3)))
    assert [f.group for f in read(path, "mp/task")] == ["mp-0", "mp-0", "mp-1", "mp-1", "mp-2", "mp-2"]
    path.write_text(json.dumps({"data": [task, task], "meta": {}}))
    assert len(read(path, "mp/task")) == 4


# ---- MatPES, MPtrj and others ------------------------------------------------------------------------------------------


def matpes(frame, i):
    """A record as MatPES has them."""
    six = [10.0, -20.0, 30.0, 1.0, 2.0, 3.0]
    return {
        "matpes_id": f"matpes-{i}", "structure": structure_dict(frame), "energy": frame.energy, "forces": frame.forces.tolist(),
        "stress": six, "functional": "r2SCAN", "bandgap": 0.0, "provenance": {"original_mp_id": f"mp-{i // 2}"},
    }  # fmt: skip


def mptrj(frame, i):
    """A record as MPtrj has them."""
    stress = [[10.0, 3.0, 2.0], [3.0, -20.0, 1.0], [2.0, 1.0, 30.0]]
    return {
        "structure": structure_dict(frame), "uncorrected_total_energy": frame.energy, "corrected_total_energy": frame.energy - 2.5,
        "energy_per_atom": (frame.energy - 2.5) / len(frame.numbers), "force": frame.forces.tolist(), "stress": stress, "magmom": None,
    }  # fmt: skip


def layouts(frames):
    """The text of a file in each layout, and what its frames are groups of."""
    tree = {f"mp-{m}": {f"mp-{m}-0-{i}": mptrj(frames[2 * m + i], i) for i in range(2)} for m in range(2)}
    records = [matpes(frame, i) for i, frame in enumerate(frames)]
    yield json.dumps(records), ["mp-0", "mp-0", "mp-1", "mp-1"]
    yield "\n".join(map(json.dumps, records)), ["mp-0", "mp-0", "mp-1", "mp-1"]
    yield json.dumps(tree), ["a.json/mp-0"] * 2 + ["a.json/mp-1"] * 2
    yield json.dumps({name: list(steps.values()) for name, steps in tree.items()}), ["a.json/mp-0"] * 2 + ["a.json/mp-1"] * 2
    yield "\n".join(json.dumps({"mp_id": name, **step}) for name, steps in tree.items() for step in steps.values()), [
        "mp-0", "mp-0", "mp-1", "mp-1",
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("small", [True, False])
def test_matpes_and_mptrj_have_their_labels(tmp_path, monkeypatch, number, small):
    """Stress is in kbar, positive when compressed; energies are uncorrected."""
    frames = emt_frames(4)
    text, groups = list(layouts(frames))[number]
    (tmp_path / "a.json").write_text(text)
    if not small:
        pytest.importorskip("ijson")
        monkeypatch.setattr(json_items, "WHOLE", 1000)
    file = SourceFile(name="a.json", path=str(tmp_path / "a.json"))
    assert guess_format(file) == "pymatgen/json"
    back = read(tmp_path / "a.json")
    assert [f.energy for f in back] == pytest.approx([f.energy for f in frames])
    expected = np.array([[10, 3, 2], [3, -20, 1], [2, 1, 30]]) * KBAR
    for ours, theirs in zip(back, frames, strict=True):
        assert np.allclose(ours.forces, theirs.forces) and np.allclose(ours.virial, expected * theirs.volume) and ours.left_out == ()
    assert [f.group for f in back] == groups
    assert read_theory(file, use=reader("pymatgen/json")) == ({"functional": "r2SCAN"} if number < 2 else {})


def test_what_holds_the_frames_is_their_group(tmp_path):
    frames = emt_frames(4)
    parts = {part: {f"mp-{m}": {f"{m}-{i}": mptrj(frames[2 * m + i], i) for i in range(2)}} for m, part in enumerate(("train", "valid"))}
    (tmp_path / "a.json").write_text(json.dumps(parts))
    assert [f.group for f in read(tmp_path / "a.json")] == ["a.json/mp-0"] * 2 + ["a.json/mp-1"] * 2


def test_one_matpes_record_is_one_document(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(matpes(emt_frames(1)[0], 0), indent=1))
    (frame,) = read(tmp_path / "a.json")
    assert frame.forces is not None and frame.virial is not None


def turned(record):
    record["data"] = {"stress": [1.0] * 6, "virial": np.eye(3).tolist()}


def beside(unit):
    """A virial, and a stress beside it that is -virial / V in some unit."""

    def change(record):
        volume = abs(np.linalg.det(record["structure"]["lattice"]["matrix"]))
        record["data"] = {"virial": (2.0 * np.eye(3)).tolist(), "stress": (-2.0 * np.eye(3) / volume / unit).tolist()}

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.update(stress=[1.0] * 6), ("virial: the unit and sign of `stress` are not stated",)),
        (lambda r: r["data"].update(stress=[1.0] * 6), ("virial: the unit and sign of `data.stress` are not stated",)),
        (lambda r: r.update(outputs={"virial_stress": [1.0] * 6}), ("virial: stands as `outputs.virial_stress`, which is not read",)),
        (lambda r: r.update(outputs={"forces": []}), ("forces: stands as `outputs.forces`, which is not read",)),
        (lambda r: r.update(outputs={"energy": r.pop("energy")}), ("energy: stands as `outputs.energy`, which is not read",)),
        (lambda r: r.update(corrected_total_energy=r.pop("energy")), ("energy: stands as `corrected_total_energy`, which is not read",)),
        (
            lambda r: [site.update(properties={"forces": [0, 0, 0]}) for site in r["structure"]["sites"]],
            ("forces: stands as `site properties: forces`, which is not read",),
        ),
        (beside(KBAR), ()),
        (beside(-GPA), ()),
        (lambda r: r.update(magmom=[1.0]), ()),
    ],
)
def test_labels_that_are_not_read_are_named(tmp_path, change, said):
    assert entry(tmp_path, change).left_out == said


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (turned, "virial and stress differ"),
        (beside(7.0), "virial and stress differ"),
        (lambda r: r.update(matpes_id="m", stress=[1.0] * 6, virial=np.eye(3).tolist()), "virial and stress differ"),
        (lambda r: r["data"].update(energy=r["energy"] + 1), "two statements of energy differ"),
        (lambda r: r.update(matpes_id="m", stress=[1.0, 2.0, float("nan"), 0, 0, 0]), "nonfinite"),
        (lambda r: r.update(matpes_id="m", stress=[1.0, 2.0]), "stress has neither 6 nor 9 values"),
    ],
)
def test_statements_that_contradict_each_other_are_refused(tmp_path, change, reason):
    found = entry(tmp_path, change)
    assert isinstance(found, Rejection) and found.reason == reason


def test_a_container_that_is_not_understood_has_a_rejection_for_each_structure(tmp_path):
    structures = [structure_dict(frame) for frame in emt_frames(3)]
    columns = {"structure": structures, "energy": [1.0, 2.0, 3.0], "force": []}
    for text, count in (({"mp-1": columns, "mp-2": columns}, 6), (columns, 3), ([{"in": structures[0], "out": structures[1:], "n": 2}], 3)):
        (tmp_path / "a.json").write_text(json.dumps(text))
        items = read(tmp_path / "a.json")
        assert len(items) == count and all(isinstance(item, Rejection) and "not understood" in item.reason for item in items)
        assert len({item.origin for item in items}) == count


def test_real_entries_agree_with_pymatgen(samples):
    from monty.serialization import loadfn

    path = samples / "pymatgen_json/Mn-O_entries.json"
    corrected = 0
    for ours, theirs in zip(read(path), loadfn(path), strict=True):
        assert ours.energy == theirs.uncorrected_energy
        corrected += theirs.energy != theirs.uncorrected_energy
        assert ours.numbers.tolist() == list(theirs.structure.atomic_numbers)
        assert abs(ours.positions - theirs.structure.cart_coords).max() < 1e-10
    assert corrected
