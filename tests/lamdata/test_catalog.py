"""Cards and mixtures: every mistake at once, each with its place and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamdata.catalog import SplitSpec, open_card, open_catalog, open_mixture
from lamdata.errors import ConfigError, ConfigErrors

CARD = "dataset: {name}\ntitle: t\ntheory: {{code: {code}, functional: {functional}}}\n"
MIXTURE = """mixture: m
heads:
  - {head: a, dataset: one, task: energy_force, weight: 1.0}
  - {head: a, dataset: two, task: energy_force, weight: 2.0%s}
"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        open_catalog(path)
    return [str(error) for error in caught.value.errors]


def test_a_misspelt_key_is_named_with_its_place_and_the_nearest_key(tmp_path: Path) -> None:
    write(tmp_path, m="mixture: m\nheads:\n  - head: a\n    dataset: one\n    task: energy_force\n    wieght: 2\n")
    assert problems(tmp_path) == [f"{tmp_path}/m.yaml:6:5: unknown key 'wieght'; did you mean 'weight'?"]


def test_a_negative_weight_says_what_was_found(tmp_path: Path) -> None:
    write(tmp_path, m="mixture: m\nheads:\n  - {head: a, dataset: one, task: energy_force, weight: -1}\n")
    (line,) = problems(tmp_path)
    assert line.startswith(f"{tmp_path}/m.yaml:3:49: `heads.0.weight` is -1: ") and "greater than or equal to 0" in line


def test_all_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    write(tmp_path, a="dataset: a\n", b="dataset: b\ntitle: t\nsplit: {validation: 2}\nlicence: MIT\n", c="what: is this\n")
    lines = problems(tmp_path)
    assert len(lines) == 4
    assert any("a.yaml:1:1: key 'title' is missing" in line for line in lines)
    assert any("b.yaml:3:9: `split.validation` is 2" in line for line in lines)
    assert any("b.yaml:4:1: unknown key 'licence'; did you mean 'license'?" in line for line in lines)
    assert any("c.yaml:1:1: the first key says what a file is" in line for line in lines)


def test_two_theories_cannot_share_a_head_unless_the_mixture_says_why(tmp_path: Path) -> None:
    one, two = CARD.format(name="one", code="VASP 5.4", functional="PBE"), CARD.format(name="two", code="VASP 6.1", functional="RPBE")
    write(tmp_path, one=one, two=two, m=MIXTURE % "")
    (line,) = problems(tmp_path)
    assert "two and one cannot share head 'a': functional: RPBE against PBE" in line
    write(tmp_path, m=MIXTURE % ", allow_theory: [a test]")
    mixture, _ = open_mixture(tmp_path / "m.yaml")
    assert mixture.heads[1].allow_theory == ["a test"]


def test_equal_theories_share_a_head_whatever_the_release_of_the_code(tmp_path: Path) -> None:
    one, two = (CARD.format(name=name, code=f"VASP {release}", functional="PBE") for name, release in (("one", "5.4.4"), ("two", "6.1")))
    write(tmp_path, one=one, two=two, m=MIXTURE % "")
    assert len(open_catalog(tmp_path).cards) == 2


def test_unknown_functionals_cannot_be_shown_to_agree(tmp_path: Path) -> None:
    write(tmp_path, one="dataset: one\ntitle: t\n", two="dataset: two\ntitle: t\n", m=MIXTURE % "")
    assert "functional is unknown in both" in problems(tmp_path)[0]


def test_a_dataset_without_a_card_is_named(tmp_path: Path) -> None:
    write(tmp_path, one="dataset: one\ntitle: t\n", m="mixture: m\nheads:\n  - {head: a, dataset: oen, task: energy_force}\n")
    assert problems(tmp_path) == [f"{tmp_path}/m.yaml:3:15: no card for dataset 'oen'; did you mean 'one'?"]


def test_a_guessed_unit_must_be_confirmed(tmp_path: Path) -> None:
    path = write(tmp_path, a='dataset: a\ntitle: t\nsources:\n  - {path: x.xyz, units: {energy: "eV?"}}\n') / "a.yaml"
    with pytest.raises(ConfigErrors, match="a guess to be confirmed"):
        open_card(path)


