"""Keys that a card names: which frame lacks one is said, a key that no frame of a source has is an error, once, of the card."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lamdata.catalog import open_catalog
from lamdata.cli import app
from lamdata.errors import ConfigErrors
from lamdata.ingestion.asked import AskedKeys
from lamdata.ingestion.preflight import missing_sources

from .carbon_monoxide import atom, frame, run, source, write

FORCES = "keys: {forces: F_dft}"
LACKED = "forces: its key 'F_dft' is not there"


def with_key(energy: float, **options: float) -> str:
    """A frame whose forces are called F_dft."""
    return frame(energy, **options).replace("forces:R:3", "F_dft:R:3")


def some_files(folder: Path, *, having: int, count: int, **rest: str) -> Path:
    """A card of `count` files, of which the last `having` have the key."""
    card = write(folder, groups=0, sources=source(more=FORCES), **rest)
    for number in range(count):
        one = with_key if number >= count - having else frame
        (folder / f"co-{number:03d}.xyz").write_text("".join(one(-10.0 - 0.01 * number - f, stretch=0.01 * f) for f in range(2)))
    return card


def test_a_source_of_a_hundred_files_of_which_few_have_the_key_is_checked_and_ingested(tmp_path: Path) -> None:
    card = some_files(tmp_path, having=2, count=100)
    missing_sources(open_catalog(card))
    report = run(card)
    assert report.frames == 200 and report.left_out[LACKED]["frames"] == 196


@pytest.mark.parametrize("workers", [1, 2])
def test_a_key_that_no_file_has_is_one_error_and_nothing_is_stored(tmp_path: Path, workers: int) -> None:
    card = some_files(tmp_path, having=0, count=30)
    said = r"co-000.xyz#0: no frame of co-\*.xyz has the key 'F_dft' for forces; mend `keys:` of its source; there: forces: 'forces' is not read"
    with pytest.raises(ConfigErrors, match=said) as caught:
        run(card, workers=workers)
    assert len(caught.value.errors) == 1 and not (tmp_path / "s.zarr").exists()
    assert not [path for path in tmp_path.iterdir() if "staging" in path.name]
    with pytest.raises(ConfigErrors, match=r"co.yaml \(sources.0\): " + said) as caught:
        missing_sources(open_catalog(card))
    assert len(caught.value.errors) == 1


@pytest.mark.parametrize(
    "command", [["check", "{}"], ["ingest", "{0}", "-o", "{1}", "--quiet"], ["ingest", "{0}", "-o", "{1}", "--quiet", "--on-error", "skip"]]
)
def test_both_commands_end_with_the_exit_code_of_a_config(tmp_path: Path, command: list[str]) -> None:
    card = some_files(tmp_path, having=0, count=3)
    result = CliRunner().invoke(app, [word.format(card, tmp_path / "s.zarr") for word in command])
    assert isinstance(result.exception, ConfigErrors) and result.exception.exit_code == 2


def test_each_source_and_each_key_is_judged_by_itself(tmp_path: Path) -> None:
    rows = source("a.xyz", more=FORCES) + source("b.xyz", more="keys: {forces: F_dft, energy: E_dft}")
    card = write(tmp_path, groups=0, sources=rows)
    (tmp_path / "a.xyz").write_text(with_key(-10.0) + with_key(-10.5))
    (tmp_path / "b.xyz").write_text(frame(-9.0) + frame(-9.5))
    with pytest.raises(ConfigErrors) as caught:
        run(card)
    assert [error.where for error in caught.value.errors] == ["b.xyz#0", "b.xyz#0"]
    assert ["F_dft" in error.message for error in caught.value.errors] == [False, True]


def test_lone_atoms_need_no_forces_but_the_energy_that_the_card_names(tmp_path: Path) -> None:
    text = "1\nProperties=species:S:1:pos:R:3 E=-13.5 pbc='F F F'\nH 0 0 0\n"
    card = write(tmp_path, groups=0, sources=source("h.xyz", more="keys: {energy: E, forces: F}"))
    (tmp_path / "h.xyz").write_text(text * 3)
    missing_sources(open_catalog(card))
    card.write_text(card.read_text().replace("energy: E,", "energy: E0,"))
    with pytest.raises(ConfigErrors, match="has the key 'E0' for energy"):
        missing_sources(open_catalog(card))


def test_a_key_in_another_part_of_the_same_file_is_found(tmp_path: Path) -> None:
    card = write(tmp_path, groups=0, sources=source("co.xyz", group="frame", more=FORCES))
    (tmp_path / "co.xyz").write_text(
        atom("C", -1.0) + "".join(frame(-10 - 0.001 * i, stretch=0.0001 * i) for i in range(1200)) + with_key(-9.0)
    )
    missing_sources(open_catalog(card))
    assert run(card).left_out[LACKED]["frames"] == 1200


def test_what_pieces_saw_survives_as_plain_data_and_is_joined_in_order() -> None:
    one, two = AskedKeys([(0, "energy")], {(1, "forces"): ["a#0"]}), AskedKeys([], {(1, "forces"): ["b#0"], (0, "energy"): ["b#1"]})
    joined = AskedKeys().merge([AskedKeys.from_json(part.to_json()) for part in (one, two)])
    assert joined.to_json() == [[(0, "energy")], [[1, "forces", ["a#0"]], [0, "energy", ["b#1"]]]]
