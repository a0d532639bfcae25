"""The catalogs of the OpenLAM 2024 Q0 report: cards, mixtures and results agree with each other, with the report and with the facts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lamdata.catalog import Card, Catalog, open_catalog
from lamdata.located import read_yaml

ROOT = Path(__file__).resolve().parents[2]
OPENLAM = ROOT / "catalogs" / "openlam-2024q0"
DOWNSTREAM = ROOT / "catalogs" / "dpa2-downstream"
FACTS = ROOT.parent / "shared" / "facts" / "openlam.json"
KEYS = list(Card.model_fields)
STATED_ELSEWHERE = {  # theory that the facts state in words, outside their own fields for it
    ("Open_Catalyst_2020(OC20_Dataset)", "dispersion"): "none",  # "RPBE, no dispersion"
    ("MC2D", "spin"): "none",  # "spin unpolarised"
}


@pytest.fixture(scope="module")
def openlam() -> Catalog:
    return open_catalog(OPENLAM)


@pytest.fixture(scope="module")
def downstream() -> Catalog:
    return open_catalog(DOWNSTREAM)


@pytest.fixture(scope="module")
def results() -> dict:
    return read_yaml(OPENLAM / "results.yaml")[0]


@pytest.fixture(scope="module")
def facts() -> dict:
    if not FACTS.is_file():
        pytest.skip(f"the collected facts are not beside this checkout ({FACTS.name})")
    return json.loads(FACTS.read_text(encoding="utf-8"))


def weighted_mean(rows: list[dict], model: str, label: str) -> float:
    """sum_k w_k x_k / sum_k w_k of one column of the results."""
    return sum(row["weight"] * row[model][label] for row in rows) / sum(row["weight"] for row in rows)


def files() -> list[Path]:
    return sorted([*OPENLAM.rglob("*.yaml"), *DOWNSTREAM.rglob("*.yaml")])


def test_the_report_has_29_cards_and_the_paper_15_downstream_ones(openlam, downstream):
    assert len(openlam.cards) == 29
    assert len(downstream.cards) == 15
    assert not set(openlam.cards) & set(downstream.cards)


def test_each_card_stands_in_a_file_of_its_name(openlam, downstream):
    for catalog in (openlam, downstream):
        assert {name: catalog.files[name].name for name in catalog.cards} == {name: f"{name}.yaml" for name in catalog.cards}


def test_a_name_or_alias_means_one_dataset(openlam, downstream):
    words = [word for catalog in (openlam, downstream) for name, card in catalog.cards.items() for word in {name, *card.aliases}]
    assert sorted({word for word in words if words.count(word) > 1}) == []


def test_every_card_has_the_same_keys_in_the_same_order():
    optional = {"checks", "split", *Card.later}
    for file in files():
        data, _ = read_yaml(file)
        if "dataset" in data:
            assert list(data) == [key for key in KEYS if key in data], file
            assert set(KEYS) - set(data) <= optional, file
            assert len(data["theory"]) == 7, file


def test_files_are_plain_lines_that_fit_a_screen():
    for file in files():
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            fits = len(line) <= 140 or " " not in line.strip()
            assert fits and line == line.rstrip() and "\t" not in line, f"{file}:{number}"


@pytest.mark.parametrize(("model", "energy", "force"), [("dpa2-18", 18.6, 116.3), ("dpa2-29", 18.3, 123.6)])
def test_rows_reproduce_the_printed_weighted_means(results, model, energy, force):
    rows = [row for row in results["rows"] if row["in_mean"]]
    assert round(weighted_mean(rows, model, "energy"), 1) == energy == results["weighted_mean"][model]["energy"]
    assert round(weighted_mean(rows, model, "force"), 1) == force == results["weighted_mean"][model]["force"]
    assert sum(row["weight"] for row in rows) == pytest.approx(13.2)


def test_the_four_new_sets_are_left_out_of_the_means(results):
    new = [row for row in results["rows"] if not row["in_mean"]]
    assert [row["head"] for row in new] == ["Electrolyte", "SSE_new", "Organic_reactions", "Methane-combustion"]
    assert all(row["dpa2-18"] == {"energy": None, "force": None} for row in new)
    with_them = weighted_mean(results["rows"], "dpa2-29", "energy"), weighted_mean(results["rows"], "dpa2-29", "force")
    assert with_them == pytest.approx((23.8215116, 123.0651163))


def test_results_mixtures_and_cards_name_the_same_heads_with_the_same_weights(openlam, results):
    small, large = openlam.mixtures["openlam-2024q0-18"], openlam.mixtures["openlam-2024q0-29"]
    rows = [(row["head"], row["dataset"], row["weight"]) for row in results["rows"]]
    unreported = [(row["head"], row["dataset"]) for row in results["unreported"]]
    heads = [(task.head, task.dataset, task.weight) for task in large.heads]
    assert [(task.head, task.dataset, task.weight) for task in small.heads] == rows[:18] == heads[:18]
    assert heads[:22] == rows
    assert [(head, dataset) for head, dataset, _ in heads[22:]] == unreported
    assert sorted(dataset for _, dataset, _ in heads) == sorted(openlam.cards)
    for model in results["models"].values():
        assert model["mixture"] in openlam.mixtures


def test_a_row_of_the_report_is_the_name_or_an_alias_of_its_card(openlam, results):
    for row in [*results["rows"], *results["unreported"]]:
        card = openlam.cards[row["dataset"]]
        assert row["head"] in {card.dataset, *card.aliases}


def test_denoise_heads_are_the_seven_equilibrium_sets_and_say_why_their_weight(openlam, results):
    mixture = openlam.mixtures["openlam-2024q0-29"]
    denoise = [task for task in mixture.heads if task.task == "denoise"]
    assert denoise == list(mixture.heads[22:]) and len(denoise) == 7
    assert all(task.augment.noise is not None and task.augment.mask is not None for task in denoise)
    assert all(row["weight"] is None for row in results["unreported"])
    assert any("not published" in note and "1.0 each" in note for note in mixture.notes)
    total = sum(task.weight for task in mixture.heads)
    assert 1.84 * 13.2 / total == pytest.approx(1.004, abs=5e-4)  # the note's reason for a weight of 1.0


def test_unknown_formats_have_no_source_and_known_ones_an_example(openlam, downstream):
    for catalog in (openlam, downstream):
        for name, card in catalog.cards.items():
            text = catalog.files[name].read_text(encoding="utf-8")
            assert card.sources == []
            assert ("\n# sources:" in text) == (card.native_format is not None), name


def test_each_commented_source_is_valid_once_the_comment_marks_are_gone(openlam, tmp_path):
    for name, card in openlam.cards.items():
        if card.native_format is None:
            continue
        text = openlam.files[name].read_text(encoding="utf-8").replace("sources: []\n", "")
        path = tmp_path / name / "card.yaml"
        path.parent.mkdir()
        path.write_text(re.sub(r"^# (?=sources:|  - )", "", text, flags=re.M), encoding="utf-8")
        assert open_catalog(path).cards[name].sources, name


def test_known_traps_are_told(openlam):
    def told(name: str) -> str:
        return " ".join([*openlam.cards[name].known_defects, *openlam.cards[name].notes])

    assert "Anode" in openlam.cards["Cathode(Anode)_DPA_v1_0"].aliases and "Cathode-P" in told("Cathode(Anode)_DPA_v1_0")
    assert "SSE-abacus" in told("Solid_State_Electrolyte")
    assert {count.value for count in openlam.cards["HfO2_DPA_v1_0"].counts} >= {27660, 57154} and "twice" in told("HfO2_DPA_v1_0")
    assert "adsorption" in told("Open_Catalyst_2020(OC20_Dataset)")
    assert "-10 eV/atom" in told("ChemicalSimilarity") and openlam.cards["ChemicalSimilarity"].checks.volume_per_atom[0] > 0
    assert "610612509" in told("CALYPSO_database") and "H = E + pV" in told("CALYPSO_database")
    assert "charge" in told("ClusterIsomer")
    for name in ("Cathode(Anode)_DPA_v1_0", "SemiCond_DPA_v1_0", "AlMgCu_DPA_v1_0"):
        assert sum("train" in count.what for count in openlam.cards[name].counts) == 2, name


def test_what_the_facts_do_not_know_stayed_null(openlam, facts):
    for entry in [*facts["energy_force_sets"], *facts["denoise_sets"]]:
        card, name = openlam.cards[entry["name"]], entry["name"]
        dft = entry["dft"] or {}
        for field, fact in {"code": "code", "functional": "functional", "core": "basis_or_pseudopotential", "cutoff": "cutoff"}.items():
            assert dft.get(fact) is not None or getattr(card.theory, field) is None, (name, field)
        for field in ("dispersion", "hubbard_u", "spin"):
            assert getattr(card.theory, field) == STATED_ELSEWHERE.get((name, field)), (name, field)
        assert card.elements == (entry["elements"] if isinstance(entry["elements"], list) else None), name
        assert card.license == (entry["licence"] if isinstance(entry["licence"], str) else None), name
        assert card.url is None or entry["source_url"].startswith(card.url), name
        assert card.doi is None or card.doi in (entry["paper_doi"] or "") or card.doi in (entry["source_url"] or ""), name
        assert (card.native_format is None) == (entry["native_format"] is None), name


def test_counts_are_those_of_the_facts_and_no_others(openlam, downstream, facts):
    sets = [*facts["energy_force_sets"], *facts["denoise_sets"], *facts["downstream"]["sets"]]
    for entry in sets:
        card = (openlam.cards | downstream.cards)[entry["name"]]
        stated = {value for value in (entry["frames"] or {}).values() if value is not None}
        in_words = {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]+", entry.get("notes", ""))}
        counted = {count.value for count in card.counts}
        assert stated <= counted <= stated | in_words, entry["name"]


def test_downstream_cards_are_the_sets_of_the_facts(downstream, facts):
    assert sorted(downstream.cards) == sorted(entry["name"] for entry in facts["downstream"]["sets"])
    for name, card in downstream.cards.items():
        assert (card.license, card.doi, card.url, card.elements, card.native_format) == (None,) * 5, name
        assert (card.theory.code, card.theory.core, card.theory.cutoff, card.theory.hubbard_u, card.theory.spin) == (None,) * 5, name


def test_results_are_those_of_the_facts(results, facts):
    performance = {entry["name"]: entry["performance"] for entry in facts["energy_force_sets"]}
    for row in results["rows"]:
        fact = performance[row["dataset"]]
        assert (row["head"], row["weight"]) == (fact["report_row"], fact["weight"])
        for model, key in (("dpa2-18", "m18_1m"), ("dpa2-29", "m29_1p84m")):
            assert row[model] == {"energy": fact[key]["energy_rmse_meV_per_atom"], "force": fact[key]["force_rmse_meV_per_A"]}