def test_a_wrong_unit_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, a="dataset: a\ntitle: t\nsources:\n  - {path: x.xyz, units: {energy: hartree}}\n") / "a.yaml"
    with pytest.raises(ConfigErrors, match="did you mean 'Hartree'"):
        open_card(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset: a\ndataset: b\n", "key 'dataset' appears twice"),
        ("dataset: &x a\ntitle: *x\n", "anchors and aliases are not allowed"),
        ("dataset: !!python/object:os.system a\n", "not allowed"),
        ("dataset: [a\n", "not YAML"),
        ("[" * 1200, "not YAML|nested too deeply"),
        (f"dataset: a\ntitle: t\nsplit: {{seed: {'9' * 6000}}}\n", "a.yaml:3:15: not a number: '9999"),
        ("dataset: a\0b\n", "not YAML: unacceptable character #x0000: .* position 10$"),
    ],
)
def test_yaml_is_data_only(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        open_card(tmp_path / "a.yaml")


def test_elements_that_look_like_booleans_stay_text(tmp_path: Path) -> None:
    path = write(tmp_path, a="dataset: a\ntitle: t\nelements: [No, Y, N, O]\n") / "a.yaml"
    assert open_card(path).elements == ["No", "Y", "N", "O"]


def deal(split: SplitSpec, groups: list[str]) -> list[str]:
    return [split.deal(group) for group in groups]


def test_the_split_is_a_function_of_the_group_alone() -> None:
    groups = [f"group-{i}" for i in range(4000)]
    sides = deal(SplitSpec(validation=0.25, test=0.15, seed=3), groups)
    assert sides == deal(SplitSpec(validation=0.25, test=0.15, seed=3), groups)
    assert 0.22 < sides.count("validation") / len(groups) < 0.28 and 0.12 < sides.count("test") / len(groups) < 0.18
    assert sides != deal(SplitSpec(validation=0.25, test=0.15, seed=4), groups)


def test_a_test_share_takes_no_group_from_validation() -> None:
    groups = [f"group-{i}" for i in range(500)]
    before, after = (deal(SplitSpec(validation=0.2, test=share, seed=5), groups) for share in (0.0, 0.2))
    assert [side == "validation" for side in before] == [side == "validation" for side in after]
    assert "test" not in before and "test" in after


def test_a_card_that_names_only_validation_has_no_test_set_and_one_without_a_split_has_both(tmp_path: Path) -> None:
    path = write(tmp_path, a="dataset: a\ntitle: t\nsplit: {validation: 0.2}\n", b="dataset: b\ntitle: t\n")
    assert open_card(path / "a.yaml").split.shares == (0.2, 0.0)
    assert open_card(path / "b.yaml").split.shares == (0.1, 0.1)


def test_what_a_card_does_not_use_is_not_written(tmp_path: Path) -> None:
    """So that a card from before a key existed gives the same bytes."""
    path = write(tmp_path, a="dataset: a\ntitle: t\nsources: [{path: x.xyz}]\nsplit: {validation: 0.2}\n") / "a.yaml"
    written = open_card(path).model_dump(mode="json")
    assert written["split"] == {"validation": 0.2, "seed": 0}
    assert "isolated_atoms" not in written and "split" not in written["sources"][0] and "max_refused" not in written["checks"]
    used = open_card(write(tmp_path, a="dataset: a\ntitle: t\nsplit: {test: held.txt}\nisolated_atoms: {Si: -0.8}\n") / "a.yaml")
    assert used.model_dump(mode="json")["split"] == {"validation": 0.1, "test": "held.txt", "seed": 0}
    assert type(used).model_validate(used.model_dump(mode="json")) == used


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("split: {validation: 0.6, test: 0.4}", "leave none to train on"),
        ("split: {test: 1.5}", "`split.test` is 1.5: a share is at least 0 and less than 1"),
        ("sources: [{path: a.xyz, keys: {force: F_dft}}]", "no label is called 'force'; did you mean 'forces'?"),
        ("sources: [{path: a.xyz, split: tset}]", "'train', 'validation' or 'test'"),
        ("split: {validation: .inf}", "`split.validation` is inf: input should be a finite number, or input should be a valid string"),
        ("license: [" + "a" * 300 + "]", "`license`: input should be a valid string"),
        ("url: 7" + "7" * 300, "`url` is 7777"),
        ("isolated_atoms: {Xy: -1.0}", "'Xy' is no element"),
        ("isolated_atoms: {X: -1.0}", "'X' is no element"),
        ("checks: {max_refused: 1.5}", "less than or equal to 1"),
    ],
)
def test_a_card_that_says_nothing_possible_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, a=f"dataset: a\ntitle: t\n{text}\n")
    (line,) = problems(tmp_path)
    assert message in line and line.startswith(f"{tmp_path}/a.yaml:3:") and len(line) < len(str(tmp_path)) + 200


def test_a_card_and_a_mixture_of_one_name_each_know_their_file(tmp_path: Path) -> None:
    write(tmp_path, one="dataset: one\ntitle: t\n", two="mixture: one\nheads: [{head: a, dataset: one, task: energy_force}]\n")
    catalog = open_catalog(tmp_path)
    assert catalog.files == {"one": tmp_path / "one.yaml"} and catalog.mixture_files == {"one": tmp_path / "two.yaml"}
    assert open_mixture(tmp_path / "two.yaml")[0].mixture == "one"
