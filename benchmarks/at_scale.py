"""A store of 10^9 frames and of 10^5 datasets, simulated: what it takes to open, list, plan, read, commit and validate.

    python benchmarks/at_scale.py [--frames 1000000000] [--datasets 1000,10000,100000] [--json FILE]

A segment of 200,000 frames is written once. A dataset of 10^9 frames names it again and again, as often as it takes: the reader cannot tell, and the disk stays
small; so caches of the disk are kinder than they would be. Datasets are cards of a usual size with statistics of 30 elements, each with that one segment; a first
commit of them is made at once, as if it were merged by a writer of the last. Each row is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from peers import data, ours

from lamdata.catalog import Card
from lamdata.elements import SYMBOLS
from lamdata.places import open_place
from lamdata.statistics import Statistics
from lamdata.store.commits import DatasetEntry, Index, commit, read_index
from lamdata.store.pages import with_entry

SEGMENT = 200_000
STEPS = {  # name -> what is timed; `url`, `name` and `clock` are given, `said` is told beside
    "open": "store = open_store(url); said = len(store)",
    "open one": "said = len(open_dataset(url, name).segments)",
    "count": "said = len(open_dataset(url, name))",
    "plan": "stream = stream_of(open_dataset(url, name)); said = len(stream.heads[0].dataset.block_counts)",
    "first batch": "stream = stream_of(open_dataset(url, name)); said = len(next(iter(stream)))",
    "from the middle": "stream = stream_of(open_dataset(url, name), position=MIDDLE); said = len(next(iter(stream)))",
    "list": "said = len(list_datasets(url))",
    "commit": "entry = open_store(url).entry(name); said = commit(url, 'new', entry.segments[:1], {})",
}
CODE = """
import json, sys, time
sys.path.insert(0, {here!r})
from measure import peak_rss
from lamdata.listing import list_datasets
from lamdata.store import commit, open_dataset, open_store
from lamdata.stream import Stream, StreamHead
url, name, MIDDLE = sys.argv[1], sys.argv[2], int(sys.argv[3])
def stream_of(dataset, position=0):
    return Stream([StreamHead(name="h", dataset=dataset)], seed=0, batch_frames=64, threads=0, position=position)
before, wall, cpu = peak_rss(), time.perf_counter(), time.process_time()
{step}
print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall, peak_rss() - before, said]))
"""


def main() -> None:
    """Write once, name it often, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10**9)
    parser.add_argument("--datasets", type=lambda text: [int(x) for x in text.split(",")], default=[1000, 10_000, 100_000])
    parser.add_argument("--json")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        ours.write(data.make(SEGMENT), folder, profile="fast")
        entry = read_index(open_place(folder)).entry("ragged").segments[0]
        commit(folder, "large", [entry] * (options.frames // SEGMENT), {})
        print(f"one dataset of {options.frames:,} frames, a commit of {_size(Path(folder)) / 1e6:.2f} MB")
        rows += [_row(step, folder, "large", options.frames // 2, frames=options.frames) for step in STEPS if step != "list"]
        for count in options.datasets:
            many = Path(folder) / f"many-{count}"
            _write_many(many, entry, count, segment=Path(folder) / entry.path)
            before = _pages(many)
            print(f"{count:,} datasets, a commit of {_size(many) / 1e6:.2f} MB, pages of {before / 1e6:.2f} MB")
            steps = ("open", "open one", "plan", "first batch", "list", "commit")
            rows += [_row(step, str(many), "d0000007", 0, datasets=count) for step in steps]
            print(f"  the last step wrote {_size(many) / 1e6:.2f} MB, and {(_pages(many) - before) / 1e6:.2f} MB of pages")
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1))


def _write_many(folder: Path, entry, count: int, *, segment: Path) -> None:
    """A first commit of many datasets, all with the one segment."""
    elements = {symbol: 1000 * z for z, symbol in enumerate(SYMBOLS[1:31], 1)}
    card = Card(dataset="d", title="x" * 200, notes=["y" * 1000], license="CC0-1.0", theory={"functional": "PBE"})
    statistics = Statistics(frames=SEGMENT, atoms=entry.atoms, smallest=2, largest=200, element_atoms=elements, element_frames=elements)
    meta = {
        "card": card.model_dump(mode="json"),
        "statistics": dict.fromkeys(("train", "validation"), statistics.to_json()),
        "sources": "sources/0123456789abcdef.json",
        "rejected": {},
        "references": {"energies": dict.fromkeys(elements, -1.23456789), "frames": SEGMENT},
    }
    one = DatasetEntry(segments=(entry,), meta=meta).to_json()
    (folder / "commits").mkdir(parents=True)
    (folder / entry.path).parent.mkdir(parents=True)
    (folder / entry.path).symlink_to(segment)
    (folder / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    datasets = with_entry(open_place(folder), {f"d{i:07d}": one for i in range(count - 1)}, f"d{count - 1:07d}", one)
    (folder / "commits/00000001.json").write_bytes(Index(number=1, datasets=datasets).to_bytes())


def _size(folder: Path) -> int:
    return max(folder.glob("commits/*.json")).stat().st_size


def _pages(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("pages/*.json"))


def _row(step: str, url: str, name: str, middle: int, **of: int) -> dict:
    code = CODE.format(here=str(Path(__file__).parent), step=STEPS[step])
    done = subprocess.run([sys.executable, "-c", code, url, name, str(middle)], capture_output=True, text=True)
    if done.returncode:
        print(f"  {step:16s} {done.stderr.strip().splitlines()[-1] if done.stderr else f'ended by signal {-done.returncode}'}")
        return {"step": step, **of, "failed": True}
    cpu, wall, memory, said = json.loads(done.stdout)
    print(f"  {step:16s}{cpu:8.3f} CPU-s {wall:8.3f} s {memory:8.0f} MB more   {said:,}", flush=True)
    return {"step": step, **of, "cpu_s": cpu, "wall_s": wall, "memory_mb": memory}


if __name__ == "__main__":
    main()
