"""AiiDA archives -> the crystal structures in them: the zip with an sqlite database (`main_*`, AiiDA 2), or with `data.json` (0.1 to 0.13).

Every `StructureData` node is a frame; option `group` keeps those in the AiiDA group of that label, as archives also hold the inputs of
relaxations. Energies and forces are nodes of their own, computed for one of several structures of a workflow, and are not read.
The database is read as data by sqlite3: aiida-core would need a profile, and migrates the archive first. The group is the node's UUID.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection

from ..build import Unusable, build, rejects
from ..bytes.files import SourceFile
from ..bytes.json_items import WHOLE, parse
from ..bytes.say import say
from ..labelled.ase_files import open_readonly

STRUCTURES = "data.core.structure.StructureData."
OLD_STRUCTURES = ("data.structure.StructureData.", STRUCTURES)
OLD_NODES = "aiida.backends.djsite.db.models.DbNode"  # 0.1 and 0.2
MAX_DATABASE = 64 << 30  # bytes; MC3D's archive is 12 GB in all
MAX_RATIO = 1000  # sqlite pages pack well
IN_GROUP = (
    "SELECT n.uuid, n.attributes FROM db_dbnode n JOIN db_dbgroup_dbnodes m ON m.dbnode_id = n.id JOIN db_dbgroup g ON g.id = m.dbgroup_id"
    " WHERE n.node_type = ? AND g.label = ? ORDER BY n.id"
)
ALL = "SELECT uuid, attributes FROM db_dbnode WHERE node_type = ? ORDER BY id"


class AiidaReader:
    """`*.aiida`."""

    name = "aiida"
    options: dict[str, tuple[str, ...]] = {"group": ()}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the structure nodes."""
        with _opened(file) as archive:
            names = set(archive.namelist())
            if "db.sqlite3" in names:
                nodes = _sqlite_nodes(archive, spec.options.get("group"), file)
            elif "data.json" in names and "group" in spec.options:
                hint = "leave it out, or convert the archive with `verdi archive migrate`"
                raise SourceError("option `group` is for archives of AiiDA 2, this one is older", where=file.name, hint=hint)
            elif "data.json" in names:
                nodes = _json_nodes(archive, file)
            else:
                raise SourceError("neither db.sqlite3 nor data.json in it", where=file.name, hint="convert it with `verdi archive migrate`")
            for i, (uuid, attributes) in enumerate(nodes):
                yield _frame(attributes, origin=f"{file.name}#{i}", uuid=uuid)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """An archive may hold calculations at any level: nothing is taken from it."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """A zip with the names of an archive, or the ending."""
        inside = b"db.sqlite3" in head or b"metadata.json" in head and (b"data.json" in head or b"nodes/" in head)
        return file.basename.endswith(".aiida") or head.startswith(b"PK") and inside


@contextmanager
def _opened(file: SourceFile) -> Iterator[zipfile.ZipFile]:
    with file.local() as path:
        try:
            with zipfile.ZipFile(path) as archive:
                yield archive
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError) as err:
            hint = "an archive of AiiDA before 1.0 must be converted with `verdi archive migrate`"
            raise SourceError(f"not a zip that can be read: {say(err)}", where=file.name, hint=hint) from None


def _sqlite_nodes(archive: zipfile.ZipFile, group: Any, file: SourceFile) -> Iterator[tuple[str, Any]]:
    with _extracted(archive, file) as path, closing(open_readonly(path)) as database:
        try:
            rows = database.execute(IN_GROUP, (STRUCTURES, str(group))) if group else database.execute(ALL, (STRUCTURES,))
            for uuid, attributes in rows:
                yield str(uuid), parse(attributes, where=file.name)
        except (sqlite3.Error, TypeError) as err:
            raise SourceError(f"damaged database: {say(err)}", where=file.name) from None


@contextmanager
def _extracted(archive: zipfile.ZipFile, file: SourceFile) -> Iterator[Path]:
    """The database as a temporary file: sqlite needs one."""
    info = archive.getinfo("db.sqlite3")
    if info.file_size > MAX_DATABASE or info.file_size > MAX_RATIO * max(info.compress_size, 1):
        raise SourceError(f"its database unpacks to {info.file_size} bytes: refused", where=file.name)
    with tempfile.TemporaryDirectory(prefix="lamdata-") as folder:
        path = Path(folder) / "db.sqlite3"
        with archive.open(info) as packed, open(path, "wb") as out:  # zipfile never gives more than `file_size`
            shutil.copyfileobj(packed, out)
        yield path


def _json_nodes(archive: zipfile.ZipFile, file: SourceFile) -> Iterator[tuple[str, Any]]:
    info = archive.getinfo("data.json")
    if info.file_size > WHOLE:
        raise SourceError(f"its data.json has {info.file_size} bytes", where=file.name, hint="convert it with `verdi archive migrate`")
    data = parse(archive.read(info), where=file.name)
    try:
        exported = data["export_data"]
        nodes = exported.get("Node", exported.get(OLD_NODES, {}))
        attributes = data.get("node_attributes", {})
        for key in sorted(nodes, key=lambda k: (len(k), k)):
            if nodes[key].get("node_type", nodes[key].get("type")) in OLD_STRUCTURES:
                yield str(nodes[key]["uuid"]), attributes.get(key)
    except (KeyError, TypeError, AttributeError) as err:
        raise SourceError(f"data.json is not as expected: {err}", where=file.name) from None


@rejects("a StructureData node")
def _frame(attributes: Any, *, origin: str, uuid: str) -> Frame | Rejection:
    symbols = {kind["name"]: _symbol(kind) for kind in attributes["kinds"]}
    used = [symbols[site["kind_name"]] for site in attributes["sites"]]
    problem = next((s for s in used if s.startswith("disorder")), None)
    if problem:
        raise Unusable(problem)
    pbc = tuple(bool(attributes[f"pbc{i}"]) for i in (1, 2, 3))
    return build(
        origin=origin,
        group=uuid,
        symbols=used,
        positions=[site["position"] for site in attributes["sites"]],
        cell=attributes["cell"] if any(pbc) else None,
        pbc=pbc,
    )


def _symbol(kind: dict[str, Any]) -> str:
    """The element of a kind, or why it is none."""
    if len(kind["symbols"]) != 1 or abs(float(kind["weights"][0]) - 1.0) > 1e-6:
        return f"disorder: kind {json.dumps(kind['symbols'])[:40]} with weights {json.dumps(kind['weights'])[:40]}"
    return str(kind["symbols"][0])
