"""A store -> its card: the numbers are those of the store, texts stay texts, nothing is loaded, equal stores give equal bytes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from lamdata.card import content, content_of, dataset_page, sample, write_page
from lamdata.catalog import Card
from lamdata.cli import app
from lamdata.errors import ConfigError, StoreError
from lamdata.frame import Frame, Rejection
from lamdata.ingestion.in_hand import store_frames
from lamdata.store import Dataset, open_dataset, select
from tests.lamdata.stores import make_frames, write_store

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
CARD = {
    "dataset": "demo",
    "title": f"Silica {EVIL}",
    "contributors": [EVIL],
    "citations": [f"A. Uthor, https://doi.org/10.1000/1 {EVIL}"],
    "url": "javascript:alert(1)",
    "license": "CC-BY-NC-4.0",
    "notes": [f"<b>note</b> `{EVIL}`"],
    "theory": {"functional": f"PBE {EVIL}", "code": "VASP"},
    "checks": {"max_refused": 1.0},
    "split": {"validation": 0.2, "test": 0.2, "seed": 3},
}


class Read(HTMLParser):
    """Elements of a page with their attributes, the texts of its scripts, and all other text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.text, self._inside = "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def frames(count: int = 60) -> list[Frame]:
    rng, cell = np.random.default_rng(5), 5.0 * np.eye(3)
    out = []
    for i in range(count):
        numbers = np.array([14, 8, 8] if i % 3 else [14, 14, 8, 8, 8], np.uint8)
        places = np.linspace(0.2, 4.4, len(numbers))[:, None] + rng.uniform(-0.1, 0.1, (len(numbers), 3))
        forces = rng.normal(size=(len(numbers), 3))
        energy = -5.0 * len(numbers) + rng.normal(scale=0.1)
        labels: dict[str, Any] = {"energy": energy, "forces": forces - forces.mean(axis=0), "virial": np.eye(3) * rng.normal()}
        out.append(
            Frame(
                numbers=numbers, positions=places, cell=cell, pbc=(True,) * 3, group=f"g{i // 4}{EVIL}", origin=f"{EVIL}.xyz#{i}", **labels
            )
        )
    return out


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    url = tmp_path_factory.mktemp("card") / "demo.zarr"
    refused = [Rejection(origin=f"bad{EVIL}#{i}", reason="max_force", value=140.5 + i) for i in range(20)]
    refused.append(Rejection(origin="worse#0", reason="unconverged", value="self-consistency not reached"))
    store_frames(Card.model_validate(CARD), str(url), [*frames(), *refused], sources={"made": "0" * 64})
    return url


@pytest.fixture(scope="module")
def said(store: Path) -> dict[str, Any]:
    return content_of(str(store), quiet=True)


@pytest.fixture(scope="module")
def page(said: dict[str, Any]) -> Read:
    return Read(dataset_page(said).to_bytes().decode())


def test_the_numbers_are_those_of_the_store(store: Path, said: dict[str, Any], page: Read) -> None:
    whole, data = open_dataset(store), said["datasets"]["demo"]
    assert sum(part["frames"] for part in data["splits"].values()) == len(whole) == 60
    assert data["elements"] == {"O": {"atoms": 140, "frames": 60}, "Si": {"atoms": 80, "frames": 60}}
    assert [(one["counts"], one["frames"]) for one in data["sample"]["compositions"]] == [({"O": 2, "Si": 1}, 40), ({"O": 3, "Si": 2}, 20)]
    found = data["sample"]["histograms"]
    assert set(found) == set(sample.UNITS) - {"energy"} and found["force component"]["values"] == 3 * 220
    everything = whole.frames()
    assert found["force component"]["mean"] == pytest.approx(everything.forces.mean(), abs=1e-6)
    pressure = -np.trace(everything.virial, axis1=1, axis2=2).mean() / 3 / 125.0 / 0.00624150907446
    assert found["stress component"]["mean"] == pytest.approx(pressure / 2, rel=1e-3)  # shears are zero
    mass = np.where(np.arange(60) % 3, 28.085 + 2 * 15.999, 2 * 28.085 + 3 * 15.999).mean()
    assert found["density"]["mean"] == pytest.approx(mass * 1.66053906660 / 125.0, rel=1e-4)
    assert found["volume"]["low"] == pytest.approx(25.0) and found["volume"]["high"] == pytest.approx(125 / 3, rel=1e-4)
    for count in ("60", "140", "80"):
        assert count in page.text
    assert "CC-BY-NC-4.0 (non-commercial)" in page.text


