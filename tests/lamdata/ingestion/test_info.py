"""Keys of the source that a card keeps: stored with each frame, asked for in expressions, given back by exports."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from lamdata import ingest, open_dataset
from lamdata.catalog import Card, SourceSpec, open_catalog
from lamdata.errors import ConfigError, ConfigErrors, SourceError
from lamdata.exporting import export
from lamdata.ingestion.preflight import missing_sources
from lamdata.sources.bytes import scan

FRAMES = 60
LABEL = "energy=-1.5"


def expected(i: int) -> dict[str, str]:
    """What is kept of frame i: what it says, and nothing of a key that it lacks."""
    found = {"config_type": "liquid water" if i % 3 else "ice", "T": str(300 + i % 7)}
    return found | ({"note": "é = 1, 'quoted'"} if i % 5 == 0 else {})


def text(i: int) -> str:
    said = "".join(f" {key}={json.dumps(value, ensure_ascii=False)}" for key, value in expected(i).items())
    comment = f'Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:forces:R:3 {LABEL}{said} other=3'
    spread = f"{0.001 * i:.3f}"
    return f"3\n{comment}\nO 1 1 {spread} 0.1 0 0\nH 2 1 0 -0.1 0 0\nH 1 2 0 0 0 0\n"


def source(folder: Path, frames: int = FRAMES) -> Path:
    (folder / "a.extxyz").write_text("".join(map(text, range(frames))), encoding="utf-8")
    return folder / "a.extxyz"


def card(*sources: SourceSpec, **options) -> Card:
    return Card(dataset="water", title="water", sources=list(sources), split={"validation": 0.0}, **options)


def stored(store: Path) -> dict[str, dict[str, str]]:
    """Origin -> what is kept."""
    frames = open_dataset(store)
    assert [frame.info for frame in frames] == frames.infos(0, len(frames)) == [frame.info for frame in frames[:]]
    return {frame.origin: dict(frame.info) for frame in frames}


@pytest.mark.parametrize("way", ["many at once", "plain", "any"])
def test_what_a_frame_says_under_the_keys_is_stored_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """However a frame is read."""
    path = source(tmp_path)
    if way == "plain":
        monkeypatch.setattr("lamdata.sources.labelled.extxyz.pattern_of", lambda *_: None)
    elif way == "any":
        monkeypatch.setattr("lamdata.sources.labelled.extxyz.pattern_of", lambda *_: None)
        monkeypatch.setattr("lamdata.sources.labelled.extxyz._plain_frame", lambda *_: None)
    elif scan.compiled is None:
        pytest.skip("_scan.c could not be compiled at installation")
    spec = SourceSpec(path=path.name, info=["T", "config_type", "note"], group="frame")
    ingest(card(spec), str(tmp_path / "s.zarr"), base=tmp_path, quiet=True)
    assert stored(tmp_path / "s.zarr") == {f"a.extxyz#{i}": expected(i) for i in range(FRAMES)}
    found = open_dataset(tmp_path / "s.zarr", where='info["config_type"] == "ice" and info["T"] >= 305')
    assert found[0].to_ase().info == found[0].info
    assert {frame.origin for frame in found} == {f"a.extxyz#{i}" for i in range(0, FRAMES, 3) if i % 7 >= 5}
    assert json.loads(str(found.to_xarray()["info"][0].values)) == found[0].info


def test_a_key_may_be_the_group_as_well(tmp_path: Path) -> None:
    spec = SourceSpec(path=source(tmp_path).name, keys={"group": "config_type"}, info=["config_type"])
    ingest(card(spec), str(tmp_path / "s.zarr"), base=tmp_path, quiet=True)
    assert {(frame.group, frame.info["config_type"]) for frame in open_dataset(tmp_path / "s.zarr")} == {
        ("a.extxyz/ice", "ice"),
        ("a.extxyz/liquid water", "liquid water"),
    }


def test_a_label_may_be_kept_as_it_is_written(tmp_path: Path) -> None:
    ingest(card(SourceSpec(path=source(tmp_path).name, info=["energy", "Lattice"])), str(tmp_path / "s.zarr"), base=tmp_path, quiet=True)
    assert set(map(str, stored(tmp_path / "s.zarr").values())) == {"{'energy': '-1.5', 'Lattice': '9 0 0 0 9 0 0 0 9'}"}


def test_without_kept_keys_a_store_has_no_array_of_them(tmp_path: Path) -> None:
    ingest(card(SourceSpec(path=source(tmp_path).name)), str(tmp_path / "s.zarr"), base=tmp_path, quiet=True)
    assert not list((tmp_path / "s.zarr").rglob("info")) and set(map(str, stored(tmp_path / "s.zarr").values())) == {"{}"}
    assert "info" not in open_dataset(tmp_path / "s.zarr").to_xarray()
    with pytest.raises(
        ConfigError, match=r"water keeps no key 'T' of its sources; add `info: \[T\]` to its card, and `lamdata replace` it"
    ):
        len(open_dataset(tmp_path / "s.zarr", where='info["T"] > 3'))


def test_sources_that_keep_other_keys_lie_in_one_dataset(tmp_path: Path) -> None:
    path = source(tmp_path)
    (tmp_path / "b.extxyz").write_text("".join(text(i).replace(LABEL, "energy=-2") for i in range(9)), encoding="utf-8")
    specs = SourceSpec(path=path.name, group="frame"), SourceSpec(path="b.extxyz", group="frame", info=["T"])
    ingest(card(*specs), str(tmp_path / "s.zarr"), base=tmp_path, quiet=True)
    assert stored(tmp_path / "s.zarr") == {f"a.extxyz#{i}": {} for i in range(FRAMES)} | {
        f"b.extxyz#{i}": {"T": expected(i)["T"]} for i in range(9)
    }
    with pytest.raises(ConfigError, match="keeps no key 't' of its sources"):
        len(open_dataset(tmp_path / "s.zarr", where='info["t"] > 3'))


def test_what_a_card_cannot_keep_is_refused(tmp_path: Path) -> None:
    path = source(tmp_path)
    with pytest.raises(ConfigError, match=r"no frame of a.extxyz has the key 'temp'"):
        ingest(card(SourceSpec(path=path.name, info=["T", "temp"])), str(tmp_path / "s.zarr"), base=tmp_path, quiet=True)
    with pytest.raises(ConfigError, match="deepmd/npy has no further keys to be kept; leave `info` out"):
        (tmp_path / "type.raw").write_text("0\n")
        ingest(card(SourceSpec(path="type.raw", format="deepmd/npy", info=["T"])), str(tmp_path / "s.zarr"), base=tmp_path, quiet=True)
    with pytest.raises(ValueError, match="`keep` asks for 'T', which no source keeps"):
        card(SourceSpec(path=path.name), keep='info["T"] > 3')
    long = path.read_text(encoding="utf-8").replace("liquid water", "liquid" * 400)
    path.write_text(long, encoding="utf-8")
    with pytest.raises(SourceError, match=r"a.extxyz#\d+: the keys that `info` keeps have 2\d\d\d characters, at most 2000 are stored"):
        ingest(card(SourceSpec(path=path.name, info=["config_type"])), str(tmp_path / "s.zarr"), base=tmp_path, quiet=True)
    assert not (tmp_path / "s.zarr" / "commits").exists()


def test_check_finds_a_key_that_no_frame_has(tmp_path: Path) -> None:
    source(tmp_path)
    (tmp_path / "card.yaml").write_text("dataset: water\ntitle: water\nsources:\n  - {path: a.extxyz, info: [temp]}\n")
    with pytest.raises(ConfigErrors, match="no frame of a.extxyz has the key 'temp'; mend `info:` of its source"):
        missing_sources(open_catalog(tmp_path / "card.yaml"))


def test_a_card_may_choose_by_a_key_that_it_keeps(tmp_path: Path) -> None:
    spec = SourceSpec(path=source(tmp_path).name, info=["config_type"], group="frame")
    report = ingest(card(spec, keep='info["config_type"] == "ice"'), str(tmp_path / "s.zarr"), base=tmp_path, quiet=True)
    assert report.frames == FRAMES // 3 and report.rejected == {"not kept": FRAMES - FRAMES // 3}


def data_of(path: Path) -> list[dict]:
    """The `data` of the rows of a database of ASE."""
    if path.suffix == ".db":
        from ase.db import connect

        return [row.data for row in connect(path).select()]
    import lmdb

    with lmdb.open(str(path), subdir=False, lock=False, readonly=True) as database, database.begin() as reading:
        rows = {key.decode(): json.loads(zlib.decompress(value)) for key, value in reading.cursor()}
    return [rows[str(number)]["data"] for number in range(1, rows["nextid"])]


@pytest.mark.parametrize("ending", ["extxyz", "db", "aselmdb"])
def test_an_export_gives_it_back(tmp_path: Path, ending: str) -> None:
    ingest(
        card(SourceSpec(path=source(tmp_path).name, info=["T", "config_type", "energy"])),
        str(tmp_path / "s.zarr"),
        base=tmp_path,
        quiet=True,
    )
    export(str(tmp_path / "s.zarr"), "water", tmp_path / f"out.{ending}", quiet=True)
    if ending == "extxyz":
        kept = SourceSpec(path="out.extxyz", info=["T", "config_type", "info_energy"])
        ingest(card(kept), str(tmp_path / "t.zarr"), base=tmp_path, quiet=True)
        found = [{key.removeprefix("info_"): value for key, value in frame.info.items()} for frame in open_dataset(tmp_path / "t.zarr")]
        assert sorted(map(str, found)) == sorted(map(str, (dict(frame.info) for frame in open_dataset(tmp_path / "s.zarr"))))
        return
    infos = [row["info"] for row in data_of(tmp_path / f"out.{ending}")]
    assert infos == [dict(frame.info) for frame in open_dataset(tmp_path / "s.zarr")] and "T" in infos[0]


def test_pairs_of_a_database_and_info_of_a_trajectory_are_kept(tmp_path: Path) -> None:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.db import connect
    from ase.io import write

    def atoms(i: int) -> Atoms:
        made = Atoms("H2", [[0, 0, 0], [0, 0, 0.7 + 0.01 * i]])
        made.calc = SinglePointCalculator(made, energy=-1.0 - i, forces=np.zeros((2, 3)))
        made.info = {"T": 300.5 + i, "kind": "gas", "flags": [1, 2]}
        return made

    with connect(tmp_path / "a.db") as database:
        for i in range(3):
            database.write(atoms(i), key_value_pairs={"T": 300.5 + i, "kind": "gas", "done": True})
    write(tmp_path / "a.traj", [atoms(i) for i in range(3)])
    specs = SourceSpec(path="a.db", info=["T", "kind", "done"]), SourceSpec(path="a.traj", info=["T", "flags"])
    ingest(card(*specs, checks={"implausible": "report"}), str(tmp_path / "s.zarr"), base=tmp_path, quiet=True)
    found = stored(tmp_path / "s.zarr")
    assert [info for origin, info in sorted(found.items())] == [
        *({"T": f"{300.5 + i}", "kind": "gas", "done": "true"} for i in range(3)),
        *({"T": f"{300.5 + i}", "flags": "[1, 2]"} for i in range(3)),
    ]
    assert len(open_dataset(tmp_path / "s.zarr", where='301 < info["T"] < 302 and info["kind"] == "gas"')) == 1
