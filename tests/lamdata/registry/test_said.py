"""What is said of a version: licences, Croissant, the front matter of Hugging Face, pages, search."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import pytest

from lamdata.errors import DataError
from lamdata.located import parse_yaml
from lamdata.registry import draft_dataset, publish, search
from lamdata.registry.licences import accepted_of, problems_of
from tests.lamdata.registry.made import make_store, published

HOSTILE = """<script>alert(1)</script> | "quotes" 'and'\n---\nlicense: mit"""


@pytest.mark.parametrize(
    ("licence", "problems"),
    [
        ("MIT", []),
        ("CC BY 4.0", []),
        ("CC-BY-SA-4.0", []),
        ("GPL-3.0-or-later", []),
        ("CC-BY-NC-4.0", ["NC"]),
        ("cc by nd 4.0", ["ND"]),
        ("CC-BY-NC-ND-4.0", ["NC", "ND"]),
        ("MIT AND CC-BY-NC-4.0", ["NC"]),
        ("MIT OR CC-BY-NC-4.0", []),
        ("CC-BY-NC-4.0 OR CC-BY-NC-ND-4.0", ["NC"]),
        ("see the paper", ["unknown"]),
        ("proprietary AND CC-BY-NC-4.0", ["unknown", "NC"]),
        ("", ["unknown"]),
        (None, ["unknown"]),
    ],
)
def test_what_stands_against_a_licence(licence: str | None, problems: list[str]) -> None:
    assert problems_of(licence) == problems


def test_a_roll_up_names_every_dataset_and_every_flag() -> None:
    licences = {"a": "MIT", "b": None, "c": "CC-BY-NC-4.0"}
    with pytest.raises(DataError) as caught:
        accepted_of(licences, [], where="model.pt")
    assert "b is not known; c is 'CC-BY-NC-4.0', non-commercial" in str(caught.value)
    assert "`--accept unknown --accept NC`" in str(caught.value)
    with pytest.raises(DataError, match="the licence of b is not known; .*`--accept unknown`"):
        accepted_of(licences, ["NC"], where="model.pt")
    assert accepted_of(licences, ["NC", "unknown", "ND"], where="model.pt") == ["unknown", "NC"]


def test_croissant_describes_each_file_with_size_hash_and_a_way_to_it(tmp_path: Path) -> None:
    folder = published(tmp_path, contributors=["A. Uthor"], doi="10.1/x") / "demo@1.0.0"
    said = json.loads((folder / "croissant.json").read_text())
    assert said["conformsTo"] == "http://mlcommons.org/croissant/1.1" and said["@type"] == "sc:Dataset"
    assert (said["version"], said["license"], said["url"]) == ("1.0.0", "CC-BY-4.0", "https://doi.org/10.1/x")
    assert said["citeAs"] == "A. Uthor (2026)" and said["creator"] == [{"@type": "sc:Person", "name": "A. Uthor"}]
    listed = json.loads((folder / "files.json").read_text())
    files = {row["contentUrl"]: [int(row["contentSize"].removesuffix(" B")), row["sha256"]] for row in said["distribution"]}
    pages = ("croissant.json", "index.html", "SHA256SUMS")
    assert files == {path: file for path, file in listed.items() if path not in pages}
    assert len({row["@id"] for row in said["distribution"]}) == len(files)
    units = {row["name"]: row["unitText"] for row in said["variableMeasured"]}
    assert units == {"energy": "eV", "forces": "eV/Angstrom", "virial": "eV"}


def test_the_validator_of_croissant_finds_no_error_and_no_warning(tmp_path: Path) -> None:
    if find_spec("mlcroissant") is None:
        pytest.skip("mlcroissant not installed: pip install 'lam[croissant]'")
    path = published(tmp_path) / "demo@1.0.0/croissant.json"
    code = "import sys, mlcroissant; d = mlcroissant.Dataset(sys.argv[1]).metadata; print(d.ctx.issues.report() or d.ctx.conforms_to.value)"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout.strip() == "http://mlcommons.org/croissant/1.1", done.stdout + done.stderr


def test_the_front_matter_is_what_hugging_face_reads(tmp_path: Path) -> None:
    text = (published(tmp_path, title=HOSTILE) / "demo@1.0.0/README.md").read_text()
    _, front, body = text.split("---\n", 2)
    said, _ = parse_yaml(front, where="README.md")
    assert said["license"] == "cc-by-4.0" and said["size_categories"] == ["n<1K"]
    assert " ".join(said["pretty_name"].split()) == " ".join(HOSTILE.split())
    assert "<script>" not in body and body.count("\nlicense: mit") == 0 and "| CC-BY-4.0 |" in body
    other = make_store(tmp_path / "other.zarr", license="ask me")
    publish(draft_dataset(str(other), "demo", version="2.0.0", accept=["unknown"]), str(tmp_path / "registry"), quiet=True)
    front = (tmp_path / "registry/demo@2.0.0/README.md").read_text().split("---\n", 2)[1]
    said, _ = parse_yaml(front, where="README.md")
    assert (said["license"], said["license_name"]) == ("other", "ask me")


class Links(HTMLParser):
    """What a page links to and loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def test_pages_lead_to_every_file_and_run_nothing(tmp_path: Path) -> None:
    registry = published(tmp_path, title=HOSTILE)
    front, version = (Links((registry / name).read_text()) for name in ("index.html", "demo@1.0.0/index.html"))
    assert [unquote(link) for link in front.links] == ["demo@1.0.0/index.html"]
    assert all((registry / "demo@1.0.0" / unquote(link)).is_file() for link in version.links) and len(version.links) > 40
    assert not (front.tags | version.tags) & {"script", "img", "iframe", "link", "object"}


def test_search_finds_by_word_kind_element_and_licence(tmp_path: Path) -> None:
    registry = published(tmp_path)
    other = make_store(tmp_path / "other.zarr", name="second", seed=5, license="MIT", theory={"functional": "SCAN"})
    for version in ("0.10.0", "0.9.0"):
        publish(draft_dataset(str(other), "second", version=version), str(registry), quiet=True)

    def found(*words: str, **filters: object) -> list[str]:
        return [entry.address for entry in search(str(registry), words, **filters)]  # type: ignore[arg-type]

    assert found() == ["demo@1.0.0", "second@0.9.0", "second@0.10.0"]
    assert found("pbe") == found("uthor", "demo") == ["demo@1.0.0"] and found("pbe", "second") == []
    assert found("scan", license="mit") == found("second") and found(kind="model") == []
    element = next(iter(search(str(registry))[0].elements))
    assert "demo@1.0.0" in found(elements=[element])
    with pytest.raises(ValueError, match="'Xx' is no element"):
        found(elements=["Xx"])
