"""Bad input at the command line: one clear line, the right exit code, no traceback, nothing written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.conftest import write_catalog


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_catalog(tmp_path, groups=3, frames=3)


def call(name: str, *args: str, capsys, monkeypatch) -> tuple[int, str, list[str]]:
    """Run a command in this process; return its exit code, stdout and the lines of stderr."""
    from importlib import import_module

    monkeypatch.setattr(sys, "argv", [name, *args])
    with pytest.raises(SystemExit) as caught:
        import_module(f"{name}.cli").main()
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, [line for line in err.splitlines() if line]


@pytest.fixture
def lamdata(capsys, monkeypatch):
    return lambda *args: call("lamdata", *args, capsys=capsys, monkeypatch=monkeypatch)


@pytest.fixture
def lamtrain(capsys, monkeypatch):
    return lambda *args: call("lamtrain", *args, capsys=capsys, monkeypatch=monkeypatch)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("bulk.yaml", "license:", "licence:", "bulk.yaml:3:1: unknown key 'licence'; did you mean 'license'?"),
        ("mixture.yaml", "weight: 2.0", "weight: -1", "`heads.0.weight` is -1"),
        ("bulk.yaml", "energy: eV", "energy: ev", "did you mean 'eV'?"),
        ("mixture.yaml", "head: cluster,", "head: bulk,", None),  # the same theory: allowed
        ("bulk.yaml", "bulk-*.xyz", "bulk/*.xyz", "no file matches"),
        ("bulk.yaml", "format: extxyz", "format: extxzy", "did you mean 'extxyz'?"),
    ],
)
def test_check_names_what_is_wrong(folder: Path, lamdata, file: str, old: str, new: str, message: str | None) -> None:
    change(folder / file, old, new)
    code, _, lines = lamdata("check", ".")
    if message is None:
        assert (code, lines) == (0, [])
    else:
        assert code == 2
        assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]


def test_two_theories_in_one_head_are_refused(folder: Path, lamdata) -> None:
    change(folder / "mixture.yaml", "head: cluster,", "head: bulk,")
    change(folder / "cluster.yaml", "functional: EMT", "functional: PBE")
    code, _, (line,) = lamdata("check", ".")
    assert code == 2 and "cluster and bulk cannot share head 'bulk': functional: PBE against EMT" in line


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("bulk-*.xyz", "bulk-9.xyz", 1, "no such file"),
        ("stress: eV/Angstrom^3", "stress: Pascal", 2, "unknown unit"),
        ("split:", "spilt:", 2, "did you mean 'split'?"),
    ],
)
def test_ingest_refuses_with_one_line_and_writes_nothing(folder: Path, lamdata, old: str, new: str, code: int, message: str) -> None:
    change(folder / "bulk.yaml", old, new)
    before = names(folder)
    got, _, lines = lamdata("ingest", "bulk.yaml", "-o", "s.zarr", "--quiet")
    assert got == code and len(lines) == 1 and message in lines[0]
    assert names(folder) == before


def test_a_truncated_output_is_named_and_nothing_is_written(folder: Path, lamdata) -> None:
    path = folder / "bulk-0.xyz"
    path.write_bytes(path.read_bytes()[:-40])
    before = names(folder)
    code, _, lines = lamdata("ingest", "bulk.yaml", "-o", "s.zarr", "--quiet")
    assert code == 1 and len(lines) == 1 and "bulk-0.xyz" in lines[0]
    assert names(folder) == before


def test_a_wrong_unit_shows_in_the_checks(folder: Path, lamdata) -> None:
    change(folder / "bulk.yaml", "length: Angstrom", "length: bohr")
    change(folder / "bulk.yaml", "split:", "checks: {volume_per_atom: [5, 50]}\nsplit:")
    before = names(folder)
    code, _, lines = lamdata("ingest", "bulk.yaml", "-o", "s.zarr", "--quiet")
    assert code == 1 and len(lines) == 1 and "volume_per_atom" in lines[0]
    assert names(folder) == before


def test_a_store_from_a_newer_version_says_so(folder: Path, lamdata, lamtrain) -> None:
    assert lamdata("ingest", "bulk.yaml", "-o", "s.zarr", "--quiet")[0] == 0
    (commit,) = (folder / "s.zarr/commits").glob("0*.json")
    body = json.loads(commit.read_text())
    commit.write_text(json.dumps(body | {"version": 99}))
    for args in (("show", "s.zarr"), ("ls", "s.zarr"), ("validate", "s.zarr"), ("ingest", "bulk.yaml", "-o", "s.zarr", "--quiet")):
        code, _, lines = lamdata(*args)
        assert code == 1 and len(lines) == 1 and "version 99" in lines[0], args
    code, _, lines = lamtrain("train", "train.yaml", "--set", "store=s.zarr", "--quiet")
    assert code == 1 and "version 99" in lines[0]
    assert not (folder / "runs").exists()


def test_json_errors_are_one_document(folder: Path, lamdata) -> None:
    code, out, _ = lamdata("show", "nowhere.zarr", "--json")
    assert code == 1
    assert json.loads(out)["errors"][0]["where"].endswith("nowhere.zarr")


def test_training_on_a_missing_mixture_is_one_line(folder: Path, lamtrain) -> None:
    code, _, lines = lamtrain("train", "train.yaml", "--set", "mixture=mixtrue.yaml")
    assert code == 2 and len(lines) == 1 and "mixtrue.yaml" in lines[0]
    assert not (folder / "runs").exists()


def test_testing_something_that_is_no_model_is_one_line(folder: Path, lamtrain) -> None:
    code, _, lines = lamtrain("test", "bulk.yaml", "s.zarr")
    assert code == 1 and "not a checkpoint" in lines[0]


def test_a_command_that_has_nothing_to_do_does_not_say_that_it_did_something(folder: Path, lamdata) -> None:
    (folder / "empty").mkdir()
    code, out, lines = lamdata("check", "empty")
    assert code == 2 and out == "" and len(lines) == 1 and "no card and no mixture here" in lines[0]
    assert "no dataset has what was asked for" in lamdata("ls", ".", "--elements", "Og")[1]
    assert "no dataset" in lamdata("ls", "empty")[1]
    assert json.loads(lamdata("ls", ".", "--elements", "Og", "--json")[1]) == []
    code, _, (line,) = lamdata("ls", ".", "--elements", "Cu,cu")
    assert code == 2 and "'cu' is no element; did you mean 'Cu'?" in line


def test_refused_frames_end_with_the_first_rows_of_the_ledger_on_the_screen(folder: Path, lamdata) -> None:
    change(folder / "bulk.yaml", "split:", "checks: {max_force: 0.4}\nsplit:")
    before = names(folder)
    code, out, lines = lamdata("ingest", "bulk.yaml", "-o", "s.zarr", "--quiet")
    assert code == 1 and out == "" and "frames of bulk refused" in lines[0] and "max_refused" in lines[-1]
    assert any(line.startswith("  bulk-0.xyz#") and "max_force" in line for line in lines)
    assert names(folder) == before


def test_a_dataset_is_replaced_and_removed_by_name_only(folder: Path, lamdata) -> None:
    ingest = ("ingest", "bulk.yaml", "-o", "s.zarr", "--quiet")
    assert lamdata(*ingest)[0] == 0
    path = folder / "bulk-2.xyz"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:12]))  # two frames of four atoms
    code, _, (line,) = lamdata(*ingest)
    assert code == 2 and "1 of 3 files changed (bulk-2.xyz)" in line and "--replace" in line
    code, out, _ = lamdata(*ingest, "--replace")
    assert code == 0 and out.startswith("bulk: 8 frames (train ")
    assert "9" in lamdata("show", "s.zarr", "bulk", "--commit", "1", "--json")[1]
    code, _, (line,) = lamdata("rm", "s.zarr", "bluk")
    assert code == 1 and "did you mean `bulk`?" in line
    code, out, _ = lamdata("rm", "s.zarr", "bulk")
    assert code == 0 and out.startswith("removed bulk in commit 3")
    assert json.loads(lamdata("show", "s.zarr", "--commit", "2", "--json")[1])["datasets"]["bulk"]["splits"]["test"]["frames"] == 3
    freed = json.loads(lamdata("gc", "s.zarr", "--keep", "1", "--grace", "0", "--json")[1])
    assert freed["bytes"] > 0 and len([one for one in freed["freed"] if not one["segment"].startswith(("energies/", "sources/"))]) == 2
    code, _, (line,) = lamdata("show", "s.zarr", "--commit", "1")
    assert code == 1 and "there is no commit 1" in line


def test_two_cards_of_one_name_are_refused_before_anything_is_read(folder: Path, lamdata) -> None:
    (folder / "other.yaml").write_text((folder / "bulk.yaml").read_text())
    code, _, (line,) = lamdata("ingest", "bulk.yaml", "other.yaml", "-o", "s.zarr", "--quiet", "--replace")
    assert code == 2 and "dataset bulk is also that of bulk.yaml" in line and not (folder / "s.zarr").exists()


def test_a_folder_of_other_files_is_no_store(folder: Path, lamdata) -> None:
    before = names(folder)
    code, _, (line,) = lamdata("ingest", "bulk.yaml", "-o", ".", "--quiet")
    assert code == 2 and "there are files here, and no store" in line
    assert names(folder) == before


def test_damage_is_said_with_the_command_that_mends_it(folder: Path, lamdata) -> None:
    assert lamdata("ingest", "bulk.yaml", "-o", "s.zarr", "--quiet")[0] == 0
    energies = next((folder / "s.zarr/bulk").glob("*/positions/c/0/0"))
    energies.write_bytes(energies.read_bytes()[:-1])
    code, _, lines = lamdata("validate", "s.zarr", "--quiet")
    assert code == 1 and "`lamdata validate s.zarr --repair --catalog FOLDER`" in lines[-1]
    code, out, _ = lamdata("validate", "s.zarr", "--quiet", "--json")
    document = json.loads(out)  # one, with what was found and what to do
    assert code == 1 and len(document["findings"]) == 1 and document["errors"][0]["message"] == "1 findings"
    assert lamdata("validate", "s.zarr", "--repair", "--catalog", ".", "--quiet")[0] == 0


@pytest.mark.parametrize("args", [("show",), ("validate", "--json"), ("gc",), ("rm", "bulk"), ("export", "bulk", "-o", "x.extxyz")])
def test_a_file_is_no_store(folder: Path, lamdata, args: tuple[str, ...]) -> None:
    before = names(folder)
    code, out, (line,) = lamdata(args[0], "bulk-0.xyz", *args[1:])
    assert code == 1 and line.startswith(
        "error: bulk-0.xyz: this is a file, and a store is a folder; `lamdata init FOLDER --from bulk-0.xyz`"
    )
    assert ("--json" in args) == (out != "") and names(folder) == before


@pytest.mark.parametrize(
    "args", [("init", "s3://bucket/x", "--from", "bulk-0.xyz"), ("export", "s.zarr", "bulk", "-o", "gs://bucket/x.extxyz")]
)
def test_a_url_is_no_folder_to_write_into(folder: Path, lamdata, args: tuple[str, ...]) -> None:
    before = names(folder)
    code, _, (line,) = lamdata(*args)
    assert code == 2 and "is no folder of this machine" in line and names(folder) == before


def test_errors_of_usage_are_one_line_and_one_document(lamdata) -> None:
    for args, said in (
        (("ingest",), "Missing argument 'cards'"),
        (("ingset",), "No such command 'ingset'"),
        (("ls", "--elemnts", "O"), "--elemnts"),
    ):
        code, out, (line,) = lamdata(*args, "--json")
        assert code == 2 and said in line and "--help" in line and said in json.loads(out)["errors"][0]["message"]


def test_an_interrupted_command_says_so_and_how_to_go_on(folder: Path, lamdata, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lamdata.ingestion.preflight.missing_sources", stop)
    code, out, lines = lamdata("check", ".", "--json")
    assert (code, lines) == (130, ["error: interrupted; the same command goes on from there"])
    assert json.loads(out)["errors"][0]["message"] == "interrupted"
