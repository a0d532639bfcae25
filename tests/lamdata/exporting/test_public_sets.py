"""Public sets with real labels: ingested, exported in every format, ingested again: the same content, and where a format cannot, what it loses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamdata import Card, ingest, open_dataset
from lamdata.errors import DataError
from lamdata.exporting import export, text_of
from lamdata.exporting.rows import Row, rows_of
from lamdata.frame import Frame
from lamdata.store import Dataset
from tests.lamdata.exporting.test_export import FRAME_BY_FRAME

SETS = Path(__file__).resolve().parents[3].parent / "shared/datasets"
UNITS = {"energy": "eV", "length": "Angstrom", "force": "eV/Angstrom", "stress": "eV/Angstrom^3"}
ALL_PASS = {
    "converged": False, "min_distance": None, "max_force": None, "net_force": None, "virial_asymmetry": None, "volume_per_atom": None,
}  # fmt: skip
QUICK = ("mlearn/Mo-test.xyz.xz", "botnet/acac-test_H_transfer.xyz.xz", "botnet/3BPA-iso_atoms.xyz.xz")
BESIDE = ("group", "charge", "multiplicity")  # what formats of bare arrays have no place for; it stands in `frames.jsonl`
LOST = {  # format -> what does not come back through our reader
    "extxyz": (),
    "parquet": (),
    "ase-db": ("virial", "multiplicity"),
    "ase-lmdb": ("virial", "multiplicity"),
    "deepmd/npy": (*BESIDE, "directions", "vacuum"),
    "deepmd/npy/mixed": (*BESIDE, "directions", "vacuum"),
    "deepmd/lmdb": (*BESIDE, "directions", "vacuum", "split"),
}
ROUNDED = 1e-14  # of a virial that a format keeps as a stress, against its largest component


def sets() -> list[str]:
    """Every file or folder of systems, by its path in the folder; [] where the folder is absent."""
    files = [path for path in SETS.rglob("*") if path.name.endswith((".xyz.xz", ".tar.gz"))]
    folders = {path.parent.parent.parent for path in SETS.rglob("set.000/coord.npy")}
    return sorted(str(path.relative_to(SETS)) for path in {*files, *folders})


def source_of(name: str) -> dict[str, Any]:
    path = SETS / name
    if path.is_dir():
        return {"path": f"{path}/*/set.*/coord.npy", "format": "deepmd/npy"}
    if name.endswith(".tar.gz"):
        return {"path": str(path), "members": "*/*.xsf", "format": "xsf"}
    keys = {"energy": ""} if name.endswith("ROY.xyz.xz") else {}  # it is another quantity, of a unit that is not stated
    return {
        "path": str(path),
        "format": "extxyz",
        "units": {} if name.startswith("mattersim") else UNITS,
        "keys": keys,
        "isolated_atoms": "also frames" if "acac-isolated" in name else "marked",
    }


def sources_of(path: Path, format: str) -> list[dict[str, Any]]:
    """What a card says of an export, so that its groups and splits come along."""
    if format.startswith("deepmd/npy"):
        splits = [split for split in ("train", "validation", "test") if (path / split).is_dir()]
        return [{"path": f"{path / split}/*/set.*/coord.npy", "format": "deepmd/npy", "split": split} for split in splits]
    if format == "deepmd/lmdb":
        return [{"path": str(path / "data.mdb"), "format": format, "split": "train"}]
    name = {"ase-db": "ase/db", "ase-lmdb": "ase/lmdb"}.get(format, format)
    units = {} if format in ("extxyz", "parquet") else UNITS
    keys = {"split": "split"} | ({} if format == "parquet" else {"group": "group"})
    return [{"path": str(path), "format": name, "units": units, "keys": keys}]


def ingested(store: Path, name: str, sources: list[dict[str, Any]]) -> Dataset:
    said = {"dataset": name, "title": name, "checks": ALL_PASS, "allow_theory": ["these are for testing"]}
    try:
        ingest(Card.model_validate(said | {"sources": sources}), str(store), base=SETS, quiet=True)
    except DataError as err:  # few groups, or one, of which most were dealt out of training
        assert "by hash" in err.message
        whole = [source | {"split": "train"} for source in sources]
        ingest(Card.model_validate(said | {"sources": whole}), str(store), base=SETS, quiet=True)
    return open_dataset(store, name)


def facts(row: Row, lost: tuple[str, ...]) -> Iterator[bytes]:
    """All that a store knows of a frame but its origin, to the bit, and but for what is lost."""
    frame = row.frame
    periodic = any(frame.pbc)
    cell = None if "vacuum" in lost and not periodic else frame.cell
    for array in (frame.numbers, frame.positions, cell, frame.forces):
        yield b"-" if array is None else np.ascontiguousarray(array).tobytes()
    pbc = (periodic,) * 3 if "directions" in lost else frame.pbc
    yield repr((frame.energy, pbc, frame.virial is not None)).encode()
    yield b"" if "virial" in lost or frame.virial is None else frame.virial.tobytes()
    told = {"group": frame.group, "charge": frame.charge, "multiplicity": frame.multiplicity, "split": row.split}
    yield repr({name: value for name, value in told.items() if name not in lost}).encode()


def content_hash(dataset: Dataset, lost: tuple[str, ...], *, prefix: str = "") -> str:
    """Of all frames, in whatever order; a reader may have put the name of its file before each group."""
    hashes = []
    for row in rows_of(dataset):
        object.__setattr__(row.frame, "group", row.frame.group.removeprefix(prefix))
        hashes.append(hashlib.sha256(b"\0".join(facts(row, lost))).hexdigest())
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()


def virials(dataset: Dataset) -> dict[bytes, list[np.ndarray]]:
    """By everything else: some sets hold one structure several times, with labels of as many calculations."""
    out: dict[bytes, list[np.ndarray]] = {}
    for row in rows_of(dataset):
        if row.frame.virial is not None:
            out.setdefault(b"".join(facts(row, ("virial", *BESIDE, "split"))), []).append(row.frame.virial)
    return out


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A set, ingested once for all formats."""
    folder, held = tmp_path_factory.mktemp("sets"), dict[str, Dataset]()

    def of(name: str) -> Dataset:
        if name not in held:
            held.clear()
            held[name] = ingested(folder / name.replace("/", "-"), "first", [source_of(name)])
        return held[name]

    return of


