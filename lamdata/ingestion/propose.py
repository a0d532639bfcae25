"""Raw files -> the text of a card that reads them, everything that was guessed marked: what `lamdata init --from` writes.

A unit that no file states is written with a question mark ("eV?"), which the catalog refuses until a person takes it away.
"""

from __future__ import annotations

import glob
import itertools
import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..catalog import SourceSpec
from ..elements import SYMBOLS
from ..errors import LamError, SourceError
from ..frame import LABELS, Frame, Rejection
from ..sources import SourceFile, expand, guess_format, read_all, read_theory, reader
from ..sources.bytes.patterns import matches
from ..sources.labelled.comment_survey import SPLITS, CommentSurvey
from ..sources.labelled.extxyz import UNIT_KEYS, layout_of, parse_comment
from ..sources.labelled.xyz_blocks import blocks
from ..sources.unit_guess import FORCE_OF, guess_energy_unit
from .card_text import LOOKED_AT, MAX_LISTED, Proposal, card_text
from .findings import LeftOut, Seen, as_isolated_atom, say_left_out
from .theories import Theories

OPEN = ("extxyz", "ase/db", "ase/json", "ase/lmdb", "ase/traj")  # formats that say nothing of units
SURVEYED = 10_000  # frames whose comments are read
FIRST = 50  # frames of a file that are read
MOST_FILES = 100  # of a source, whose theories are read to tell them apart
PUBLISHED = 2000  # frames in which a published split is compared with the groups


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedCard:
    """One card: files of one theory, or structures without labels."""

    text: str
    words: str  # what tells it from the others, as "PBE" or "structures"
    structures: bool
    notes: tuple[str, ...]  # labels that are left out, frames that are refused
    isolated: bool = False  # the files have an isolated atom of each element


def propose_card(files: list[Path], *, base: Path | None = None) -> str:
    """Return the YAML of one card for files, folders and archives; its paths are relative to `base`, the folder where it will stand."""
    base = Path.cwd() if base is None else base
    proposals, unread = _look_at_all(files, base)
    return card_text(_merged(proposals, base), unread)


def propose_cards(files: list[Path], *, base: Path | None = None) -> list[ProposedCard]:
    """Return a card for each theory that the files state, and for structures without labels one of their own."""
    base = Path.cwd() if base is None else base
    proposals, unread = _look_at_all(files, base)
    groups: list[list[Proposal]] = []
    for one in proposals:
        home = next((group for group in groups if all(_belong_together(one, other) for other in group)), None)
        groups.append([one]) if home is None else home.append(one)
    return [
        ProposedCard(
            text=card_text(_merged(group, base), unread if number == 0 else []),
            words=_words_of(group),
            structures=all(one.structures for one in group),
            notes=tuple(note for one in group for note in one.notes if note.startswith(("left out in", "refused: "))),
            isolated=bool(atoms := set().union(*(one.atoms for one in group))) and atoms >= set().union(*(one.elements for one in group)),
        )
        for number, group in enumerate(groups)
    ]


def _belong_together(one: Proposal, other: Proposal) -> bool:
    """Whether a card may hold both: labels or none in both, and theories that are stated by both and agree, or by neither."""
    if one.structures or other.structures:
        return one.structures == other.structures
    both = Theories().merge([one.theory, other.theory])
    return bool(one.stated) == bool(other.stated) and not both.differences


def _words_of(group: list[Proposal]) -> str:
    if all(one.structures for one in group):
        return "structures"
    stated = group[0].stated
    return str(stated.get("functional") or stated.get("code") or group[0].format)


def _look_at_all(files: list[Path], base: Path) -> tuple[list[Proposal], list[str]]:
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
    return proposals, unread


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
    elif glob.has_magic(str(path)) and all(file.member is None for file in found):
        proposals = _of_a_glob(path, relative, by_format, base=base, whole=not unread)
    else:
        inside = {file: file.member or os.path.relpath(file.path, path) for file in found}
        alike = [(name, some) for name, files in by_format.items() for some in _of_one_theory(files, name)]
        proposals = [
            Proposal(path=relative, members=pattern, format=name, files=[f for f in files if matches(inside[f], pattern)])
            for name, files in alike
            for pattern in choose_patterns([inside[f] for f in files], list(inside.values()), exact=len(alike) > len(by_format))
        ]
    for proposal in proposals:
        _describe(proposal)
    return _without_doubles(proposals), unread


