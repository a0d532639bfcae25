"""What is implausible in a whole dataset is said by ingest and kept, and stops it only where the card says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamdata import ingest
from lamdata.catalog import Card, CheckSpec, SourceSpec
from lamdata.errors import DataError
from lamdata.listing import describe, print_description, print_report
from lamdata.places import open_place
from lamdata.store.commits import read_index
from tests.lamdata.test_plausibility import copper


def files(folder: Path, *, factor: float) -> None:
    """Copper whose virials are `factor` times too large."""
    text = ""
    for frame in copper(25):
        assert frame.cell is not None and frame.forces is not None and frame.virial is not None
        cell, virial = (" ".join(f"{x:.12g}" for x in table.ravel()) for table in (frame.cell, factor * frame.virial))
        text += f'4\nLattice="{cell}" Properties=species:S:1:pos:R:3:forces:R:3 energy={frame.energy:.12g} virial="{virial}"\n'
        for position, force in zip(frame.positions, frame.forces):
            text += "Cu " + " ".join(f"{x:.12g}" for x in (*position, *force)) + "\n"
    (folder / "run.xyz").write_text(text)


def card(**checks: object) -> Card:
    return Card(dataset="copper", title="copper", sources=[SourceSpec(path="run.xyz", format="extxyz")], checks=CheckSpec(**checks))


def test_a_finding_is_said_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files(tmp_path, factor=10.0)
    report = ingest(card(), str(tmp_path / "s.zarr"), base=tmp_path, quiet=True)
    assert report.frames == 25 and [one["kind"] for one in report.implausible] == ["virial_scale"]
    print_report(report)
    print_description(describe(str(tmp_path / "s.zarr"), "copper"))
    assert capsys.readouterr().out.count("kbar taken for GPa? (1: run.xyz#0)") == 2


def test_a_finding_stops_an_ingest_whose_card_says_so_and_nothing_is_stored(tmp_path: Path) -> None:
    files(tmp_path, factor=10.0)
    store = str(tmp_path / "s.zarr")
    for _ in range(2):
        with pytest.raises(DataError, match=r"(?s)1 findings in copper.*kbar taken for GPa.*nothing was stored"):
            ingest(card(implausible="fail"), store, base=tmp_path, quiet=True)
        assert read_index(open_place(store)) is None
    ingest(card(), store, base=tmp_path, quiet=True)
    with pytest.raises(DataError, match="kbar taken for GPa"):  # what is there was found implausible
        ingest(card(implausible="fail"), store, base=tmp_path, quiet=True)


def test_what_is_right_is_stored_where_findings_would_stop_it(tmp_path: Path) -> None:
    files(tmp_path, factor=1.0)
    report = ingest(card(implausible="fail"), str(tmp_path / "s.zarr"), base=tmp_path, quiet=True)
    assert report.frames == 25 and report.implausible == []


def test_the_name_of_a_segment_does_not_depend_on_what_becomes_of_findings(tmp_path: Path) -> None:
    files(tmp_path, factor=1.0)
    one, other = (
        ingest(card(**checks), str(tmp_path / f"{i}.zarr"), base=tmp_path, quiet=True).segment
        for i, checks in enumerate(({}, {"implausible": "fail"}))
    )
    assert one == other
