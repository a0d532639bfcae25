"""Datasets of nvalchemi-toolkit: to the bit what stands in them, and nothing that does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection
from lamdata.sources import SourceFile, expand, guess_format, reader
from lamdata.sources.bytes.group_files import hash_with_group
from tests.lamdata.sources.labelled.nvalchemi_groups import write_group
from tests.lamdata.sources.reading import frames, read

NATOMS = [3, 1, 4, 2, 3]
STARTS = np.concatenate([[0], np.cumsum(NATOMS)])


def arrays(*, dtype=np.float32, seed=0) -> dict[str, np.ndarray]:
    rng, count, atoms = np.random.default_rng(seed), len(NATOMS), sum(NATOMS)
    stress = rng.normal(size=(count, 3, 3)) * 0.01
    cell = np.eye(3) * 9 + rng.normal(size=(count, 3, 3)) * 0.3
    return {
        "positions": (rng.normal(size=(atoms, 3)) * 3).astype(dtype),
        "atomic_numbers": rng.integers(1, 90, atoms),
        "cell": cell.astype(dtype),
        "pbc": np.ones((count, 3), bool),
        "energy": rng.normal(size=(count, 1)) * 100,
        "forces": rng.normal(size=(atoms, 3)).astype(dtype),
        "stress": (stress + stress.transpose(0, 2, 1)).astype(dtype),
        "charge": np.array([[0.0], [1.0], [-2.0], [0.0], [3.0]], dtype),
    }


def agrees(frame: Frame, core: dict[str, np.ndarray], row: int) -> bool:
    atoms = slice(STARTS[row], STARTS[row + 1])
    volume = abs(np.linalg.det(core["cell"][row].astype(np.float64)))
    assert np.allclose(frame.virial, -volume * core["stress"][row], rtol=1e-12)
    pairs = [(frame.positions, core["positions"][atoms]), (frame.forces, core["forces"][atoms]), (frame.cell, core["cell"][row])]
    whole = all(np.array_equal(ours, theirs.astype(np.float64)) for ours, theirs in pairs) and frame.charge == core["charge"][row, 0]
    return whole and np.array_equal(frame.numbers, core["atomic_numbers"][atoms]) and frame.energy == core["energy"][row, 0]


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"chunks": "small"},
        {"chunks": "small", "shards": True},
        {"compressors": None},
        {"compressors": zarr.codecs.BloscCodec(cname="lz4")},
        {"compressors": zarr.codecs.GzipCodec()},
    ],
    ids=["as_it_comes", "chunks", "shards", "bare", "blosc", "gzip"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_dataset_reads_as_what_stands_in_it_to_the_bit(tmp_path: Path, layout, dtype) -> None:
    core, made = arrays(dtype=dtype), dict(layout)
    path = tmp_path / "set.zarr"
    if made.pop("chunks", None):
        root = write_group(path, NATOMS, {})
        shards = made.pop("shards", False)
        for name, values in core.items():
            shape = values.shape[1:]
            array = zarr.open_group(root)["core"].create_array(
                name, shape=values.shape, dtype=values.dtype, chunks=(2, *shape), shards=(4, *shape) if shards else None
            )
            array[:] = values
    else:
        write_group(path, NATOMS, core, **made)
    back = frames(path, "nvalchemi/zarr")
    assert len(back) == len(NATOMS) and all(agrees(frame, core, row) for row, frame in enumerate(back))
    assert [frame.origin for frame in back] == [f"set.zarr/zarr.json#{i}" for i in range(5)]
    (file,) = expand(SourceSpec(path=str(path)), base=tmp_path)
    assert guess_format(file) == "nvalchemi/zarr" and reader("nvalchemi/zarr").usual_units(file)["energy"] == "eV"
    spans = reader("nvalchemi/zarr").spans(file, 500)
    assert len(spans) > 1 and (spans[0].first, spans[-1].stop) == (0, 5) and all(a.stop == b.first for a, b in zip(spans, spans[1:]))


def test_what_is_deleted_is_no_frame_and_moves_no_number(tmp_path: Path) -> None:
    core = arrays()
    path = write_group(tmp_path / "a.zarr", NATOMS, core)
    (file,) = expand(SourceSpec(path=str(path)), base=tmp_path)
    before = hash_with_group(file, "blake3")
    root = zarr.open_group(path)
    root["meta/samples_mask"][1:3] = False
    root["core/positions"][3:8] = 0.0
    back = read(path, "nvalchemi/zarr")
    assert [frame.origin.rpartition("#")[2] for frame in back] == ["0", "3", "4"] and agrees(back[1], core, 3)
    assert hash_with_group(file, "blake3") != before, "the root file is the same, and the dataset is not"


def test_what_some_frame_lacks_is_refused_or_missing_as_the_card_says(tmp_path: Path) -> None:
    core = arrays()
    core["energy"][2], core["forces"][0, 1] = np.nan, np.nan
    path = write_group(tmp_path / "a.zarr", NATOMS, core)
    back = read(path, "nvalchemi/zarr")
    assert [type(item) for item in back] == [Rejection, Frame, Rejection, Frame, Frame] and back[0].reason == "nonfinite"
    one, _, three = frames(path, "nvalchemi/zarr", options={"nan": "missing"})[:3]
    assert one.forces is None and one.energy == core["energy"][0, 0] and three.energy is None and three.forces is not None


def test_keys_and_units_are_the_cards(tmp_path: Path) -> None:
    core, custom = arrays(), {"REF_energy": np.arange(5.0)[:, None], "run": np.array([[7], [7], [8], [8], [9]])}
    path = write_group(tmp_path / "a.zarr", NATOMS, core | {"spin": np.full((5, 1), 2.0)}, custom=custom)
    plain = frames(path, "nvalchemi/zarr")[1]
    assert plain.multiplicity is None and plain.left_out == ("energy: 'REF_energy' is not read, 'energy' is",)
    keys = {"energy": "REF_energy", "multiplicity": "spin", "group": "run", "stress": ""}
    named = frames(path, "nvalchemi/zarr", keys=keys, units={"energy": "Hartree", "length": "bohr"})
    assert named[2].energy == pytest.approx(2 * 27.211386, rel=1e-6) and named[2].multiplicity == 2 and named[2].virial is None
    assert [frame.group for frame in named] == [f"a.zarr/{run}" for run in (7, 7, 8, 8, 9)]
    assert named[0].positions[0, 0] == pytest.approx(core["positions"][0, 0] * 0.529177, rel=1e-5)
    gone = frames(path, "nvalchemi/zarr", keys={"energy": "total"})[0]
    assert gone.energy is None and gone.left_out[0] == "energy: its key 'total' is not there"


def test_cells_that_are_not_said_to_be_periodic_are_asked_for(tmp_path: Path) -> None:
    core = {name: values for name, values in arrays().items() if name != "pbc"}
    path = write_group(tmp_path / "a.zarr", NATOMS, core)
    with pytest.raises(SourceError, match=r"does not say whether they are periodic; say `options: \{pbc: periodic\}`"):
        read(path, "nvalchemi/zarr")
    free = frames(path, "nvalchemi/zarr", options={"pbc": "free"})
    assert free[0].cell is None and free[0].virial is None and free[0].left_out == ("virial: the frame is not periodic",)
    assert frames(path, "nvalchemi/zarr", options={"pbc": "periodic"})[0].pbc == (True, True, True)


def test_a_virial_of_the_other_sign_refuses_its_frame(tmp_path: Path) -> None:
    core = arrays(dtype=np.float64)
    core["stress"] *= 100
    virial = -np.abs(np.linalg.det(core["cell"]))[:, None, None] * core["stress"]
    virial[3] *= -1
    back = read(write_group(tmp_path / "a.zarr", NATOMS, core | {"virial": virial}), "nvalchemi/zarr")
    assert isinstance(back[3], Rejection) and "opposite signs" in back[3].reason
    assert all(np.array_equal(back[row].virial, virial[row]) for row in (0, 1, 2, 4))


def test_a_dataset_whose_append_was_cut_short_is_one_line(tmp_path: Path) -> None:
    path = write_group(tmp_path / "a.zarr", NATOMS, arrays())
    zarr.open_group(path)["core/forces"].resize((12, 3))
    with pytest.raises(SourceError, match=r"forces is of shape \(12, 3\), expected \(13, 3\)"):
        read(path, "nvalchemi/zarr")
    zarr.open_group(path).attrs["num_samples"] = 4
    with pytest.raises(SourceError, match="num_samples is 4, atoms_ptr has 5 frames, as after an append that was cut short"):
        read(path, "nvalchemi/zarr")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]}, "a codec that is not known: numcodecs.pickle"),
        ({"data_type": "string"}, "an array of string, expected numbers"),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1 << 40, 3]}}}, "a chunk of shape"),
    ],
)
def test_what_an_array_declares_is_checked_before_it_is_decoded(tmp_path: Path, change, said) -> None:
    path = write_group(tmp_path / "a.zarr", NATOMS, arrays())
    document = path / "core/positions/zarr.json"
    document.write_text(json.dumps(json.loads(document.read_text()) | change))
    with pytest.raises(SourceError, match=said):
        read(path, "nvalchemi/zarr")


def test_no_key_leads_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_text("{}")
    (tmp_path / "x").mkdir()
    (tmp_path / "x/zarr.json").write_text("{}")
    from lamdata.sources.bytes.zarr_group import _Beside

    store = _Beside(SourceFile(name="x/zarr.json", path=str(tmp_path / "x/zarr.json")))
    assert zarr.core.sync.sync(store.exists("zarr.json")) and not zarr.core.sync.sync(store.exists("a/../../zarr.json"))


@pytest.mark.slow  # it needs nvalchemi-toolkit, which brings torch, warp and more
def test_what_nvalchemi_wrote_itself(tmp_path: Path) -> None:
    torch, data = pytest.importorskip("torch"), pytest.importorskip("nvalchemi.data")
    writer = pytest.importorskip("nvalchemi.data.datapipes").AtomicDataZarrWriter(str(tmp_path / "own.zarr"))
    core = arrays()

    def one(row: int):
        atoms, tensor = slice(STARTS[row], STARTS[row + 1]), torch.from_numpy
        labels = {name: tensor(core[name][row : row + 1]) for name in ("cell", "pbc", "stress", "charge")}
        labels["energy"] = tensor(core["energy"][row : row + 1].astype(np.float32))
        arrays_ = {name: tensor(core[name][atoms]) for name in ("positions", "atomic_numbers", "forces")}
        return data.AtomicData(**arrays_, **labels)

    writer.write(data.Batch.from_data_list([one(row) for row in range(3)]))
    writer.append(data.Batch.from_data_list([one(row) for row in range(3, 5)]))
    core["energy"] = core["energy"].astype(np.float32)
    back = frames(tmp_path / "own.zarr", "nvalchemi/zarr")
    assert len(back) == 5 and all(agrees(frame, core, row) for row, frame in enumerate(back))
    writer.delete([1])
    assert [frame.origin.rpartition("#")[2] for frame in frames(tmp_path / "own.zarr", "nvalchemi/zarr")] == ["0", "2", "3", "4"]
