"""Damaged texts under the scanner: `python tests/lamdata/sources/bytes/scan_fuzz.py SEED INPUTS [--sanitized]`.

So many texts of all formats are cut, flipped, spliced and renumbered, and read: frames, rejections or one line of error, and what comes out is
what Python alone reads. Each function also gets bytes of all kinds in a buffer that ends with them. `--sanitized` does so with a build of
`_scan.c` under gcc's sanitizers of addresses and of undefined behaviour, which see each step beyond. What ends the process, or hangs, leaves its input.
"""
# ruff: noqa: I001  sanitized builds come before what they replace

from __future__ import annotations

import argparse
import faulthandler
import lzma
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "conformance")]

from tests import sanitized  # noqa: E402
import numpy as np  # noqa: E402
from fuzz import cut, flip, lines, renumber, splice  # noqa: E402

from lamdata.catalog import SourceSpec  # noqa: E402
from lamdata.errors import LamError  # noqa: E402
from lamdata.frame import Frame  # noqa: E402
from lamdata.sources import SourceFile, read_all, reader  # noqa: E402
from lamdata.sources.bytes import scan  # noqa: E402
from tests.lamdata.sources.codes import outcars  # noqa: E402
from tests.lamdata.sources.test_cut_files import FILES, labels  # noqa: E402

DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (cut, flip, renumber, renumber, splice, lines)
INPUT = Path(tempfile.gettempdir()) / f"scan-fuzz-{os.getpid()}.input"
LONGEST = 300  # seconds; a text takes some thousandths
DATA = ROOT / "tests" / "lamdata" / "sources" / "data"
VASPRUN = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n{head}{steps}</modeling>\n'
HEAD = """ <generator><i name="program" type="string">vasp </i><i name="version" type="string">5.4.4 </i></generator>
 <atominfo><array name="atoms"><set><rc><c>H </c><c>1</c></rc><rc><c>O </c><c>2</c></rc></set></array></atominfo>
"""
STEP = """ <calculation>
  <scstep><energy><i name="e_fr_energy"> -1.5 </i><i name="e_0_energy"> -1.5 </i></energy></scstep>
  <structure><crystal><varray name="basis" >
   <v> 5.0 0.0 0.0 </v>
   <v> 0.0 5.0 0.0 </v>
   <v> 0.0 0.0 5.0 </v>
  </varray></crystal><varray name="positions" >
   <v> 0.0 0.0 0.0 </v>
   <v> 0.0 0.0 0.2 </v>
  </varray></structure>
  <varray name="forces" >
   <v> 0.0 0.0 0.25 </v>
   <v> 0.0 0.0 -0.25 </v>
  </varray>
  <energy><i name="e_fr_energy"> -1.5 </i><i name="e_0_energy"> 0.0 </i></energy>
 </calculation>
"""
TEXTS = FILES | {
    "vasp/xml": ("vasprun.xml", "vasp/xml", lambda: VASPRUN.format(head=HEAD, steps=3 * STEP), {}),
    "cp2k/output": ("cp2k.out", "cp2k/output", lambda: lzma.decompress((DATA / "cp2k-one.out.xz").read_bytes()).decode(), {}),
    "cp2k/aimd": ("h2-pos-1.xyz", "cp2k/aimd", lambda: (DATA / "cp2k-md-pos-1.xyz").read_text(), {}),
    "vasp/outcar of many": ("OUTCAR", "vasp/outcar", lambda: outcars.HEAD + "".join(outcars.step(n) for n in range(1, 9)), {}),
}  # file, reader, text, choices
for alike in ("extxyz", "lammps/dump", "n2p2"):  # many frames that are written alike, of which most of a damaged text still are
    file, name, one, said = FILES[alike]
    TEXTS[f"{alike} of many"] = (file, name, lambda one=one: 4 * one(), said)
TEMPLATES = (
    (
        ("#", b" \t", b"", ()),
        ("p", b"", b"", ((b"a", "n", b"nn"), (b"b", "t", b""), (b"v", "=", b"1"), (b"c", ".", b""))),
        ("a", b"", b"en*", ()),
    ),
    (("=", b"ab", b"", ()), (".", b"", b"", ()), ("n", b"", b"nn+", ()), ("w", b"a", b"n*", ()), ("*", b"b", b"wnn", ())),
    (("r", b".ct..", b"", ()), (">", b"1.", b"", ((b"1", "n", b"n*"), (b"=", "t", b""))), ("k", b"2", b"", ()), ("a", b"", b"n", ())),
)
TITLES = (b"\na", b"   x", b"1.", b"<v>", b"ab")


