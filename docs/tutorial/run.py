"""The pages of the tutorial -> every command on them run, in order, in one empty folder, and what it printed beside what the page says.

    ./run tutorial                  compare; ends with 1 and the difference where a page says something else
    ./run tutorial --write          put what was printed into the pages, where they say something else
    ./run tutorial --folder X       work in X, which stays; --from 6-fine-tune.md goes on in it with that page

On a page, a block `console` holds commands after `$ ` with what they print below, `python` a script, whose output is the block `text` that follows, and a block with
`title="NAME"` the file NAME. Shown are standard output and those lines of standard error that begin with `error:` or `note:`.

A page and a run say the same when all words, marks and whole numbers are equal, and numbers with a decimal point or an exponent to a tenth, or to one unit of the last
digit: other processors round otherwise, and a training carries it on. `...` stands for anything: times, memory, what is left out. White space and the length of rules
do not count. A command that fails must say `error:`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGES = sorted(HERE.glob("[0-9]-*.md"))
BLOCK = re.compile(r'^```(\w+)(?: title="([^"\n]+)")?\n(.*?)^```$', flags=re.M | re.S)
TOKEN = re.compile(r"\.\.\.|[-+]?\d+\.\d+(?:e[-+]?\d+)?|[-+]?\d+e[-+]?\d+|[─━]+|\w+|\S")
TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a page does."""

    kind: str
    """`console`, `python` or `file`."""
    text: str
    """The command, the script, or what the file holds."""
    shown: str
    """What the page says it prints; of a file, its name."""
    place: tuple[int, int]
    """Where that stands in the text of the page."""


def steps(page: str) -> Iterator[Step]:
    """What a page does, in order."""
    blocks = list(BLOCK.finditer(page))
    for i, block in enumerate(blocks):
        kind, title, text = block.groups()
        if title is not None:
            yield Step("file", text, title, block.span(3))
        elif kind == "console":
            yield from _commands(text, block.start(3))
        elif kind == "python":
            after = blocks[i + 1] if i + 1 < len(blocks) else None
            follows = after is not None and after[1] == "text" and not page[block.end() : after.start()].strip()
            yield Step(
                "python", text, after[3] if after and follows else "", after.span(3) if after and follows else (block.end(), block.end())
            )


def _commands(text: str, start: int) -> Iterator[Step]:
    for found in re.finditer(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", text, flags=re.M):
        yield Step("console", found[1], found[2], (start + found.start(2), start + found.end(2)))


def tokens(text: str) -> list[str]:
    """Words, numbers and marks; a rule of a table is one mark."""
    return ["─" if token[0] in "─━" else token for token in TOKEN.findall(text)]


def same(shown: str, printed: str) -> bool:
    """Does a page say what was printed, by the rule above?"""
    wanted, found = tokens(shown), tokens(printed)
    i = j = 0
    star: tuple[int, int] | None = None  # the last `...`: where it stands, and how far it reaches
    while j < len(found):
        if i < len(wanted) and wanted[i] == "...":
            star, i = (i, j), i + 1
        elif i < len(wanted) and _equal(wanted[i], found[j]):
            i, j = i + 1, j + 1
        elif star is not None:
            star = (star[0], star[1] + 1)
            i, j = star[0] + 1, star[1]
        else:
            return False
    return all(token == "..." for token in wanted[i:])


def _equal(wanted: str, found: str) -> bool:
    if wanted == found:
        return True
    if not ({".", "e"} & set(wanted)) or not ({".", "e"} & set(found)):  # a whole number is a count
        return False
    try:
        one, other = float(wanted), float(found)
    except ValueError:
        return False
    digits, _, power = wanted.partition("e")
    unit = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
    return abs(one - other) <= max(TOLERANCE * max(abs(one), abs(other)), 1.001 * unit)


def do(step: Step, folder: Path) -> str:
    """Run a step; returns what it printed."""
    if step.kind == "file":
        (folder / step.shown).write_text(step.text)
        return ""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    python = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    # One thread: bits depend on their number, and which is fastest is found by a trial.
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "LAM": str(ROOT), "PATH": path, "PYTHONPATH": python, "PYTHONWARNINGS": "ignore"}
    environment.pop("LAM_REGISTRY", None)
    command = ["bash", "-c", step.text] if step.kind == "console" else [sys.executable, "-c", step.text]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    said = "".join(f"{line}\n" for line in done.stderr.splitlines() if line.startswith(("error:", "note:")))
    if done.returncode != 0 and "error:" not in said:
        raise SystemExit(f"{step.text}\nended with {done.returncode}\n{done.stdout}{done.stderr}")
    return "".join(f"{line.rstrip()}\n" for line in (done.stdout + said).splitlines())


def run_page(page: Path, folder: Path, *, write: bool) -> int:
    """Run a page in a folder; returns how many of its outputs are others, which `write` puts into it."""
    text = page.read_text()
    changed: list[tuple[tuple[int, int], str]] = []
    for step in steps(text):
        print(f"{page.name}: {step.shown if step.kind == 'file' else step.text.strip().splitlines()[0]}", file=sys.stderr, flush=True)
        printed = do(step, folder)
        if step.kind != "file" and not same(step.shown, printed):
            changed.append((step.place, printed))
            sys.stdout.writelines(unified_diff(step.shown.splitlines(True), printed.splitlines(True), f"{page.name}: page", "run"))
    if write:
        for (start, end), printed in reversed(changed):
            text = text[:start] + printed + text[end:]
        if changed:
            page.write_text(text)
    return len(changed)


def main() -> None:
    """Run the pages."""
    parser = argparse.ArgumentParser(description="Run the pages of the tutorial, and compare what they say with what is printed.")
    parser.add_argument("--write", action="store_true", help="Put what was printed into the pages.")
    parser.add_argument("--folder", type=Path, help="Work here, and leave it; otherwise in a temporary folder.")
    parser.add_argument(
        "--from", dest="first", default=PAGES[0].name, help="The first page, in a folder that holds what those before it left."
    )
    parser.add_argument("--until", default=PAGES[-1].name, help="The last page.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        pages = [page for page in PAGES if asked.first <= page.name <= asked.until]
        others = sum(run_page(page, folder, write=asked.write) for page in pages)
    print(f"{len(pages)} pages: " + (f"{others} outputs differ{'; written' if asked.write else ''}" if others else "all is as they say"))
    raise SystemExit(1 if others and not asked.write else 0)


if __name__ == "__main__":
    main()
