"""Files of one card whose theories differ are refused, by ingest and by check, with two files and the field."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamdata.catalog import open_catalog
from lamdata.errors import ConfigErrors, DataError
from lamdata.ingestion.preflight import missing_sources
from lamdata.ingestion.theories import Theories
from tests.lamdata.sources.codes.outcars import HEAD, step

from .carbon_monoxide import run

CHECKS = "checks: {max_force: null, net_force: null, virial_asymmetry: null, min_distance: null}"
CARD = "dataset: water\ntitle: Water\nsources:\n  - {path: runs, members: '*/OUTCAR', format: vasp/outcar, group: frame}\n%s\n"
HYBRID = "   LHFCALC =     T    Hartree Fock is set to\n   HFSCREEN=    0.2000\n   AEXX    =    0.2500\n"


def write(folder: Path, *heads: str, rest: str = "") -> Path:
    """Runs `0/OUTCAR`, ... and a card that states no theory."""
    for number, head in enumerate(heads):
        (folder / f"runs/{number}").mkdir(parents=True)
        (folder / f"runs/{number}/OUTCAR").write_text(head + step(1))
    (folder / "water.yaml").write_text(CARD % f"{CHECKS}\n{rest}")
    return folder / "water.yaml"


HSE06 = HEAD.replace("   LHFCALC =     F    Hartree Fock is set to\n", HYBRID)
OTHERS = {
    "functional": (HSE06, r"functional is PBE in runs/0/OUTCAR and HSE06 in runs/2/OUTCAR"),
    "cutoff": (HEAD.replace("ENCUT  =  400.0", "ENCUT  =  520.0"), r"cutoff is 400.0 in runs/0/OUTCAR and 520.0 in runs/2/OUTCAR"),
    "spin": (HEAD.replace("ISPIN  =      1", "ISPIN  =      2"), r"spin is none in runs/0/OUTCAR and collinear in runs/2/OUTCAR"),
    "core": (
        HEAD.replace("TITEL  = PAW_PBE O 08Apr2002", "TITEL  = PAW_PBE O_s 07Sep2000"),
        r"core of O is PAW_PBE O .*0/OUTCAR and PAW_PBE O_s",
    ),
    "hubbard_u": (
        HEAD + "   LDAU   =     T\n   LDAUL =    2    -1\n   LDAUU =    4.0  0.0\n   LDAUJ = 0.0 0.0\n",
        "hubbard_u is none in runs/0/OUTCAR",
    ),
}


@pytest.mark.parametrize("field", OTHERS)
def test_files_that_differ_are_refused_by_ingest_and_by_check(tmp_path: Path, field: str) -> None:
    other, message = OTHERS[field]
    card = write(tmp_path, HEAD, HEAD, other)
    with pytest.raises(DataError, match=f"the files of water differ in theory: .*{message}"):
        run(card)
    assert not (tmp_path / "s.zarr").exists()
    with pytest.raises(ConfigErrors, match=message):
        missing_sources(open_catalog(tmp_path))


def test_the_card_may_say_why(tmp_path: Path) -> None:
    card = write(tmp_path, HEAD, HSE06, rest="allow_theory: [a test of mixing]\nsplit: {validation: 0.0}")
    missing_sources(open_catalog(tmp_path))
    assert run(card).frames == 2


def test_check_says_which_sources_it_could_not_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, HEAD, HEAD)
    assert missing_sources(open_catalog(tmp_path)) == {}
    for file in tmp_path.glob("*.yaml"):
        file.write_text(file.read_text().replace("path: ", "path: $RAW/"))
    monkeypatch.delenv("RAW", raising=False)
    assert sum(missing_sources(open_catalog(tmp_path)).values()) >= 1
    monkeypatch.setenv("RAW", str(tmp_path))
    assert missing_sources(open_catalog(tmp_path)) == {}
    monkeypatch.setenv("RAW", str(tmp_path / "none"))
    with pytest.raises(ConfigErrors, match="RAW is not the path of a folder"):
        missing_sources(open_catalog(tmp_path))


def test_a_file_that_contradicts_its_card_is_found_by_check(tmp_path: Path) -> None:
    write(tmp_path, HEAD, HEAD, rest="theory: {functional: PBEsol}")
    with pytest.raises(ConfigErrors, match="functional is PBE in the file, PBEsol in the card"):
        missing_sources(open_catalog(tmp_path))


def test_another_compound_has_other_potentials_and_another_release_is_the_same_program() -> None:
    one, two = Theories(), Theories()
    one.add("a", {"code": "VASP 5.4.4", "core": "PAW_PBE O 08Apr2002, PAW_PBE Fe_pv 02Aug2007", "hubbard_u": "Fe 5.3 eV", "cutoff": 520.0})
    two.add("b", {"code": "VASP 6.1", "core": "PAW_PBE O 08Apr2002, PAW_PBE Ni_pv 06Sep2000", "hubbard_u": "Ni 6.2 eV", "cutoff": 520.1})
    both = Theories.from_json(Theories().merge([one, two]).to_json())
    assert both.differences == []
    three = Theories()
    three.add("c", {"hubbard_u": "Fe 4.0 eV, Ni 6.2 eV"})
    assert both.merge([three]).differences == ["hubbard_u of Fe is Fe 5.3 eV in a and Fe 4.0 eV in c"]


@pytest.mark.parametrize(("one", "other"), [("6-31G(d)", "def2-TZVP"), ("C.pbe.UPF, Si.pbe.UPF", "C.pz.UPF"), ("DZVP", "TZVP")])
def test_basis_sets_and_pseudopotentials_are_compared(one: str, other: str) -> None:
    theories = Theories()
    theories.add("a", {"core": one})
    theories.add("b", {"core": other})
    (line,) = theories.differences
    assert "core" in line and "in a and" in line and line.endswith("in b")
