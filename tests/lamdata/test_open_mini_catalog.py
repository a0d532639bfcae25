"""OpenMini: cards of small public sets ingest from the folder that OPEN_MINI names, with their published counts, splits and theories."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamdata import ingest, open_store
from lamdata.catalog import Catalog, open_catalog
from lamdata.ingestion import IngestReport

ROOT = Path(__file__).resolve().parents[2]
CATALOG = ROOT / "catalogs" / "open-mini"
DATA = ROOT.parent / "shared" / "datasets"
FRAMES = {  # train, validation, test
    "3BPA": (860, 46, 94),
    "AcAc": (908, 92, 1360),
    "Fe-SNAP": (2001, 264, 252),
    "MAPbI3": (605, 62, 66),
    "NbMoTaW": (4766, 516, 376),
    "ROY": (210, 27, 27),
    "Ta-SNAP": (284, 37, 42),
    "TiO2": (832, 60, 108),
    "alexandria-1k": (764, 118, 118),
    "carbon_24": (3659, 209, 194),
    "mlearn-Ge": (216, 12, 25),
    "mlearn-Li": (228, 13, 29),
    "mlearn-Mo": (189, 5, 23),
    "mlearn-Si": (202, 12, 25),
    "mpf-TP": (877, 108, 84),
    "mptrj-1k": (801, 99, 100),
    "oxides-AM05": (218, 30, 47),
    "oxides-LDA": (218, 30, 47),
    "oxides-PBE": (218, 30, 47),
    "oxides-PBEsol": (218, 30, 47),
    "perov_5": (1707, 91, 95),
    "random-TP": (537, 77, 79),
    "water": (293, 27, 80),
}
LARGE = {"WBe-SNAP": (20878, 3121, 1420)}  # of 25,422, three are refused for a force above 100 eV/Å
PUBLISHED = {"mlearn-Li": 29, "mlearn-Mo": 23, "mlearn-Si": 25, "mlearn-Ge": 25, "NbMoTaW": 376, "AcAc": 1360}  # test frames
SLOW = pytest.mark.slow(reason="25,000 frames: half a minute")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return open_catalog(CATALOG)


def bring(catalog: Catalog, name: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> IngestReport:
    if not DATA.is_dir():
        pytest.skip(f"the public sets are not beside this checkout ({DATA.name})")
    monkeypatch.setenv("OPEN_MINI", str(DATA))
    return ingest(catalog.cards[name], str(store), base=CATALOG / "cards", quiet=True)


def test_there_is_a_count_of_every_card(catalog):
    assert sorted(catalog.cards) == sorted({**FRAMES, **LARGE})


def test_twenty_heads_with_labels_and_four_without(catalog):
    small, large = catalog.mixtures["open-mini-20"], catalog.mixtures["open-mini-24"]
    assert len({task.head for task in small.heads}) == 20
    denoise = [task for task in large.heads if task.task == "denoise"]
    assert [task for task in large.heads if task.task == "energy_force"] == list(small.heads) and len(denoise) == 4
    assert all(task.augment.noise.centered and task.augment.noise.relative for task in denoise)


def test_at_least_eight_theories_are_known(catalog):
    datasets = {task.dataset for task in catalog.mixtures["open-mini-20"].heads}
    known = {tuple(catalog.cards[name].theory.model_dump().values()) for name in datasets if catalog.cards[name].theory.functional}
    assert len(known) >= 8
    assert {catalog.cards[name].theory.functional for name in datasets} == {None, *"PBE PBEsol LDA AM05 SCAN PBE0 wB97X".split()}


def test_what_is_not_stated_is_null_and_said(catalog):
    for name in ("Ta-SNAP", "Fe-SNAP", "WBe-SNAP", "ROY"):
        card = catalog.cards[name]
        assert set(card.theory.model_dump().values()) == {None}
        assert any("not stated" in note for note in card.notes), name


def test_every_card_says_where_it_is_and_under_which_licence(catalog):
    for card in catalog.cards.values():
        assert card.url and card.license and card.counts and card.citations
        assert all(spec.path.startswith("$OPEN_MINI/") for spec in card.sources)


def test_no_theory_is_claimed_for_a_denoise_set_beyond_its_paper(catalog):
    assert catalog.cards["carbon_24"].theory.code == "CASTEP" and catalog.cards["perov_5"].theory.functional == "RPBE"


@pytest.mark.parametrize("name", [*FRAMES, *(pytest.param(name, marks=SLOW) for name in LARGE)])
def test_a_card_ingests_from_the_folder_that_the_user_names(catalog, tmp_path, monkeypatch, name):
    report = bring(catalog, name, tmp_path / "mini.zarr", monkeypatch)
    held = report.validation_frames, report.test_frames
    assert (report.frames - sum(held), *held) == {**FRAMES, **LARGE}[name]
    assert sum(report.rejected.values()) == (3 if name in LARGE else 0)
    if name in PUBLISHED:
        assert report.test_frames == PUBLISHED[name]
    dataset = open_store(str(tmp_path / "mini.zarr"))[name]
    assert dataset.theory == catalog.cards[name].theory
    if (elements := catalog.cards[name].elements) is not None:
        assert set(dataset.elements) == set(elements)
    labels = dataset.statistics.labels
    assert not labels if name in ("perov_5", "carbon_24", "ROY") else labels["energy"] == report.frames


def test_the_same_oxides_are_held_out_of_all_four_functionals():
    kept = {file.name.partition(".")[2]: set() for file in CATALOG.glob("cards/oxides-*.txt")}
    for file in CATALOG.glob("cards/oxides-*.txt"):
        lines = [line.rpartition("/")[2] for line in file.read_text().splitlines() if not line.startswith("#")]
        kept[file.name.partition(".")[2]].add(tuple(lines))
    assert {side: len(lists) for side, lists in kept.items()} == {"test.txt": 1, "validation.txt": 1}
    assert not set(*kept["test.txt"]) & set(*kept["validation.txt"])


def test_isolated_atoms_of_the_molecules_are_references(catalog, tmp_path, monkeypatch):
    report = bring(catalog, "3BPA", tmp_path / "mini.zarr", monkeypatch)
    assert {symbol: round(atom["energy"], 3) for symbol, atom in report.isolated_atoms.items()} == {
        "H": -13.587,
        "C": -1029.489,
        "N": -1484.981,
        "O": -2041.982,
    }
