"""XSF -> structures, through ASE: crystals, slabs, molecules and animations (http://www.xcrysden.org/doc/XSF.html).

Only structures are read: the three columns after the coordinates are forces in some files and magnetic moments in others, and their
unit is that of the program that wrote them. What is left out is named. The group is the file.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from typing import Any

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection

from ..build import build
from ..bytes.files import SourceFile
from ..bytes.say import say

MAX_BYTES = 256 << 20
ENERGY = re.compile(r"^[ \t]*#.*energy[ \t]*[=:]", re.IGNORECASE | re.MULTILINE)
LEFT_OUT = (
    "forces: the columns after the coordinates may be forces or moments, in a unit that is not stated",
    "energy: a comment names one, which is no part of the format",
)
WORDS = (b"CRYSTAL", b"SLAB", b"POLYMER", b"MOLECULE", b"ATOMS", b"PRIMVEC", b"ANIMSTEPS", b"DIM-GROUP")


class XsfReader:
    """`*.xsf`, `*.axsf`."""

    name = "xsf"
    options: dict[str, tuple[str, ...]] = {}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the structures."""
        from ase.io.xsf import iread_xsf

        text = file.bytes(MAX_BYTES).decode("utf-8", "replace")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                steps = list(iread_xsf(io.StringIO(text.split("BEGIN_BLOCK")[0])))
        except Exception as err:  # ASE asserts and raises what its parts raise
            raise SourceError(f"not an XSF that ASE reads: {say(err)}", where=file.name) from None
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
                left_out=LEFT_OUT[: 1 if atoms.calc is not None else 0] + LEFT_OUT[1 : 2 if stated else 1],
            )

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """The ending, or one of its words on the first line that is not a comment."""
        lines = (line.strip() for line in head.splitlines())
        first = next((line for line in lines if line and not line.startswith(b"#")), b"")
        return file.basename.lower().endswith((".xsf", ".axsf")) and first.split()[:1] in [[word] for word in WORDS]
