"""A page in a real browser without a window: what it asks for, what it complains about, and what axe finds in it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 300_000  # ms
FLAGS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]  # as root, and in three dimensions without a graphics card
SERIOUS = ("serious", "critical")


@dataclass
class Seen:
    """What happened while a page was open."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@contextmanager
def opened(path: Path, *, dark: bool = False, width: int = 1100, height: int = 800) -> Iterator[tuple[Any, Seen]]:
    """The page, and what was seen. Skips where there is no browser."""
    missing = [name for name in ("playwright", "axe_playwright_python") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install 'lam[browser]'")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on the PATH, and none named by CHROMIUM")
    from playwright.sync_api import sync_playwright

    seen = Seen()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=FLAGS, timeout=PATIENCE)
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("console", lambda message: seen.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.goto(path.resolve().as_uri())
        yield page, seen
        browser.close()


def look_at_all(page: Any) -> None:
    """Go through all pictures, so that each is drawn."""
    for box in page.locator(".plot").all():
        box.scroll_into_view_if_needed()
        box.locator(".svg-container").first.wait_for()


def faults(page: Any) -> list[str]:
    """What axe finds that is serious or worse."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response
    assert len(found["passes"]) > 10
    return [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in found["violations"] if rule["impact"] in SERIOUS]


def save_picture(page: Any, name: str, **clip: float) -> None:
    """Leave what is in view in the folder that CARD_PICTURES names, where it does."""
    if folder := os.environ.get("CARD_PICTURES"):
        page.screenshot(path=Path(folder) / name, type="png")
