"""Raw files -> the text of a card that reads them, everything that was guessed marked: what `lamdata init --from` writes.

A unit that no file states is written with a question mark ("eV?"), which the catalog refuses until a person takes it away.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.compat import StringIO

from ..catalog import SourceSpec
from ..errors import LamError, SourceError
from ..frame import Frame
from ..sources import SourceFile, expand, guess_format, read_all, read_theory, reader
from ..sources.bytes.patterns import matches
from ..sources.labelled.extxyz import UNIT_KEYS, blocks, layout_of, parse_comment
from ..sources.unit_guess import FORCE_OF, guess_energy_unit
from ..theory import Theory

OPEN = ("extxyz", "ase/db", "ase/json", "ase/lmdb", "ase/traj")  # formats that say nothing of units
LOOKED_AT = 5  # files of a source whose theory is read
MAX_LISTED = 8  # files that are named one by one


@dataclass(slots=True, kw_only=True)
class Proposal:
    """One source of the card: files of one format, and what was seen in the first."""

    path: str
    members: str | None
    format: str
    files: list[SourceFile]
    keys: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def propose_card(files: list[Path], *, base: Path | None = None) -> str:
    """Return the YAML of a card for files, folders and archives; its paths are relative to `base`, the folder where it will stand."""
    base = Path.cwd() if base is None else base
    proposals: list[Proposal] = []
    unread: list[str] = []
    for path in files:
        found, unknown = _look_at(Path(path), base)
        proposals += found
        unread += unknown
    if not proposals:
        raise SourceError(
            "none of the files has a format that is recognised", where=", ".join(map(str, files))[:200], hint="name it: `format: NAME`"
        )
    return _card_text(_merged(proposals, base), unread)


def _look_at(path: Path, base: Path) -> tuple[list[Proposal], list[str]]:
    """The sources in one file, folder or archive, one for each format; and the files that no reader knows."""
    relative = Path(os.path.relpath(path, base)).as_posix()
    found = expand(SourceSpec(path=str(path)), base=Path.cwd())  # `base` need not exist yet
    by_format: dict[str, list[SourceFile]] = {}
    unread = []
    for file in found:
        try:
            by_format.setdefault(guess_format(file), []).append(file)
        except LamError:
            unread.append(file.name)
    if len(found) == 1 and found[0].member is None:
        proposals = [Proposal(path=relative, members=None, format=name, files=files) for name, files in by_format.items()]
    else:
        inside = {file: file.member or os.path.relpath(file.path, path) for file in found}
        proposals = [
            Proposal(path=relative, members=pattern, format=name, files=[f for f in files if matches(inside[f], pattern)])
            for name, files in by_format.items()
            for pattern in choose_patterns([inside[f] for f in files], list(inside.values()))
        ]
    for proposal in proposals:
        _describe(proposal)
    return _without_doubles(proposals), unread


def choose_patterns(wanted: list[str], present: list[str]) -> list[str]:
    """Globs that match the wanted names and no other that is present: one if there is one, else the names themselves."""
    bases = sorted({posixpath.basename(name) for name in wanted})
    endings = {re.sub(r"^[^.]*", "", base) for base in bases}
    candidates = [f"**/{bases[0]}"] if len(bases) == 1 else [f"**/*{ending}" for ending in endings if len(endings) == 1 and ending]
    candidates += [f"**/{shared}*" for shared in [os.path.commonprefix(bases)] if shared]
    if len(wanted) == 1:
        candidates = wanted
    exact = next((c for c in candidates if {n for n in present if matches(n, c)} == set(wanted)), None)
    return [exact] if exact else wanted[:MAX_LISTED] if len(wanted) <= MAX_LISTED else candidates[:1] or ["**"]


def _without_doubles(proposals: list[Proposal]) -> list[Proposal]:
    """Leave out what is there twice: structures beside the outputs they belong to, an OUTCAR beside its vasprun.xml."""
    labelled = [one for one in proposals if one.labels]
    kept = []
    for one in proposals:
        folders = {file.folder for file in one.files}
        better = [o for o in labelled if o.format != one.format and folders & {f.folder for f in o.files}]
        rival = next((o for o in better if not one.labels or (one.format, o.format) == ("vasp/outcar", "vasp/xml")), None)
        if rival is None:
            kept.append(one)
        else:
            rival.notes.append(f"left out: {one.format} ({one.members}), which is beside these files")
    return kept


def _describe(proposal: Proposal) -> None:
    """Read the first frame, and say which keys and units it was read with."""
    file, use = proposal.files[0], reader(proposal.format)
    if "total" in getattr(use, "options", {}).get("energy", ()) and proposal.format == "oc20/lmdb":
        proposal.options["energy"] = "total?"
        proposal.notes.append("whether `energy` is total or adsorption is not in the file")
        return
    try:
        frame = next(
            (item for item in itertools.islice(read_all(file, SourceSpec(path=file.name), use=use), 50) if isinstance(item, Frame)), None
        )
    except LamError as err:
        proposal.notes.append(f"not read: {' '.join(str(err).split())}")
        frame = None
    if hasattr(use, "ignored") and (ignored := use.ignored(file)):
        proposal.notes.append(f"labels that are not read: {', '.join(ignored)}")
    if hasattr(use, "usual_units") and (usual := use.usual_units(file)):
        proposal.units = {quantity: f"{unit}?" for quantity, unit in usual.items()}
        proposal.notes.append("units that the file does not state, as this format mostly has them")
    if frame is not None:
        proposal.labels = [name for name in ("energy", "forces", "virial") if getattr(frame, name) is not None]
        proposal.notes.append(f"first frame: {len(frame.numbers)} atoms, {', '.join(proposal.labels) or 'no labels'}")
        if proposal.format in OPEN:
            _guess_units(proposal, file, frame)


def _guess_units(proposal: Proposal, file: SourceFile, frame: Frame) -> None:
    """Write the units down that no file states, with a question mark."""
    stated = set()
    if proposal.format == "extxyz":
        stated = _keys_of_extxyz(proposal, file)
    energy, why = guess_energy_unit(frame)
    guesses = {"length": "Angstrom"}
    if "energy" in proposal.labels:
        guesses["energy"] = energy
        proposal.notes.append(f"energy in {energy}: {why}" if "energy" not in stated else "units of energy are stated in the file")
    if "forces" in proposal.labels:
        guesses["force"] = FORCE_OF[energy]
    if "virial" in proposal.labels and (proposal.keys.get("stress") or proposal.format != "extxyz"):
        guesses["stress"] = "eV/Angstrom^3"
    proposal.units = {quantity: f"{unit}?" for quantity, unit in guesses.items() if quantity not in stated}


def _keys_of_extxyz(proposal: Proposal, file: SourceFile) -> set[str]:
    """Note the keys of the first frame; return the quantities whose unit its comment states."""
    with file.open() as stream:
        comment, _ = next(blocks(stream, file.name))
    info = parse_comment(comment)
    try:
        layout = layout_of(info, SourceSpec(path=file.name), where=file.name)
    except SourceError as err:
        proposal.notes.append(str(err))
        return set()
    proposal.keys = {k: v for k, v in layout.info.items() if k != "group"} | ({"forces": layout.forces} if layout.forces else {})
    others = [key for key in info if key not in (*proposal.keys.values(), "Lattice", "Properties", "pbc")]
    if others:
        proposal.notes.append(f"keys that are not read: {', '.join(others[:20])}")
    return {q for q, names in UNIT_KEYS.items() if any(f"{n}{dash}unit" in info for n in names for dash in "-_")}


def _merged(proposals: list[Proposal], base: Path) -> list[Proposal]:
    """Sources that differ only in the file become one with a pattern, where a pattern names exactly these files."""
    groups: dict[tuple[str | None, ...], list[Proposal]] = {}
    for one in proposals:
        alike = (one.format, one.members, posixpath.dirname(one.path), str(one.keys), str(one.units), str(one.options))
        groups.setdefault(alike, []).append(one)
    out = []
    for group in groups.values():
        if len(group) == 1 or group[0].members is not None:
            out += group
            continue
        folder = posixpath.dirname(group[0].path)
        names = [posixpath.basename(one.path) for one in group]
        patterns = choose_patterns(names, os.listdir(os.path.normpath(base / folder)))
        if len(patterns) > 1:
            out += group
            continue
        pattern, first = patterns[0].removeprefix("**/"), group[0]
        first.path, first.files = posixpath.join(folder, pattern), [f for one in group for f in one.files]
        out.append(first)
    return out


def _card_text(proposals: list[Proposal], unread: list[str]) -> str:
    name = re.sub(r"[^A-Za-z0-9._+()-]+", "-", posixpath.basename(proposals[0].path.rstrip("/")).split(".")[0].replace("*", "")) or "mine"
    name = name if name[0].isalnum() else f"data{name}"
    lines = [
        "# A proposal: look at each `# guess`, and take the question mark from each unit that is right.",
        f"dataset: {_scalar(name)}",
        f"title: {_scalar(name)}  # guess, as is the name of the dataset",
        "contributors: []",
        "citations: []",
        "doi: null",
        "url: null",
        "license: null  # not known: who may use it?",
        *_theory_lines(proposals),
        "sources:",
    ]
    for one in proposals:
        lines += _source_lines(one)
    if unread:
        lines.append(
            f"# {len(unread)} other files, which are no source by themselves: {', '.join(unread[:MAX_LISTED])}{', ...' * (len(unread) > MAX_LISTED)}"
        )
    return "\n".join(lines) + "\n"


def _theory_lines(proposals: list[Proposal]) -> list[str]:
    """What the first files state of their theory, where they agree."""
    stated = list(_stated_theories(proposals))
    lines = ["theory:"]
    for name in Theory.model_fields:
        values = {_scalar(theory[name]) for _, theory in stated if theory.get(name) is not None}
        if len(values) == 1:
            origin = next(file for file, theory in stated if theory.get(name) is not None)
            lines.append(f"  {name}: {values.pop()}  # stated by {origin}")
        else:
            lines.append(f"  {name}: null  # {'the files differ: ' + ', '.join(sorted(values)) if values else 'not stated'}")
    return lines


def _stated_theories(proposals: list[Proposal]) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in proposals:
        for file in one.files[:LOOKED_AT]:
            try:
                yield file.name, read_theory(file, use=reader(one.format))
            except LamError:
                continue


def _source_lines(one: Proposal) -> list[str]:
    lines = [f"  - path: {_scalar(one.path)}"]
    if one.members is not None:
        lines.append(f"    members: {_scalar(one.members)}")
    lines.append(f"    format: {_scalar(one.format)}  # guess")
    for title, table in (("keys", one.keys), ("units", one.units), ("options", one.options)):
        if table:
            inside = ", ".join(f"{key}: {_scalar(value)}" for key, value in table.items())
            lines.append(f"    {title}: {{{inside}}}  # guess")
    return lines + [f"    # {note}" for note in one.notes]


def _scalar(value: Any) -> str:
    """A value as YAML 1.2 in one line, quoted where it must be or where it stands for a guess."""
    if isinstance(value, str) and (value.endswith("?") or any(c in value for c in "{}[],*#")):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    out = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.width = 10_000
    yaml.dump(value, out)
    return out.getvalue().removesuffix("...\n").strip()