def test_refused_frames_are_counted_and_some_of_each_reason_shown(said: dict[str, Any], page: Read) -> None:
    data = said["datasets"]["demo"]
    assert data["rejected"] == {"max_force": 20, "unconverged": 1}
    shown = [(row["reason"], row["value"]) for row in data["refused"]]
    assert len(shown) == 9 and shown[0] == ("max_force", "140.5") and shown[-1] == ("unconverged", "self-consistency not reached")
    assert f"bad{EVIL}#0" in page.text and "self-consistency not reached" in page.text


def test_texts_of_others_stay_texts(page: Read) -> None:
    assert len(page.scripts) == 3 and page.all("img") == []
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert all(re.match(r"https?://|#", link["href"]) for link in page.all("a"))
    assert "https://doi.org/10.1000/1" in [link["href"] for link in page.all("a")]
    for text in (f"Silica {EVIL}", "javascript:alert(1)", f"PBE {EVIL}", "<b>note</b>"):
        assert text in page.text
    assert EVIL not in page.scripts[0] and json.loads(page.scripts[0])["structures"][0]["frames"]


def test_nothing_is_loaded_and_only_our_scripts_may_run(page: Read) -> None:
    for tag, source in (("script", "src"), ("img", "src"), ("iframe", "src"), ("link", "href"), ("source", "src"), ("object", "data")):
        assert [one[source] for one in page.all(tag) if source in one and not one[source].startswith("data:")] == []
    styles = re.findall(r"url\(|@import", "".join(part for part in page.text.split("\n") if "{" in part))
    assert styles == []
    [policy] = [one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in page.scripts[1:]]
    assert policy.startswith("default-src 'none'; ") and f"script-src 'sha256-{hashes[0]}' 'sha256-{hashes[1]}';" in policy
    assert "plotly" in page.scripts[1][:300].lower()


def test_every_picture_has_its_numbers_beneath(said: dict[str, Any], page: Read) -> None:
    pictures = json.loads(page.scripts[0])["pictures"]
    boxes = [one for one in page.all("div") if "data-picture" in one]
    assert [int(one["data-picture"]) for one in boxes] == list(range(len(pictures))) and len(pictures) == 9
    assert all(one["role"] == "img" and len(one["aria-label"]) > 20 for one in boxes)
    assert sum(f"The numbers of {name}" in page.text for name in said["datasets"]["demo"]["sample"]["histograms"]) == 7
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:]))


