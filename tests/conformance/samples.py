"""Read every file of a manifest and compare: `python tests/conformance/samples.py MANIFEST.tsv [--json] [--only TEXT] [--jobs N] [--seconds S]`.

Each row's file or folder (relative to the manifest) is guessed, and read or refused with one line, in a process with a time limit.
What was read is compared with the manifest's columns and with dpdata, ASE and pymatgen called bare; a difference must have its
reason in `reasons.yaml`. The table has a line for each format: files, frames, how many agree, how many are refused, and why.
Exit code 0 if nothing failed and nothing differs without a reason.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

from agreement import against_library, against_manifest  # noqa: E402
from guarded import Failure, run_all  # noqa: E402
from libraries import Values, bare, values  # noqa: E402
from manifest import Row, read_manifest  # noqa: E402
from suite import frame as check_frame  # noqa: E402
from suite import virial_sign  # noqa: E402

from lamdata.catalog import SourceSpec  # noqa: E402
from lamdata.errors import LamError, SourceError  # noqa: E402
from lamdata.frame import Frame  # noqa: E402
from lamdata.sources import SourceFile, expand, guess_format, read_all, reader  # noqa: E402

MAX_CHECKED = 500  # frames of a file that go through the conformance suite
MAX_COMPARED = 200 << 20  # bytes: a larger file is read by us alone


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of one row."""

    path: str
    status: str = "agree"  # agree | explained | differs | refused | failed
    formats: list[str] = field(default_factory=list)
    frames: int = 0
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)  # why refused, failed, rejected, or different
    compared: list[str] = field(default_factory=list)  # libraries that agree


@dataclass(slots=True, kw_only=True)
class Reading:
    """What came of one file of a row."""

    format: str
    frames: list[Values]
    stored: int
    rejections: list[str]
    faults: list[str] = field(default_factory=list)  # what the conformance suite finds in the frames


def examine(argument: tuple[str, Row]) -> Result:
    """Read one row and compare it."""
    base, row = argument
    result = Result(path=row.path)
    try:
        readings, refusals = read_row(files_of(Path(base), row.path), row.path)
    except LamError as err:
        result.status, result.reasons = "refused", [" ".join(str(err).split())]
        return result
    result.reasons += refusals
    everything = [frame for _, reading in readings for frame in reading.frames]
    rejections = [reason for _, reading in readings for reason in reading.rejections]
    result.formats = sorted({reading.format for _, reading in readings})
    result.frames, result.rejected = len(everything), len(rejections)
    problems = [("manifest", *p) for p in _against_manifest(row, [reading for _, reading in readings])]
    problems += [("suite", fault.split()[0], fault) for _, reading in readings for fault in reading.faults]
    for path, reading in whole_systems(readings):
        found, agreed = _libraries(path, reading)
        problems += found
        result.compared = sorted({*result.compared, *agreed})
    _judge(result, problems)
    result.reasons += [f"rejected: {reason}" for reason in dict.fromkeys(rejections)][:3]
    return result


def _against_manifest(row: Row, readings: list[Reading]) -> list[tuple[str, str]]:
    """What differs from the manifest, which describes all files of the row together, or one of several runs in a folder."""
    everything = Reading(
        format="",
        frames=[frame for r in readings for frame in r.frames],
        stored=sum(r.stored for r in readings),
        rejections=[reason for r in readings for reason in r.rejections],
    )
    candidates = [everything, *(readings if len(readings) > 1 else [])]
    return min((against_manifest(row, c.frames, c.stored, len(c.rejections)) for c in candidates), key=len)


def read_row(files: list[SourceFile], path: str) -> tuple[list[tuple[SourceFile, Reading]], list[str]]:
    """Readings of the files that can be read, and why others of a known format cannot; an error if none can."""
    readings, refusals = [], []
    for file in files:
        try:
            reading = _read(file, alone=len(files) == 1)
        except LamError as err:
            refusals.append(" ".join(str(err).split()))
            continue
        readings += [] if reading is None else [(file, reading)]
    if not readings:
        raise SourceError("; ".join(refusals) or f"{path}: none of its {len(files)} files has a format that is recognised")
    return readings, refusals


def files_of(base: Path, path: str) -> list[SourceFile]:
    """The files of a row; a path that is the common start of several files (cp.x writes name.pos, name.evp, ...) stands for them."""
    target = base / path
    if not target.exists():
        beside = sorted(target.parent.glob(f"{target.name}.*"))
        if not beside:
            raise SourceError("no such file or folder", where=path)
        return [SourceFile(name=f"{Path(path).parent}/{found.name}", path=str(found)) for found in beside if found.is_file()]
    return expand(SourceSpec(path=path), base=base)


def _read(file: SourceFile, *, alone: bool) -> Reading | None:
    """Read one file; one among others that is not recognised is passed over: a folder has inputs and notes as well."""
    try:
        name = guess_format(file)
    except SourceError:
        if alone:
            raise
        return None
    frames: list[Values] = []
    rejections: list[str] = []
    kept: list[Frame] = []
    stored = 0
    for item in read_all(file, SourceSpec(path=file.name, options=_options(name)), use=reader(name)):
        if isinstance(item, Frame):
            frames.append(values(len(item.numbers), [item.energy], item.forces, item.virial))
            stored += item.converged is not False
            kept += [item] if len(kept) < MAX_CHECKED else []
        else:
            rejections.append(item.reason)
    faults = list(dict.fromkeys(fault for one in kept for fault in check_frame(one)))
    if virial_sign(kept) is False:
        faults.append("virial has the wrong sign: it does not follow from energies and strains")
    return Reading(format=name, frames=frames, stored=stored, rejections=rejections, faults=faults)


