"""Peak memory of a reader as the dataset grows, and the time to open a store of 1,000 datasets.

    python benchmarks/memory.py [--frames 50000] [--times 2,20,200] [--json FILE]

The dataset grows by naming the same segment many times: the reader cannot tell, and the disk stays small.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from peers import data, ours

from lamdata.places import open_place
from lamdata.store.commits import commit, read_index

READ = 400_000  # frames each reader streams before its peak is taken

READER = """
import sys, time
from measure import peak_rss
from lamdata.store import open_dataset
from lamdata.stream import Stream, StreamHead
with Stream([StreamHead(name="h", dataset=open_dataset(sys.argv[1], sys.argv[2]))], seed=0, batch_frames=64) as stream:
    seen = 0
    for batch in stream:
        seen += len(batch)
        if seen > int(sys.argv[3]):
            break
    print(len(stream.heads[0].dataset), peak_rss())
"""

OPENER = """
import sys, time
import lamdata.store
begin = time.perf_counter()
store = lamdata.store.open_store(sys.argv[1])
frames = sum(part["frames"] for name in store for part in store._index.datasets[name]["segments"])
print(len(store), time.perf_counter() - begin)
"""


def main() -> None:
    """Write once, read at each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=50_000)
    parser.add_argument("--times", type=lambda text: [int(x) for x in text.split(",")], default=[2, 20, 200])
    parser.add_argument("--json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="memory-") as folder:
        ours.write(data.make(options.frames), folder, profile="lossless")
        entry = read_index(open_place(folder)).entry("ragged").segments[0]
        rows = []
        for times in options.times:
            commit(folder, f"x{times}", [entry] * times, {})
            frames, peak = _run(READER, folder, f"x{times}", str(READ))
            rows.append({"frames": int(frames), "rss_mb": float(peak)})
            print(f"{int(frames):>12,} frames: peak {float(peak):.0f} MB")
        growth = rows[-1]["rss_mb"] / rows[0]["rss_mb"]
        print(f"growth of the peak over {options.times[-1] // options.times[0]} times the frames: {growth:.2f}")
        seconds = _open_many(Path(folder), entry)
    if options.json:
        Path(options.json).write_text(json.dumps({"rows": rows, "growth": growth, "open_1000_datasets_s": seconds}, indent=1))


def _open_many(folder: Path, entry) -> float:
    """Commit 1,000 datasets at once, with cards of a usual size, and time the opening."""
    from lamdata.store.commits import DatasetEntry, Index

    meta = {"card": {"title": "x" * 200, "notes": "y" * 3000}, "statistics": {str(z): [1.0] * 8 for z in range(90)}}
    index = Index(number=1, datasets={f"d{i:04d}": DatasetEntry(segments=(entry,), meta=meta).to_json() for i in range(1000)})
    many = folder / "many"
    (many / "commits").mkdir(parents=True)
    (many / "commits/00000001.json").write_bytes(index.to_bytes())
    count, seconds = _run(OPENER, str(many))
    print(f"opening {count} datasets: {float(seconds):.3f} s")
    return float(seconds)


def _run(code: str, *arguments: str) -> list[str]:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{code}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


if __name__ == "__main__":
    main()