def _of_a_glob(path: Path, relative: str, by_format: dict[str, list[SourceFile]], *, base: Path, whole: bool) -> list[Proposal]:
    """Sources of plain files that a glob names: itself where they are all alike and it names no other file, else globs of the alike."""
    alike = [(name, some) for name, files in by_format.items() for some in _of_one_theory(files, name)]
    if len(alike) == 1 and whole:
        return [Proposal(path=relative, members=None, format=name, files=files) for name, files in alike]
    folder = path
    while glob.has_magic(str(folder)):
        folder = folder.parent
    present = [name for name in glob.glob("**", root_dir=folder, recursive=True) if (folder / name).is_file()]
    inside = {file: Path(os.path.relpath(file.path, folder)).as_posix() for _, files in alike for file in files}
    flat = all("/" not in name for name in inside.values())
    present = [name for name in present if not flat or "/" not in name]
    below = Path(os.path.relpath(folder, base)).as_posix()
    return [
        Proposal(
            path=posixpath.join(below, pattern.removeprefix("**/") if flat else pattern),
            members=None,
            format=name,
            files=[f for f in files if matches(inside[f], pattern)],
        )
        for name, files in alike
        for pattern in choose_patterns([inside[f] for f in files], present, exact=True)
    ]


def _of_one_theory(files: list[SourceFile], name: str) -> list[list[SourceFile]]:
    """Files in groups whose theories agree; of very many, one group, in which `lamdata check` looks for others."""
    if len(files) == 1 or len(files) > MOST_FILES:
        return [files]
    groups: list[tuple[Theories, list[SourceFile]]] = []
    for file in files:
        mine = Theories()
        mine.add(file.name, _stated_by(file, name))
        home = next((group for group in groups if not Theories().merge([group[0], mine]).differences), None)
        if home is None:
            groups.append((mine, [file]))
        else:
            home[0].merge([mine])
            home[1].append(file)
    return [some for _, some in groups]


def _stated_by(file: SourceFile, name: str) -> dict[str, Any]:
    try:
        return read_theory(file, use=reader(name))
    except LamError:
        return {}


def choose_patterns(wanted: list[str], present: list[str], *, exact: bool = False) -> list[str]:
    """Globs that match the wanted names and no other that is present: one if there is one, else the names themselves.

    Of very many names that no glob has to itself, a glob that has others as well, unless it must be `exact`.
    """
    bases = sorted({posixpath.basename(name) for name in wanted})
    endings = {re.sub(r"^[^.]*", "", base) for base in bases}
    candidates = [f"**/{bases[0]}"] if len(bases) == 1 else [f"**/*{ending}" for ending in endings if len(endings) == 1 and ending]
    candidates += [f"**/{shared}*" for shared in [os.path.commonprefix(bases)] if shared]
    if len(wanted) == 1:
        candidates = wanted
    found = next((c for c in candidates if {n for n in present if matches(n, c)} == set(wanted)), None)
    return [found] if found else wanted if exact or len(wanted) <= MAX_LISTED else candidates[:1] or ["**"]


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
    """Read the first frames, and say which keys and units they were read with, and what of them was not."""
    file, use = proposal.files[0], reader(proposal.format)
    for one in proposal.files[:LOOKED_AT]:
        proposal.theory.add(one.name, _stated_by(one, proposal.format))
    proposal.stated = _stated_by(file, proposal.format)
    if "total" in getattr(use, "options", {}).get("energy", ()) and proposal.format == "oc20/lmdb":
        proposal.options["energy"] = "total?"
        proposal.notes.append("whether `energy` is total or adsorption is not in the file")
        return
    frame = _first_frames(proposal)
    if hasattr(use, "ignored") and (ignored := use.ignored(file)):
        proposal.notes.append(f"labels that are not read: {', '.join(ignored)}")
    if hasattr(use, "usual_units") and (usual := use.usual_units(file)):
        proposal.units = {quantity: f"{unit}?" for quantity, unit in usual.items()}
        proposal.notes.append("units that the file does not state, as this format mostly has them")
    if frame is not None:
        proposal.labels = [name for name in LABELS if getattr(frame, name) is not None]
        proposal.structures = not proposal.labels
        proposal.notes.insert(0, f"first frame: {len(frame.numbers)} atoms, {', '.join(proposal.labels) or 'no labels'}")
        if proposal.format in OPEN:
            _guess_units(proposal, file, frame)
    if hasattr(use, "survey"):
        _survey(proposal, use.survey(file, frames=SURVEYED))
    if proposal.format == "extxyz":
        _note_unread_keys(proposal, file)
    if proposal.format in OPEN:
        _look_for_atoms(proposal)


def _first_frames(proposal: Proposal) -> Frame | None:
    """Read some frames of some files; note labels that are left out and frames that are refused; return the first."""
    first, left_out, looked, refused = None, LeftOut(), 0, list[Rejection]()
    for file in proposal.files[:LOOKED_AT]:
        try:
            for item in itertools.islice(read_all(file, SourceSpec(path=file.name), use=reader(proposal.format)), FIRST):
                looked += 1
                if isinstance(item, Rejection):
                    refused.append(item)
                    continue
                first = first or item
                for text in item.left_out:
                    left_out.setdefault(text, Seen(frames=0, example=item.origin))["frames"] += 1
        except LamError as err:
            proposal.notes.append(f"not read: {' '.join(str(err).split())}")
            break
    proposal.notes += say_left_out(left_out)
    if refused:
        value = "" if refused[0].value is None else f" {refused[0].value}"
        proposal.notes.append(f"refused: {len(refused)} of the first {looked} frames, as {refused[0].origin}: {refused[0].reason}{value}")
    return first