def test_equal_stores_give_equal_bytes_also_in_another_process(store: Path, said: dict[str, Any], tmp_path: Path) -> None:
    write_page(dataset_page(said), tmp_path / "one.html")
    args = [sys.executable, "-m", "lamdata", "card", str(store), "-o", str(tmp_path / "two.html"), "--quiet"]
    done = subprocess.run(args, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    size = (tmp_path / "two.html").stat().st_size / 1e6
    assert done.stdout == f"{tmp_path / 'two.html'}: 1 datasets, 60 frames, {size:.3g} MB\n"
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["one.html", "two.html"]


def test_json_prints_what_is_on_the_page(store: Path, said: dict[str, Any], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["card", str(store), "demo", "-o", str(tmp_path / "card.html"), "--json", "--quiet"])
    found = json.loads(result.stdout)
    assert found["bytes"] == (tmp_path / "card.html").stat().st_size
    assert found["datasets"] == json.loads(json.dumps(said["datasets"])) and found["overlap"]["found"]["copies"] == {"demo": 0}


def test_what_it_says_to_type_runs(store: Path, said: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for tool, commands in said["datasets"]["demo"]["load"].items():
        if "shell" in commands:
            result = CliRunner().invoke(app, [*commands["shell"].split()[1:], "--quiet"])
            assert result.exit_code == 0, (tool, result.output)
        exec(commands["python"], {})
        assert capsys.readouterr().out, tool


def test_a_large_store_is_known_by_some_of_its_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_store(tmp_path, make_frames(640))
    dataset, read = open_dataset(tmp_path), []
    whole = Dataset.frames
    monkeypatch.setattr(Dataset, "frames", lambda self, start, stop: read.append((start, stop)) or whole(self, start, stop))
    found = sample.sample_of(dataset, frames=40).to_json()
    assert (found["frames"], found["of"], found["blocks"], found["of_blocks"]) == (48, 640, 3, 40) and len(read) == 3
    assert sample.sample_of(open_dataset(tmp_path), frames=40).to_json() == found
    monkeypatch.setattr(sample, "ATOMS", 1)
    assert sample.sample_of(dataset, frames=40).to_json()["blocks"] == 1


@pytest.mark.parametrize(
    "values",
    [
        np.full(7, 3.25),
        np.array([1e-9]),
        np.arange(20.0),
        np.r_[np.linspace(-1, 1, 5000), 1e6, -1e6],
        1e4 + 1e-9 * np.arange(50),
        np.zeros(3),
    ],
    ids=["equal", "one", "whole numbers", "far ones", "nearly equal", "zeros"],
)
def test_a_histogram_counts_every_value_once(values: np.ndarray) -> None:
    found = sample.histogram(values)
    assert sum(found["counts"]) + found["below"] + found["above"] == found["values"] == len(values)
    assert all(a < b for a, b in zip(found["edges"], found["edges"][1:])) and len(found["counts"]) == len(found["edges"]) - 1
    assert max(found["counts"]) < len(values) or len(np.unique(values)) < 2 or np.ptp(values) < 1e-4


def test_copies_are_looked_for_where_that_is_cheap(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "COMPARED", 10)
    found = content_of(str(store), quiet=True)["overlap"]
    assert found == {"command": f"lamdata overlap {store}", "frames": 60, "left": "at all", "found": None}


def test_a_page_has_room_for_so_many_datasets(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MOST", 0)
    with pytest.raises(ConfigError, match="holds 1 datasets, and a page at most 0; name one: `lamdata card .* demo -o card.html`"):
        content_of(str(store), quiet=True)


def test_a_view_has_a_card_of_its_own(store: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(store, tmp_path / "copy.zarr")
    select(str(tmp_path / "copy.zarr"), "demo", name="small", natoms=(1, 3))
    found = content_of(str(tmp_path / "copy.zarr"), "small", quiet=True)
    data = found["datasets"]["small"]
    assert data["view"]["of"] == "demo" and data["sample"]["frames"] == 40 and data["refused"] == []
    assert "view of" in dataset_page(found).to_bytes().decode()
    assert "demo" not in found["overlap"]["found"]["frames"]


def test_an_older_page_stays_where_the_new_one_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "card.html").write_text("old")
    result = CliRunner().invoke(app, ["card", str(tmp_path / "nothing.zarr"), "-o", str(tmp_path / "card.html"), "--quiet"])
    assert isinstance(result.exception, StoreError) and (tmp_path / "card.html").read_text() == "old"


def test_without_plotly_one_line_says_how_to_have_it(store: Path, tmp_path: Path) -> None:
    code = f"import sys; sys.modules['plotly'] = None; sys.argv = ['lamdata', 'card', {str(store)!r}, '-o', 'x.html']; from lamdata.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 3 and done.stderr == "error: plotly is not installed; pip install 'lam[cards]'\n"