def check_round_trip(first: Dataset, format: str, folder: Path) -> None:
    ending = {"extxyz": ".extxyz", "ase-db": ".db", "ase-lmdb": ".aselmdb", "parquet": ".parquet"}.get(format, "")
    path = folder / f"out{ending}"
    report = export(first._place.url, "first", path, format=format, quiet=True)
    again = ingested(folder / "again", "again", sources_of(path, format))
    assert report.frames == len(first) == len(again)
    lost = LOST[format]
    assert content_hash(again, lost, prefix=f"{path.name}/") == content_hash(first, lost)
    if "virial" in lost:
        expected, found = virials(first), virials(again)
        assert expected.keys() == found.keys()
        for key, some in expected.items():
            for virial in some:
                virial = np.triu(virial) + np.triu(virial, 1).T  # a stress has six numbers
                assert min(np.abs(other - virial).max() for other in found[key]) <= ROUNDED * np.abs(virial).max()
            assert len(found[key]) == len(some)


def need(name: str) -> None:
    if not (SETS / name).exists():
        pytest.skip(f"{SETS / name} is a public set that is not in the repository")


@pytest.mark.parametrize("format", FRAME_BY_FRAME)
@pytest.mark.parametrize("name", QUICK)
def test_a_set_comes_back_with_the_same_content(tmp_path: Path, original: Any, name: str, format: str) -> None:
    need(name)
    check_round_trip(original(name), format, tmp_path)


@pytest.mark.slow(reason="34 sets, 50,000 frames in all, in seven formats: tens of minutes")
@pytest.mark.parametrize("name", [name for name in sets() if name not in QUICK] or ["none"])
def test_every_set_comes_back_with_the_same_content(tmp_path: Path, original: Any, name: str) -> None:
    need(name)
    for format in FRAME_BY_FRAME:
        folder = tmp_path / format.replace("/", "-")
        folder.mkdir()
        check_round_trip(original(name), format, folder)


def test_the_hash_sees_every_change(tmp_path: Path) -> None:
    """What the other tests compare is no hash of nothing."""
    frame = Frame(
        numbers=np.array([1, 8], np.uint8), positions=np.array([[0, 0, 0], [1, 0, 0.5]]), cell=9 * np.eye(3), pbc=(True,) * 3,
        energy=-1.5, forces=np.ones((2, 3)), virial=np.eye(3), charge=1, multiplicity=2, group="g",
    )  # fmt: skip

    def of(**changes: Any) -> str:
        values = {name: getattr(frame, name) for name in Frame.__dataclass_fields__} | changes
        split = values.pop("split", "") or "train"
        return hashlib.sha256(b"\0".join(facts(Row(Frame(**values), split), ()))).hexdigest()

    changed = [
        of(), of(numbers=np.array([8, 1], np.uint8)), of(positions=frame.positions + 1e-15), of(cell=frame.cell * (1 + 2e-16)), of(cell=None, pbc=(False,) * 3),
        of(pbc=(True, True, False)), of(energy=None), of(energy=-1.5000000000000002), of(forces=None), of(forces=frame.forces * 2),
        of(virial=None), of(virial=frame.virial * 2), of(charge=0), of(multiplicity=None), of(group="h"), of(split="test"),
    ]  # fmt: skip
    assert len(set(changed)) == len(changed)
    assert "energy=-1.5" in text_of(frame, words={})
