"""MkDocs hook: what the packages say of themselves -> pages beside the written ones.

Nothing of this is kept in the repository, so a page cannot say what the code does not.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

from api import api_page
from commands import command_page
from formats import formats_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from specs import spec_page

ROOT = Path(__file__).resolve().parents[2]
PAGES_OF = {  # files of the repository and the pages that hold what they say
    "docs/design.md": "design.md",
    "docs/benchmarks.md": "benchmarks.md",
    "docs/predict.md": "predict.md",
    "docs/data-out.md": "data-out.md",
    "docs/selection.md": "selection.md",
    "docs/parity.png": "parity.png",
    "tests/parity/README.md": "parity.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
PAGES: dict[str, Callable[[], str]] = {
    "index.md": lambda: _from_repository("README.md"),
    "contributing.md": lambda: _from_repository("CONTRIBUTING.md"),
    "changelog.md": lambda: _from_repository("CHANGELOG.md"),
    "parity.md": lambda: _from_repository("tests/parity/README.md"),
    "commands/lamdata.md": lambda: command_page("lamdata"),
    "commands/lamtrain.md": lambda: command_page("lamtrain"),
    "yaml/card.md": lambda: spec_page("card"),
    "yaml/mixture.md": lambda: spec_page("mixture"),
    "yaml/train.md": lambda: spec_page("train"),
    "yaml/distil.md": lambda: spec_page("distil"),
    "yaml/benchmark.md": lambda: spec_page("benchmark"),
    "formats.md": formats_page,
    "api.md": api_page,
}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for uri, page in PAGES.items():
        files.append(File.generated(config, uri, content=page()))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Turn the name of a file that has a page into a link to it."""
    here = posixpath.dirname(page.file.src_uri) or "."

    def link(found: re.Match[str]) -> str:
        target = PAGES_OF.get(found[1])
        return f"[`{found[1]}`]({posixpath.relpath(target, here)})" if target else found[0]

    return re.sub(r"(?<![\[`])`([\w./-]+\.md)`", link, markdown)


def _from_repository(name: str) -> str:
    """A text of the repository, its pictures where the site has them."""
    return re.sub(r"\]\((docs/[\w.]+)\)", lambda found: f"]({PAGES_OF[found[1]]})", (ROOT / name).read_text())
