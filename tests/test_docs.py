"""The documentation: it builds without a warning, its links lead somewhere, it asks nobody for anything, and what it shows runs."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from tests.conftest import command

ROOT = Path(__file__).resolve().parents[1]
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}  # what a browser fetches by itself
NOT_FETCHED = {"canonical", "prev", "next"}  # relations of <link> that name a page


class Page(HTMLParser):
    """The anchors of a page, the links to elsewhere, and what a browser loads with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag in LOADED and LOADED[tag] in values and values.get("rel") not in NOT_FETCHED:
            self.loaded.append(values[LOADED[tag]])


REFERENCE = [  # pages that the code writes, as tables of what there is
    "commands/lamdata", "commands/lamtrain", "yaml/card", "yaml/mixture", "yaml/train", "yaml/distil", "yaml/benchmark", "formats",
]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `./run docs` builds it."""
    missing = [name for name in ("mkdocs", "material", "mkdocstrings") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install 'lam[docs]'")
    folder = tmp_path_factory.mktemp("site")
    args = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(args, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout + done.stderr == "", done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {path.relative_to(site).as_posix(): Page(path.read_text()) for path in site.rglob("*.html")}


def test_every_internal_link_leads_to_a_page_and_a_place_in_it(site: Path, pages: dict[str, Page]) -> None:
    checked = 0
    for name, page in pages.items():
        if name == "404.html":  # served at any depth, so its links are from the root
            continue
        for link in [*page.links, *page.loaded]:
            url = urlsplit(urljoin(f"https://here/{name}", link))
            if url.netloc != "here":
                continue
            target = unquote(url.path).lstrip("/")
            target += "index.html" if target.endswith("/") or not target else ""
            assert (site / target).is_file(), f"{name}: {link}"
            if url.fragment and target in pages:
                assert unquote(url.fragment) in pages[target].anchors, f"{name}: {link}"
            checked += 1
    assert checked > 1000


def test_a_page_loads_nothing_from_elsewhere(site: Path, pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        assert not [url for url in page.loaded if urlsplit(url).netloc], name
    for path in site.rglob("*.css"):
        assert not re.findall(r"url\(\s*['\"]?(?:https?:)?//[^)]*|@import[^;]*//[^;]*", path.read_text()), path


def test_every_page_of_the_documentation_is_there(pages: dict[str, Page]) -> None:
    wanted = [
        "concepts/store",
        "concepts/stream",
        "concepts/theory",
        "concepts/heads",
        "concepts/runs",
        "concepts/steps",
    ]
    wanted += REFERENCE
    wanted += [f"tutorial/{page.stem}" for page in (ROOT / "docs/tutorial").glob("*.md")]
    wanted += [
        "coming-from",
        "api",
        "plan",
        "data-out",
        "selection",
        "registry",
        "cards",
        "predict",
        "coverage",
        "compress",
        "fine-tune",
        "transfer",
        "leaderboard",
        "distil",
        "properties",
        "process",
        "water",
        "design",
        "benchmarks",
        "parity",
        "gpu",
        "contributing",
        "changelog",
    ]
    assert {f"{name}/index.html" for name in wanted} | {"index.html", "404.html"} == set(pages)


def test_every_command_format_key_and_public_name_has_its_place(pages: dict[str, Page]) -> None:
    import typer

    import lamdata
    import lamdata.cli
    import lamtrain.cli
    from lamdata.catalog import Card, Mixture
    from lamdata.sources.builtin import BUILTIN
    from lamtrain.config import TrainConfig
    from lamtrain.stages.compare.benchmark import Benchmark
    from lamtrain.stages.distil.config import DistilConfig

    for package in (lamdata, lamtrain):
        group = typer.main.get_command(package.cli.app)
        names = {f"{package.__name__}-{name}" for name in group.commands}  # type: ignore[attr-defined]
        assert names <= pages[f"commands/{package.__name__}/index.html"].anchors
    assert {name.replace("/", "") for name in BUILTIN} <= pages["formats/index.html"].anchors
    assert {f"lamdata.{module}.{name}" for name, module in lamdata._PUBLIC.items()} <= pages["api/index.html"].anchors
    for kind, model in (("card", Card), ("mixture", Mixture), ("train", TrainConfig), ("distil", DistilConfig), ("benchmark", Benchmark)):
        found = pages[f"yaml/{kind}/index.html"].anchors
        assert {name.lower() for name in [model.__name__, *model.model_json_schema()["$defs"]]} <= found


def test_no_cell_of_a_reference_is_empty(site: Path) -> None:
    """Every key, option and format says what it means: what the code leaves without a word shows here."""
    for page in REFERENCE:
        text = (site / page / "index.html").read_text()
        rows = re.findall(r"<tr>(.*?)</tr>", text, flags=re.S)
        assert rows and not [row for row in rows if re.search(r"<td[^>]*>\s*</td>", row)], page


def test_what_the_concepts_show_runs(tmp_path: Path) -> None:
    cards = tmp_path / "catalogs/quickstart"
    cards.parent.mkdir()
    cards.symlink_to(ROOT / "catalogs/quickstart")
    ingest = ["ingest", str(cards / "qe-pbe.yaml"), str(cards / "cp2k-pade.yaml"), "-o", "stores/quickstart.zarr", "--quiet"]
    subprocess.run(command("lamdata", *ingest), cwd=tmp_path, check=True)
    shown = 0
    for page in sorted((ROOT / "docs/concepts").glob("*.md")):
        blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.M | re.S)
        done = subprocess.run([sys.executable, "-c", "".join(blocks)], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{page.name}\n{done.stderr}"
        shown += len(blocks)
    assert shown >= 4
