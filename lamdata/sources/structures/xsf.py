"""XSF -> structures, through ASE: crystals, slabs, molecules and animations (http://www.xcrysden.org/doc/XSF.html).

The three columns after the coordinates are forces in some files and magnetic moments in others, and their unit is that of the program that
wrote them: only structures are read, and what is left out is named. Option `labels: aenet` says that the files are aenet's, with a comment
`# total energy = ... eV` and forces in eV/Å (http://ann.atomistic.net/documentation). The group is the file.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection
from lamdata.frames import Parsed

from ..build import build
from ..bytes.files import SourceFile
from ..bytes.say import say
from ..gathered import gather

MAX_BYTES = 256 << 20
AENET = re.compile(r"^[ \t]*#[ \t]*total energy[ \t]*=[ \t]*(\S+)[ \t]*eV[ \t]*$", re.IGNORECASE | re.MULTILINE)
ENERGY = re.compile(r"^[ \t]*#.*energy[ \t]*[=:]", re.IGNORECASE | re.MULTILINE)
LEFT_OUT = (
    "forces: the columns after the coordinates may be forces or moments, in a unit that is not stated",
    "energy: a comment names one, which is no part of the format",
)
WORDS = (b"CRYSTAL", b"SLAB", b"POLYMER", b"MOLECULE", b"ATOMS", b"PRIMVEC", b"ANIMSTEPS", b"DIM-GROUP")


class XsfReader:
    """`*.xsf`, `*.axsf`."""

    name = "xsf"
    options: dict[str, tuple[str, ...]] = {"labels": ("none", "aenet")}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Parsed | Rejection]:
        """Yield the structures, many at once."""
        return gather(self._frames(file, spec))

    def _frames(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        from ase.io.xsf import iread_xsf

        text = file.bytes(MAX_BYTES).decode("utf-8", "replace")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                steps = list(iread_xsf(io.StringIO(text.split("BEGIN_BLOCK")[0])))
        except Exception as err:  # ASE asserts and raises what its parts raise
            raise SourceError(f"not an XSF that ASE reads: {say(err)}", where=file.name) from None
        labelled = spec.options.get("labels") == "aenet"
        energy = _aenet_energy(text, len(steps), file) if labelled else None
        stated = ENERGY.search(text) is not None
        for i, atoms in enumerate(steps):
            periodic = bool(atoms.pbc.any())
            yield build(
                origin=f"{file.name}#{i}",
                group=file.name,
                numbers=atoms.numbers,
                positions=atoms.positions,
                cell=atoms.cell.array if periodic else None,
                pbc=tuple(map(bool, atoms.pbc)),
                energy=energy,
                forces=_aenet_forces(text, len(atoms)) if labelled and atoms.calc is not None else None,
                left_out=() if labelled else LEFT_OUT[: 1 if atoms.calc is not None else 0] + LEFT_OUT[1 : 2 if stated else 1],
            )

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """The ending, or one of its words on the first line that is not a comment."""
        lines = (line.strip() for line in head.splitlines())
        first = next((line for line in lines if line and not line.startswith(b"#")), b"")
        return file.basename.lower().endswith((".xsf", ".axsf")) and first.split()[:1] in [[word] for word in WORDS]


def _aenet_energy(text: str, steps: int, file: SourceFile) -> float:
    """The total energy of the one structure of a file of aenet, eV."""
    found = AENET.findall(text)
    if len(found) != 1 or steps != 1:
        problem = f"{len(found)} lines `# total energy = ... eV` and {steps} structures, expected one of each"
        raise SourceError(problem, where=file.name, hint="leave `options: {labels: aenet}` out of the card: the file is not aenet's")
    try:
        return float(found[0])
    except ValueError:
        raise SourceError(f"the total energy {found[0][:40]!r} is no number", where=file.name) from None


def _aenet_forces(text: str, natoms: int) -> NDArray[np.float64]:
    """(N, 3) eV/Å as they are written; ASE takes them for Hartree/Å."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    head = next(i for i, line in enumerate(lines) if line.split()[0] in ("PRIMCOORD", "ATOMS"))
    first = head + (2 if lines[head].split()[0] == "PRIMCOORD" else 1)
    return np.array([line.split()[4:7] for line in lines[first : first + natoms]], np.float64)
