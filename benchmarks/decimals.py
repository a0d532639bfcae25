"""Bytes per atom of a lossless store of real outputs, and the decimals that were found in them.

    python benchmarks/decimals.py NAME=FORMAT:FILE[:MEMBERS] ... [--json FILE]

    python benchmarks/decimals.py "QE PBE=qe/pw:catalogs/quickstart/raw/qe-pbe.tar.xz:*/*.out"

Compressed chunks alone are weighed: samples are small, and the fixed parts of nearly empty objects would tell nothing of a dataset.
Files of one source are surveyed together, as ingest does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.frame import Frame
from lamdata.frames import Frames
from lamdata.sources import expand, read_all
from lamdata.store import Survey, plan_segment, write_shard
from lamdata.store.codec import index_bytes
from lamdata.store.lattice import best_lattice
from lamdata.store.layout import COLUMNS

ARRAYS = ("positions", "forces", "cell", "energy", "virial")


def main() -> None:
    """Print a row for each source."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--json")
    options = parser.parse_args()
    rows = []
    print(
        f"{'B/atom of':18s}{'frames':>7s}"
        + "".join(f"{name[:6]:>8s}" for name in ("all", *ARRAYS))
        + "".join(f"{name:>16s}" for name in ARRAYS)
    )
    for text in options.sources:
        name, _, rest = text.partition("=")
        form, path, *members = rest.split(":")
        spec = SourceSpec(path=Path(path).name, format=form, members=members[0] if members else None)
        row = {"source": name, **measure(spec, Path(path).parent)}
        rows.append(row)
        found = "".join(f"{row['decimals'][array]:>16s}" for array in ARRAYS)
        sizes = "".join(f"{row['bytes_per_atom'][array]:8.2f}" for array in ("all", *ARRAYS))
        print(f"{name:18s}{row['frames']:7d}{sizes}{found}")
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1))


def measure(spec: SourceSpec, base: Path) -> dict:
    """Read, survey, write and weigh one source."""
    frames = [x for file in expand(spec, base=base) for x in read_all(file, spec) if isinstance(x, Frame)]
    groups, origins = [x.group for x in frames], [x.origin for x in frames]
    records = Frames.from_list(frames, shortest=np.ones(len(frames)))
    survey = Survey.of(records, groups, origins)
    plan = plan_segment(records.natoms, survey)
    sizes = _weigh(plan, records, groups, origins)
    decimals = {}
    for array in ARRAYS:
        best = best_lattice(survey.lattices[array])
        labelled = array not in ("forces", "energy", "virial") or getattr(records, f"has_{array}").any()
        decimals[array] = "absent" if not labelled else "float64" if best is None else f"{best.decimals} {best.unit}"
    return {"frames": len(frames), "bytes_per_atom": sizes, "decimals": decimals}


def _weigh(plan, records: Frames, groups: list[str], origins: list[str]) -> dict[str, float]:
    """Bytes per atom of all objects and of some arrays."""
    with tempfile.TemporaryDirectory() as folder:
        for shard in range(plan.shards):
            rows = plan.shard_frames(shard)
            mine = slice(rows.start, rows.stop)
            part = records.part(rows.start, rows.stop)
            write_shard(folder, plan, shard, records=part, groups=groups[mine], origins=origins[mine], split=np.zeros(len(rows), np.uint8))
        weights = {"all": 0} | dict.fromkeys(COLUMNS, 0)
        for file in Path(folder).rglob("c/**/*"):
            if file.is_file():
                size = file.stat().st_size - index_bytes(plan.shard_blocks)
                weights[file.relative_to(folder).parts[0]] += size
                weights["all"] += size
    return {name: weights[name] / len(records.numbers) for name in ("all", *ARRAYS)}


if __name__ == "__main__":
    main()
