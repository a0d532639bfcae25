"""Text outputs of many steps: CPU time of our reader and of ingest against the libraries that read them, on files made from real ones.

    python benchmarks/text_outputs.py --samples FOLDER [--megabytes 100] [--rounds 3] [--only NAME ...] [--folder DIR] [--json FILE]

FOLDER holds outputs of real runs; what each of the formats needs of it stands in `MAKERS`. The steps of one file are repeated until the file
is large, with the head and the end that it had; `extxyz_300` has frames of 300 atoms. Each library makes its own objects of all steps; reader and
ingest are as in `ingest.py`. All take turns in this process; the least CPU time of the rounds counts. Peak memory is that of an ingest in a process of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import lzma
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from measure import least_cpu, peak_rss

from lamdata import ingest
from lamdata.catalog import Card, CheckSpec, SourceSpec
from lamdata.frames import Parsed
from lamdata.sources import expand, read_items

OURS = Path(__file__).resolve().parents[1] / "tests" / "lamdata" / "sources" / "data"
LAX = {"min_distance": None, "net_force": None, "max_force": None}  # of frames that are put together of others


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A large file, the name of our reader, and how libraries read it: name -> (path -> number of steps)."""

    path: Path
    format: str
    libraries: dict[str, Callable[[Path], int]]
    options: dict = field(default_factory=dict)
    checks: dict = field(default_factory=dict)


