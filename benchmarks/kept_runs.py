"""The command of a benchmark of many runs: what is missing is done, one by one, and each result is in the file before the next run begins."""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lamtrain.files import replace_file

Results = dict[str, Any]


def slug(name: str) -> str:
    """A folder's name for a run."""
    return "".join(c if c.isalnum() else "-" for c in name)


def main(
    said: str | None,
    path: Path,
    *,
    prepare: Callable[[Path, Path], str],
    runs: Callable[[Path, str, Results], Iterator[tuple[str, Any]]],
    run: Callable[[Path, str, str, Any], Any],
    show: Callable[[Results], None],
    shown_after: bool = False,
    brief: Callable[[Any], Any] = lambda result: result,
) -> int:
    """Parse; with --show print what `path` holds, else do what it lacks. `said` is the script's docstring.

    `prepare` makes the store of (folder, datasets); `runs` of (folder, store, results) says names and what each is made of, and may look at what is there
    when its turn comes; `run` does one of (folder, store, name, what); `brief` is what is printed of its result.
    """
    parser = argparse.ArgumentParser(description=(said or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("datasets", type=Path, nargs="?")
    parser.add_argument("--only", default="*", help="runs by pattern of name")
    parser.add_argument("--show", action="store_true", help="print or draw what there is")
    options = parser.parse_args()
    results: Results = json.loads(path.read_text()) if path.exists() else {}
    if options.show:
        show(results)
        return 0
    if options.folder is None or options.datasets is None or not options.datasets.is_dir():
        print("name a folder to work in, and the folder of the datasets", file=sys.stderr)
        return 2
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    store = prepare(folder, options.datasets)
    for name, what in runs(folder, store, results):
        if name in results or not fnmatch.fnmatch(name, options.only):
            continue
        results[name] = run(folder, store, name, what)
        replace_file(path, (json.dumps(results, indent=1) + "\n").encode())
        print(name, brief(results[name]), flush=True)
    if shown_after:
        show(results)
    return 0
