"""Extended XYZ of a few lines -> what the reader makes of it."""

from lamdata.catalog import SourceSpec
from lamdata.sources import SourceFile, read_all, reader

CELL = 'Lattice="2 0 0 0 2 0 0 0 2"'
COLUMNS = "Properties=species:S:1:pos:R:3:forces:R:3"


def read(tmp_path, text, **spec):
    path = tmp_path / "a.xyz"
    path.write_text(text)
    return list(read_all(SourceFile(name="a.xyz", path=str(path)), SourceSpec(path="a.xyz", **spec), use=reader("extxyz")))


def one(tmp_path, comment, *, forces="1 2 3", **spec):
    return read(tmp_path, f"1\n{comment}\nH 0 0 0 {forces}\n", **spec)[0]