def repeat(text: str, first: int, last: int, size: int) -> str:
    """The text with what stands from `first` to `last` as often as makes it `size` characters long."""
    return text[:first] + text[first:last] * max(1, (size - len(text)) // (last - first)) + text[last:]


def places(text: str, pattern: str) -> list[int]:
    """Where steps begin."""
    return [found.start() for found in re.finditer(pattern, text)]


def outcar(samples: Path, folder: Path, size: int) -> Output:
    text = (samples / "vasp_outcar" / "OUTCAR.h2o.md.10").read_text()
    steps = places(text, r"\n-+ Iteration +\d+\( +1\)")
    (folder / "OUTCAR").write_text(repeat(text, steps[0], steps[-1], size))
    return Output(path=folder / "OUTCAR", format="vasp/outcar", libraries={"ase": ase("vasp-out"), "dpdata": dpdata("vasp/outcar")})


def vasprun(samples: Path, folder: Path, size: int) -> Output:
    text = (samples / "vasprun_xml" / "vasprun.h2o.md.xml").read_text()
    (folder / "vasprun.xml").write_text(repeat(text, text.index("<calculation>"), text.rindex("<calculation>"), size))
    return Output(path=folder / "vasprun.xml", format="vasp/xml", libraries={"ase": ase("vasp-xml"), "dpdata": dpdata("vasp/xml")})


def extxyz(samples: Path, folder: Path, size: int) -> Output:
    text = (samples / "extxyz" / "mpf-TP.xyz").read_text()
    (folder / "data.extxyz").write_text(repeat(text, 0, len(text), size))
    return Output(path=folder / "data.extxyz", format="extxyz", libraries=extxyz_libraries())


def extxyz_300(samples: Path, folder: Path, size: int) -> Output:
    """Frames of 300 atoms: those of the same file that follow one another, with the comment of the first of them."""
    lines, at, atoms, written = (samples / "extxyz" / "mpf-TP.xyz").read_text().splitlines(keepends=True), 0, [], 0
    with open(folder / "data.extxyz", "w") as out:
        while written < size:
            title, count = lines[at + 1], int(lines[at])
            atoms += lines[at + 2 : at + 2 + count]
            at = (at + 2 + count) % len(lines)
            if len(atoms) >= 300:
                written += out.write("".join(["300\n", re.sub('Lattice="[^"]*"', 'Lattice="40 0 0 0 40 0 0 0 40"', title), *atoms[:300]]))
                atoms = []
    return Output(path=folder / "data.extxyz", format="extxyz", libraries=extxyz_libraries(), checks=LAX)


def extxyz_libraries() -> dict[str, Callable[[Path], int]]:
    """ASE, and libAtoms' reader in C where it is installed (`pip install extxyz`)."""
    found = {"ase": ase("extxyz")}
    if importlib.util.find_spec("extxyz"):
        found["libatoms"] = libatoms
    return found


def libatoms(path: Path) -> int:
    import extxyz

    return sum(1 for _ in extxyz.iread_dicts(str(path)))


def dump(samples: Path, folder: Path, size: int) -> Output:
    text = (samples / "lammps" / "lammps" / "traj.dump").read_text()
    (folder / "traj.dump").write_text(repeat(text, 0, len(text), size))
    libraries = {"ase": ase("lammps-dump-text"), "dpdata": dpdata("lammps/dump", labeled=False)}
    return Output(path=folder / "traj.dump", format="lammps/dump", libraries=libraries, options={"elements": "Fe O"})


def pw_md(samples: Path, folder: Path, size: int) -> Output:
    text = lzma.decompress((OURS / "qe-md.out.xz").read_bytes()).decode()
    steps = places(text, r"\n     Self-consistent Calculation")
    (folder / "pw.out").write_text(repeat(text, steps[1], steps[-1], size))
    return Output(path=folder / "pw.out", format="qe/pw", libraries={"ase": ase("espresso-out")})


def cp2k_md(samples: Path, folder: Path, size: int) -> Output:
    """Positions and forces, half of the size each; the steps are numbered on, and their energies rise, since they tell which belong together."""
    source = samples / "cp2k" / "aimd"
    shutil.copy(source / "input.inp", folder / "input.inp")
    for kind in ("pos", "frc"):
        lines = (source / f"DPGEN-{kind}-1.xyz").read_text().splitlines(keepends=True)
        length, number = int(lines[0]) + 2, 0
        with open(folder / f"DPGEN-{kind}-1.xyz", "w") as out:
            while out.tell() < size / 2:
                for at in range(0, len(lines), length):
                    title = re.sub(r"i = +\d+", f"i = {number:8d}", lines[at + 1])
                    title = re.sub(r"time = +[\d.]+", f"time = {number * 0.5:12.3f}", title)
                    energy = re.search(r"E = +(-?[\d.]+)", title)
                    assert energy is not None, title
                    title = title.replace(energy[0], f"E = {float(energy[1]) + 1e-6 * number:20.10f}")
                    out.writelines([lines[at], title, *lines[at + 2 : at + length]])
                    number += 1
    both = ase("xyz")
    libraries = {"ase": lambda path: (both(path) + both(path.with_name("DPGEN-frc-1.xyz"))) // 2}
    return Output(path=folder / "DPGEN-pos-1.xyz", format="cp2k/aimd", libraries=libraries)


MAKERS = {
    "outcar": outcar,
    "vasprun": vasprun,
    "extxyz": extxyz,
    "extxyz_300": extxyz_300,
    "lammps_dump": dump,
    "pw_md": pw_md,
    "cp2k_md": cp2k_md,
}


def ase(name: str) -> Callable[[Path], int]:
    def read(path: Path) -> int:
        from ase.io import iread

        return sum(1 for _ in iread(path, index=":", format=name))

    return read


def dpdata(name: str, *, labeled: bool = True) -> Callable[[Path], int]:
    def read(path: Path) -> int:
        import dpdata

        return len((dpdata.LabeledSystem if labeled else dpdata.System)(str(path), fmt=name))

    return read


def read(output: Output) -> int:
    """Read as ingest does and keep nothing."""
    spec = SourceSpec(path=output.path.name, format=output.format, options=output.options)
    items = (item for file in expand(spec, base=output.path.parent) for item in read_items(file, spec))
    return sum(len(item) if isinstance(item, Parsed) else 1 for item in items)


def store(output: Output, target: Path) -> int:
    """Ingest into a fresh store."""
    shutil.rmtree(target, ignore_errors=True)
    spec = SourceSpec(path=output.path.name, format=output.format, group="frame", options=output.options)
    card = Card(dataset="bench", title="bench", sources=[spec], checks=CheckSpec(**output.checks))
    report = ingest(card, str(target), base=output.path.parent, quiet=True, workers=1)
    return report.frames + sum(report.rejected.values())


def peak_mb(output: Output, target: Path) -> float:
    """Peak resident memory of an ingest, mapped files included."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import text_outputs; text_outputs.print_peak(*sys.argv[2:])"
    said = json.dumps({"path": str(output.path), "format": output.format, "options": output.options, "checks": output.checks})
    command = [sys.executable, "-c", code, str(Path(__file__).parent), said, str(target)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def print_peak(said: str, target: str) -> None:
    """The other side of `peak_mb`."""
    values = json.loads(said)
    store(Output(libraries={}, **values | {"path": Path(values["path"])}), Path(target))
    print(peak_rss())


def compare(output: Output, target: Path, *, rounds: int) -> dict:
    """The least CPU seconds of each, and how many times the fastest library takes as long."""
    jobs: dict[str, Callable[[], int]] = {name: lambda call=call: call(output.path) for name, call in output.libraries.items()}
    jobs |= {"read": lambda: read(output), "ingest": lambda: store(output, target)}
    counts, seconds = least_cpu(jobs, rounds=rounds)
    if len(set(counts.values())) > 1:
        raise SystemExit(f"{output.path}: steps differ in number: {counts}")
    fastest = min(output.libraries, key=lambda name: seconds[name])
    ratios = {f"{who}_ratio": seconds[fastest] / seconds[who] for who in ("read", "ingest")}
    size, peak = output.path.stat().st_size / 1e6, peak_mb(output, target)
    return {"steps": counts["read"], "megabytes": size, "fastest": fastest, "seconds": seconds, "peak_mb": peak} | ratios


def main() -> None:
    """Make, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=MAKERS, default=list(MAKERS))
    parser.add_argument("--folder", help="where temporary files go")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folder, report = Path(tempfile.mkdtemp(prefix="text-", dir=options.folder)), {}
    print(f"{'':14}{'steps':>8}{'fastest':>9}{'MB/s':>7}{'read MB/s':>11}{'ingest MB/s':>13}{'read':>7}{'ingest':>8}{'peak MB':>9}")
    try:
        for name in options.only:
            place = folder / name
            place.mkdir()
            output = MAKERS[name](options.samples, place, int(options.megabytes * 1e6))
            row = report[name] = compare(output, folder / "store", rounds=options.rounds)
            rates = [row["megabytes"] / row["seconds"][who] for who in (row["fastest"], "read", "ingest")]
            numbers = (
                f"{rates[0]:7.0f}{rates[1]:11.0f}{rates[2]:13.0f}{row['read_ratio']:7.1f}{row['ingest_ratio']:8.1f}{row['peak_mb']:9.0f}"
            )
            print(f"{name:14}{row['steps']:8}{row['fastest']:>9}{numbers}", flush=True)
            shutil.rmtree(place)
    finally:
        shutil.rmtree(folder)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
