"""Damage files and read them: `python tests/conformance/fuzz.py SEED N [--folder FOLDER] [--case I]`.

N inputs are made from files written in each format, and from those in FOLDER (such as a folder of samples): cut, bits flipped,
counts changed, huge and strange numbers put in, nested deep, doubled, mixed, packed as bombs, archives that lead outside, pickles.
Each must give frames, rejections or one line of error: no traceback, no hang, no write outside its folder, memory bounded. The
findings are printed with their case, which `--case` makes again; exit code 1 if there is any.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import itertools
import lzma
import os
import pickle
import random
import re
import resource
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

from guarded import Failure, run_all  # noqa: E402
from suite import one_line  # noqa: E402
from writers import emt_frames  # noqa: E402
from written_formats import WRITERS  # noqa: E402

from lamdata.catalog import SourceSpec  # noqa: E402
from lamdata.errors import LamError  # noqa: E402
from lamdata.sources import expand, guess_format, reader  # noqa: E402

MAX_INPUT = 400_000  # bytes of a file that is damaged
MAX_MEMORY = 1_500_000  # KiB a process may have grown to
MAX_FILES = 6  # of a damaged folder that are read


@dataclass(frozen=True, slots=True)
class Case:
    """One damaged input, and how to make it again."""

    seed: int
    source: str  # file or folder it is made from
    target: str  # the file in it that is damaged
    format: str  # the reader; "auto" to guess


class Evil:
    """What must never run."""

    def __reduce__(self):
        return os.mkdir, ("/tmp/lamdata-fuzz-ran",)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def flip(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 64))):
        if out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def renumber(data: bytes, rng: random.Random) -> bytes:
    """Put something else in the place of a number."""
    found = [m.span() for m in itertools.islice(re.finditer(rb"-?\d+\.?\d*([eE][-+]?\d+)?", data), 5000)]
    strange = [
        b"0",
        b"-1",
        b"nan",
        b"inf",
        b"1e308",
        b"1e999",
        b"9" * 30,
        b"99999999",
        b"2147483648",
        b"x",
        b"",
        b"*****",
        b"1.0D+02",
        b"[" * 50,
    ]
    for _ in range(rng.choice((1, 1, 3))):
        if found:
            start, end = rng.choice(found)
            data = data[:start] + rng.choice(strange) + data[end:]
            found = [span for span in found if span[1] < start]
    return data


def integers(data: bytes, rng: random.Random) -> bytes:
    """Overwrite a binary integer."""
    if len(data) < 16:
        return data
    at = rng.randrange(len(data) - 8)
    value = rng.choice((0, 1, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1))
    return data[:at] + (value % 2**64).to_bytes(8, rng.choice(("little", "big"))) + data[at + 8 :]


def splice(data: bytes, rng: random.Random) -> bytes:
    """Move, double or drop a part."""
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return rng.choice((data[:a] + data[b:], data[:b] + data[a:], data + data[a:b], data[b:] + data[:b]))


def lines(data: bytes, rng: random.Random) -> bytes:
    """Drop, double or swap lines."""
    rows = data.split(b"\n")
    i, j = rng.randrange(len(rows)), rng.randrange(len(rows))
    rows[i], rows[j] = rng.choice(((rows[j], rows[i]), (rows[i], rows[i]), (b"", rows[j]), (rows[i] * 50, rows[j])))
    return b"\n".join(rows)


def nested(data: bytes, rng: random.Random) -> bytes:
    """Nest deep, in the place of a value."""
    depth = rng.choice((100, 10_000, 200_000))
    deep = rng.choice((b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth, b"(" * depth))
    at = data.find(b":", rng.randrange(len(data) + 1)) + 1
    return data[:at] + deep + data[at + 1 :]


def noise(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 100, 10_000))) + (data[:64] if rng.random() < 0.5 else b"")


def headed(data: bytes, rng: random.Random) -> bytes:
    """Keep the start, which is what a format is guessed by."""
    return data[: rng.choice((8, 64, 512, 4096))] + rng.randbytes(rng.choice((0, 50, 5000)))


def packed(data: bytes, rng: random.Random) -> bytes:
    """Packed, and sometimes damaged; or a bomb behind a good start."""
    pack = rng.choice((gzip.compress, bz2.compress, lzma.compress))
    if rng.random() < 0.1:
        return gzip.compress(data + bytes(100 << 20), 1)
    out = pack(data)
    return out if rng.random() < 0.3 else flip(out, rng) if rng.random() < 0.5 else cut(out, rng)


def pickled(data: bytes, rng: random.Random) -> bytes:
    """A pickle that runs something, in the place of data."""
    bomb = pickle.dumps(rng.choice((Evil(), {"pos": Evil()}, [Evil()])), protocol=rng.randrange(6))
    at = rng.randrange(len(data) + 1)
    return rng.choice((bomb, data[:at] + bomb + data[at + len(bomb) :], data[:24] + bomb))


def swapped(data: bytes, rng: random.Random) -> bytes:
    """The bytes of another format under this name."""
    return data.translate(bytes.maketrans(b"0123456789", bytes(rng.sample(b"0123456789", 10)))) if rng.random() < 0.5 else data[::-1]


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    cut, flip, renumber, renumber, integers, integers, splice, lines, nested, noise, headed, packed, pickled, swapped,
)  # fmt: skip


def archive(member: str, data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """(suffix, bytes) of an archive that leads outside, lies about sizes or links."""
    name = rng.choice((f"../../{member}", f"/tmp/lamdata-fuzz-{member}", member, f"a/../../{member}", f"..\\{member}"))
    out = io.BytesIO()
    if rng.random() < 0.5:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr(name, data)
            if rng.random() < 0.1:
                z.writestr(f"bomb-{member}", bytes(100 << 20))
        suffix = ".zip"
    else:
        with tarfile.open(fileobj=out, mode=rng.choice(("w", "w:gz", "w:xz"))) as t:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo(f"link-{member}")
            link.type, link.linkname = rng.choice((tarfile.SYMTYPE, tarfile.LNKTYPE)), "/etc/passwd"
            t.addfile(link)
        suffix = ".tar"
    raw = out.getvalue()
    return suffix, raw if rng.random() < 0.5 else flip(raw, rng)


def attempt(case: Case) -> str | None:
    """Make one damaged input and read it; return what is wrong, None if nothing is."""
    rng = random.Random(case.seed)
    before_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        root = Path(scratch) / "inside"
        root.mkdir()
        top = _copy(Path(case.source), Path(case.target), root, rng)
        before = sorted(p.name for p in Path(scratch).iterdir())
        problem = _read_all(root, top, case, rng)
        if sorted(p.name for p in Path(scratch).iterdir()) != before or os.path.exists("/tmp/lamdata-fuzz-ran"):
            return "something was written outside, or ran"
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return problem or (f"memory: {memory >> 10} MiB" if memory > max(MAX_MEMORY, before_memory) else None)


def _copy(source: Path, target: Path, root: Path, rng: random.Random) -> str:
    """Copy a file or folder with one file of it damaged, or put that into an archive; return what a card would name."""
    data = target.read_bytes()
    if source.is_file() and rng.random() < 0.1:
        suffix, raw = archive(source.name, data, rng)
        (root / f"{source.name}{suffix}").write_bytes(raw)
        return f"{source.name}{suffix}"
    for file in [source] if source.is_file() else [f for f in source.rglob("*") if f.is_file()]:
        place = root / file.relative_to(source.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(rng.choice(DAMAGES)(data, rng) if file == target else file.read_bytes())
    return source.name


def _read_all(root: Path, top: str, case: Case, rng: random.Random) -> str | None:
    options = {"energy": rng.choice(("total", "adsorption"))} if case.format == "oc20/lmdb" else {}
    spec = SourceSpec(path=top, options=options)
    try:
        files = expand(spec, base=root)
    except LamError as err:
        return None if "\n" not in str(err) else "an error of several lines"
    for file in files[:MAX_FILES]:
        try:
            name = guess_format(file) if case.format == "auto" or rng.random() < 0.3 else case.format
        except LamError:
            continue
        problem = one_line(reader(name), file, spec if name == case.format else SourceSpec(path=top))
        if problem:
            return f"{name}: {problem}"
    return None


def sources(folder: Path, extra: Path | None) -> list[tuple[Path, Path, str]]:
    """(source, file to damage, format): each format as written here, and the small files of another folder."""
    out = []
    frames = emt_frames()
    for name, (write, format_name) in WRITERS.items():
        place = folder / name
        place.mkdir()
        try:
            path = write(frames, place)
        except ImportError:
            continue
        source = place if format_name in ("calypso", "oc20/s2ef") else path
        out += [(source, file, format_name) for file in ([source] if source.is_file() else source.rglob("*")) if file.is_file()]
    if extra is not None:
        small = (f for f in sorted(extra.rglob("*")) if f.is_file() and 0 < f.stat().st_size <= MAX_INPUT)
        out += [(f.parent if _few(f.parent) else f, f, "auto") for f in small]
    return out


def _few(folder: Path) -> bool:
    """Say whether a folder is small enough to be copied whole, so that a file keeps its neighbours."""
    files = [f for f in folder.rglob("*") if f.is_file()]
    return len(files) <= 8 and sum(f.stat().st_size for f in files) < 2 * MAX_INPUT


def cases_of(seed: int, count: int, found: list[tuple[Path, Path, str]]) -> list[Case]:
    """Each format as often as any other; the files of FOLDER, whose format is guessed, half of the time."""
    rng = random.Random(seed)
    by_format: dict[str, list[tuple[Path, Path, str]]] = {}
    for source in found:
        by_format.setdefault(source[2], []).append(source)
    names = [*by_format, *["auto"] * (len(by_format) - 2 if "auto" in by_format else 0)]
    return [Case(seed * 1_000_003 + i, *map(str, rng.choice(by_format[rng.choice(names)]))) for i in range(count)]


def run(seed: int, count: int, *, extra: Path | None = None, seconds: float = 30.0, jobs: int = 2, case: int | None = None) -> list[str]:
    """Return the findings of `count` cases, one line each; `case` runs that one alone, in this process."""
    with tempfile.TemporaryDirectory(prefix="fuzz-sources-") as folder:
        cases = cases_of(seed, count, sources(Path(folder), extra))
        if case is not None:
            print(cases[case], file=sys.stderr)
            return [found] if (found := attempt(cases[case])) else []
        answers = run_all(attempt, cases, seconds=seconds, jobs=jobs, memory=4 << 30)
        problems = []
        for i, (one, answer) in enumerate(zip(cases, answers, strict=True)):
            if isinstance(answer, Failure) and answer.reason.startswith("time"):  # once more: the machine may have been busy
                (answer,) = run_all(attempt, [one], seconds=seconds, jobs=1, memory=4 << 30)
            reason = answer.reason if isinstance(answer, Failure) else answer
            if reason:
                problems.append(f"case {i}, {one.format} {Path(one.target).name}: {reason}")
    return problems


def main() -> int:
    """Parse the command line, run, print the findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seed", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--folder", type=Path, help="more files to damage")
    parser.add_argument("--seconds", type=float, default=30.0, help="time limit of one input")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--case", type=int, help="run this case alone, without a time limit")
    given = parser.parse_args()
    problems = run(given.seed, given.count, extra=given.folder, seconds=given.seconds, jobs=given.jobs, case=given.case)
    for line in problems:
        print(line)
    kinds = Counter(line.split(": ", 1)[1][:60] for line in problems)
    print(f"{given.count} inputs, {len(problems)} findings" + "".join(f"\n  {n} {kind}" for kind, n in kinds.most_common(20)))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
