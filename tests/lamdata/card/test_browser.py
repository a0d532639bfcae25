"""Cards in a real browser: nothing leaves the page, nothing is complained of, all is drawn, structures turn, axe finds no serious fault."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lamdata import ingest, open_card
from lamdata.card import content_of, dataset_page, write_page
from lamdata.catalog import Card
from lamdata.ingestion.in_hand import store_frames
from tests.browser import faults, look_at_all, opened, save_picture
from tests.lamdata.card.test_card import CARD, frames

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "datasets"
QUICKSTART = ("qe-pbe", "cp2k-pade", "aflow-prototypes")
OPEN_MINI = ("mptrj-1k", "3BPA", "carbon_24")  # many elements, a molecule, crystals without labels


def card_of(folder: Path, cards: list[Path]) -> Path:
    for path in cards:
        ingest(open_card(path), str(folder / "store.zarr"), base=path.parent, quiet=True)
    write_page(dataset_page(content_of(str(folder / "store.zarr"), quiet=True)), folder / "card.html")
    return folder / "card.html"


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return card_of(tmp_path_factory.mktemp("quickstart"), [ROOT / f"catalogs/quickstart/{name}.yaml" for name in QUICKSTART])


def check(path: Path, *, dark: bool) -> None:
    with opened(path, dark=dark) as (page, seen):
        look_at_all(page)
        assert page.locator(".plot").count() > 10
        assert faults(page) == [] and seen.complaints == []
        assert seen.requests == [path.resolve().as_uri()]


@pytest.mark.slow  # a real browser draws some thirty pictures: tens of seconds on a processor
@pytest.mark.parametrize("dark", [False, True])
def test_the_card_of_quickstart_in_a_browser(quickstart: Path, dark: bool) -> None:
    check(quickstart, dark=dark)


@pytest.mark.slow  # raw files are parsed, and a real browser draws some thirty pictures
def test_the_card_of_open_mini_in_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not DATA.is_dir():
        pytest.skip(f"no sets in {DATA}")
    monkeypatch.setenv("OPEN_MINI", str(DATA))
    check(card_of(tmp_path, [ROOT / f"catalogs/open-mini/cards/{name}.yaml" for name in OPEN_MINI]), dark=False)


@pytest.mark.slow  # a real browser
def test_structures_turn_by_keys_and_follow_the_choice(quickstart: Path) -> None:
    with opened(quickstart) as (page, seen):
        viewer = page.locator(".viewer").first
        viewer.scroll_into_view_if_needed()
        viewer.locator("canvas").first.wait_for()
        page.wait_for_timeout(1000)
        shown = [viewer.screenshot()]
        for act in (
            lambda: viewer.locator("button").first.focus() or page.keyboard.press("Enter"),
            lambda: viewer.locator("select").select_option("1"),
        ):
            act()
            page.wait_for_timeout(1000)
            shown.append(viewer.screenshot())
        assert len(set(shown)) == 3 and seen.complaints == []


@pytest.mark.slow  # a real browser; writes the pictures of docs/cards.md where CARD_PICTURES names a folder
@pytest.mark.parametrize(
    ("heading", "name", "dark"),
    [("Elements", "card-elements.png", False), ("Distributions", "card-distributions.png", False), ("Examples", "card-examples.png", True)],
)
def test_what_is_under_a_heading_is_in_view(quickstart: Path, heading: str, name: str, dark: bool) -> None:
    with opened(quickstart, dark=dark, height=620) as (page, seen):
        at = page.locator("h3", has_text=re.compile(f"^{heading}$")).nth(0 if heading == "Elements" else -1)
        at.evaluate("box => box.scrollIntoView()")
        page.wait_for_timeout(3000)
        save_picture(page, name)
        assert at.is_visible() and seen.complaints == []


@pytest.mark.slow  # a real browser
def test_a_script_in_the_texts_of_a_store_does_not_run_nor_one_that_was_put_into_the_page(tmp_path: Path) -> None:
    store_frames(Card.model_validate(CARD), str(tmp_path / "evil.zarr"), frames(), sources={"made": "0" * 64})
    page_of_it = dataset_page(content_of(str(tmp_path / "evil.zarr"), quiet=True))
    write_page(page_of_it, tmp_path / "card.html")
    with opened(tmp_path / "card.html") as (page, seen):
        look_at_all(page)
        page.on("dialog", lambda dialog: seen.complaints.append(dialog.message))
        assert page.evaluate("document.scripts.length") == 3 and faults(page) == [] and seen.complaints == [] and len(seen.requests) == 1
    (tmp_path / "forged.html").write_bytes(
        page_of_it.to_bytes() + b"<script>window.hit = 1</script><img src='https://example.org/x.png' alt=''>"
    )
    with opened(tmp_path / "forged.html") as (page, seen):
        look_at_all(page)
        assert page.evaluate("window.hit") is None
        assert sum("Content Security Policy" in complaint for complaint in seen.complaints) == 2