def _survey(proposal: Proposal, found: CommentSurvey) -> None:
    """Propose the key of a group and of a published split that the comments have; note free atoms."""
    if found.groups:
        key, groups = next(iter(found.groups.items()))
        proposal.keys["group"] = key
        proposal.notes.append(f"{key!r} names {groups} groups in the first {found.frames} frames")
    if found.splits:
        key, counts = next(iter(found.splits.items()))
        proposal.keys["split"] = key
        sides = ", ".join(f"{value} {count}" for value, count in counts.items())
        proposal.notes.append(f"a published split under {key!r}: {sides} of the first {found.frames} frames")
        if _parts_groups(proposal):
            proposal.group = "frame"
            proposal.keys.pop("group", None)
            proposal.notes.append("the published split parts what the reader sees as groups, so each frame is a group of its own")


def _look_for_atoms(proposal: Proposal) -> None:
    """Note free atoms, and whether each element has one: then they can be the reference energies."""
    spec, first = SourceSpec(path=proposal.files[0].name), ""
    try:
        for file in proposal.files[:LOOKED_AT]:
            for item in itertools.islice(read_all(file, spec, use=reader(proposal.format)), SURVEYED):
                if isinstance(item, Rejection):
                    continue
                found = as_isolated_atom(item) if item.isolated else None
                if found is None:
                    proposal.elements |= {SYMBOLS[number] for number in set(item.numbers.tolist())}
                elif not isinstance(found, Rejection):
                    proposal.atoms.add(found[0])
                    first = first or item.origin
    except LamError:  # what is wrong has been noted
        pass
    if proposal.atoms:
        lacking = sorted(proposal.elements - proposal.atoms, key=SYMBOLS.index)
        rest = f"; none of {', '.join(lacking)}, so the references of its head are fitted" if lacking else ""
        proposal.notes.append(
            f"isolated atoms of {', '.join(sorted(proposal.atoms, key=SYMBOLS.index))}, as {first}: reference energies, not frames{rest}"
        )


def _parts_groups(proposal: Proposal) -> bool:
    """Whether a group of the reader has frames in two splits of the file."""
    file, keys = proposal.files[0], {name: proposal.keys[name] for name in ("group", "split") if name in proposal.keys}
    sides: dict[str, set[str]] = {}
    try:
        for item in itertools.islice(read_all(file, SourceSpec(path=file.name, keys=keys), use=reader(proposal.format)), PUBLISHED):
            if isinstance(item, Frame) and not item.isolated:
                sides.setdefault(item.group, set()).add(SPLITS.get(item.split.casefold(), item.split))
    except LamError:
        return False
    return any(len(found) > 1 for found in sides.values())


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
    return {q for q, names in UNIT_KEYS.items() if any(f"{n}{dash}unit" in info for n in names for dash in "-_")}


def _note_unread_keys(proposal: Proposal, file: SourceFile) -> None:
    """Name the keys of the first comment that no proposed key reads."""
    with file.open() as stream:
        comment, _ = next(blocks(stream, file.name))
    others = [key for key in parse_comment(comment) if key not in (*proposal.keys.values(), "Lattice", "Properties", "pbc")]
    if others:
        proposal.notes.append(f"keys that are not read: {', '.join(others[:20])}; `info: [{others[0]}]` keeps one with each frame")


def _merged(proposals: list[Proposal], base: Path) -> list[Proposal]:
    """Sources that differ only in the file become one with a pattern, where a pattern names exactly these files."""
    groups: dict[tuple[str | None, ...], list[Proposal]] = {}
    for one in proposals:
        alike = (one.format, one.members, posixpath.dirname(one.path), str(one.keys), str(one.units), str(one.options), one.group)
        groups.setdefault(alike, []).append(one)
    out = []
    for group in groups.values():
        if len(group) == 1 or group[0].members is not None:
            out += group
            continue
        folder = posixpath.dirname(group[0].path)
        names = [posixpath.basename(one.path) for one in group]
        patterns = choose_patterns(names, os.listdir(os.path.normpath(base / folder)), exact=True)
        if len(patterns) > 1:
            out += group
            continue
        pattern, first = patterns[0].removeprefix("**/"), group[0]
        first.path, first.files = posixpath.join(folder, pattern), [f for one in group for f in one.files]
        out.append(first)
    return out