def read(data: bytes, basename: str, name: str, choices: dict) -> list[tuple] | str:
    """What is read, as values that can be compared; or the error."""
    file, found = SourceFile(name=basename, path=f"/nonexistent/{basename}", held=data), []
    try:
        for item in read_all(file, SourceSpec(path="x", format=name, **choices), use=reader(name)):
            found.append(labels(item) if isinstance(item, Frame) else (item.origin, item.reason, str(item.value)))
    except LamError as err:
        assert "\n" not in str(err)
        return f"{found} {err}"
    return found


def damaged(seed: int, count: int, names: list[str]) -> int:
    """Read damaged texts with the scanner and without; return how many gave frames. The one that is read lies in `INPUT` meanwhile."""
    rng, compiled, good = random.Random(seed), scan.compiled, 0
    for name in names:
        basename, reader_name, text, choices = TEXTS[name]
        for _ in range(count):
            data = text().encode()
            for _ in range(rng.choice((1, 1, 2))):
                data = rng.choice(DAMAGES)(data, rng)
            INPUT.write_bytes(data)
            faulthandler.dump_traceback_later(LONGEST, exit=True)
            found = read(data, basename, reader_name, choices)
            scan.compiled = None
            plain = read(data, basename, reader_name, choices)
            scan.compiled = compiled
            assert found == plain, f"{name}, seed {seed}: {str(found)[:300]} instead of {str(plain)[:300]} of {data!r}"
            good += not isinstance(found, str)
    faulthandler.cancel_dump_traceback_later()
    INPUT.unlink(missing_ok=True)
    return good


def any_bytes(seed: int, count: int) -> None:
    """Each function on bytes of all kinds, in a buffer of their size."""
    rng, find = random.Random(seed), scan.compiled.titles((b"ab", b"\na", b"1.", b"   x", b"<v>"))
    templates = [scan.compiled.template(lines, scan.compiled.titles(TITLES)) for lines in TEMPLATES]
    for _ in range(count):
        alphabet = rng.choice((b"0123456789.+-eEdD* \n", b"ab=\"'\\[ \n", b'<>/ab="v \n', b"ab12. \n", bytes(range(256))))
        data = np.frombuffer(bytes(rng.choices(alphabet, k=rng.randrange(60))), np.uint8).copy()
        at, size = rng.randint(0, len(data)), rng.randrange(6)
        pattern = "".join(rng.choices("niew", k=rng.randrange(5))) + rng.choice(("", "+", "*"))
        width = sum(letter in "ni" for letter in pattern)
        out, numbers = np.empty(size * width), np.empty(size, np.uint8)
        after, until = rng.choice((b"", b"a", b"<v>", b"12")), rng.choice((-1, ord("<"), ord(" ")))
        scan.compiled.rows(data, at, pattern, size, out, numbers, scan.ELEMENTS, after, until, rng.randrange(3))
        scan.compiled.find(find, data, at, len(data), rng.choice((b"", bytes(5), b"\1\0\1\0\1")))
        scan.compiled.skip(data, at, size)
        scan.compiled.hop(data, at, rng.randrange(80))
        most, atoms = rng.randrange(4), rng.randrange(6)
        room = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(4 * most, np.int64), np.empty(4 * most)
        if at:  # the break before a line may begin a title
            known = rng.choice(templates)
            scan.compiled.frames(known, data, at, *room, np.empty(2 * atoms), np.empty(atoms, np.uint8), scan.ELEMENTS, rng.randrange(3))
        scan.compiled.pairs(data.tobytes())
        scan.compiled.elements(data, at, len(data), (b"/a", b"/a@b", b"/v/a@"))


def main() -> int:
    """Fuzz, and say how many texts gave frames."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seed", type=int)
    parser.add_argument("inputs", type=int, help="damaged texts, of all formats alike")
    parser.add_argument("--sanitized", action="store_true", help="under a build of the scanner that sees each step beyond its buffers")
    given = parser.parse_args()
    if given.sanitized:
        return sanitized.run([__file__, str(given.seed), str(given.inputs)])
    assert sanitized.BUILDS not in os.environ or sanitized.used(scan.compiled)
    each = -(-given.inputs // len(TEXTS))
    any_bytes(given.seed, 10 * given.inputs)
    print(f"{each * len(TEXTS)} texts, {damaged(given.seed, each, list(TEXTS))} gave frames")
    return 0


if __name__ == "__main__":
    sys.exit(main())
