"""pymatgen's JSON and the Materials Project's task documents: which energy, and what is no structure."""

from __future__ import annotations

import json

import pytest
from structure_writers import mp_task, pymatgen_json, structure_dict
from writers import emt_frames

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection
from lamdata.sources import SourceFile, guess_format, read_all, read_theory, reader
from lamdata.sources.bytes import json_items


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