def _options(name: str) -> dict[str, Any]:
    """What a card must say for a format that does not: here only that an OC20 LMDB's `y` is taken as it stands."""
    return {"energy": "total"} if name == "oc20/lmdb" else {}


def whole_systems(readings: list[tuple[SourceFile, Reading]]) -> Iterator[tuple[Path, Reading]]:
    """(path for a library, reading): the sets of one DeePMD system together, as libraries read them."""
    systems: dict[Path, Reading] = {}
    for file, reading in readings:
        if file.size > MAX_COMPARED or file.member is not None:
            continue
        if reading.format != "deepmd/npy":
            with file.local() as path:
                yield path, reading
            continue
        system = systems.setdefault(Path(file.path).parent.parent, Reading(format=reading.format, frames=[], stored=0, rejections=[]))
        system.frames += reading.frames
        system.rejections += reading.rejections
    yield from systems.items()


def _libraries(path: Path, reading: Reading) -> tuple[list[tuple[str, str, str]], list[str]]:
    problems, agreed = [], []
    for library, theirs in bare(reading.format, path).items():
        if isinstance(theirs, str):
            continue
        found = against_library(reading.frames, theirs, len(reading.rejections))
        problems += [(library, field_name, f"{library}: {text}") for field_name, text in found]
        agreed += [] if found else [library]
    return problems, agreed


def _judge(result: Result, problems: list[tuple[str, str, str]]) -> None:
    known = load_reasons()
    for against, field_name, text in problems:
        reason = next((r["reason"] for r in known if _applies(r, result, against, field_name, text)), None)
        result.reasons.append(f"{text} ({reason})" if reason else text)
        if reason is None:
            result.status = "differs"
        elif result.status == "agree":
            result.status = "explained"


def load_reasons() -> list[dict[str, str]]:
    """The written reasons: format, against (manifest or a library), field, optionally path and within, and the reason."""
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load((HERE / "reasons.yaml").read_text())


def _applies(reason: dict[str, str], result: Result, against: str, field_name: str, text: str) -> bool:
    if not fnmatchcase(result.path, reason.get("path", "*")) or field_name not in reason["field"].split():
        return False
    gap = re.search(r"differ by (\S+)", text)
    if "within" in reason and (gap is None or float(gap[1]) > float(reason["within"])):
        return False
    return against in reason["against"].split() and any(fnmatchcase(f, reason["format"]) for f in result.formats)


def table(results: list[Result]) -> list[dict[str, Any]]:
    """One line for each format."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        groups[" ".join(result.formats) or "-"].append(result)
    lines = []
    for name, members in sorted(groups.items()):
        reasons = dict.fromkeys(reason for m in members if m.status != "agree" for reason in m.reasons)
        lines.append(
            {
                "format": name,
                "files": len(members),
                "frames": sum(m.frames for m in members),
                "rejected": sum(m.rejected for m in members),
                "agree": sum(m.status in ("agree", "explained") for m in members),
                "refused": sum(m.status == "refused" for m in members),
                "wrong": sum(m.status in ("differs", "failed") for m in members),
                "reason": "; ".join(reasons),
            }
        )
    return lines


def main() -> int:
    """Parse the command line, examine the rows, print the table or the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--only", default="", help="rows whose path contains this text")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=120.0, help="time limit of one row")
    options = parser.parse_args()
    if not options.manifest.is_file():
        print(f"{options.manifest}: no such manifest", file=sys.stderr)
        return 2
    rows = [row for row in read_manifest(options.manifest) if options.only in row.path]
    arguments = [(str(options.manifest.resolve().parent), row) for row in rows]
    answers = run_all(examine, arguments, seconds=options.seconds, jobs=options.jobs)
    results = [_failed(row, a) if isinstance(a, Failure) else a for row, a in zip(rows, answers, strict=True)]
    (_print_json if options.json else _print_table)(results)
    return 1 if any(r.status in ("differs", "failed") for r in results) else 0


def _failed(row: Row, failure: Failure) -> Result:
    return Result(path=row.path, status="failed", reasons=[failure.reason])


def _print_json(results: list[Result]) -> None:
    print(json.dumps({"table": table(results), "rows": [asdict(r) for r in results]}, indent=1))


def _print_table(results: list[Result]) -> None:
    say = partial(print, sep="\t")
    say("format", "files", "frames", "rejected", "agree", "refused", "wrong", "reason")
    for line in table(results):
        say(*(line[key] for key in ("format", "files", "frames", "rejected", "agree", "refused", "wrong")), line["reason"][:300])
    for result in results:
        if result.status in ("differs", "failed"):
            print(f"{result.status}: {result.path}: {'; '.join(result.reasons)}")
    print(f"{len(results)} rows: " + ", ".join(f"{sum(r.status == s for r in results)} {s}" for s in STATUSES))


STATUSES = ("agree", "explained", "differs", "refused", "failed")

if __name__ == "__main__":
    sys.exit(main())
