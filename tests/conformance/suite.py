"""Conformance of a reader, ours or a third party's: what every reader must do, checked on one of its files.

    from suite import check
    problems = check(MyReader(), file)      # [] when it conforms; each problem is one line

`file` is a `SourceFile` that the reader can read. The hostile part (`bad_input`) feeds it damaged copies.
"""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lamdata.catalog import CheckSpec, SourceSpec
from lamdata.checks import check as check_frames
from lamdata.errors import LamError
from lamdata.frame import Frame, Rejection
from lamdata.frames import Parsed
from lamdata.sources import Reader, SourceFile, read_all

SYMMETRIC = 0.05  # eV per atom, largest |virial - transpose|
NET_FORCE = 0.1  # eV/Å, largest mean force of a frame
MAX_FRAMES = 2000


def check(reader: Reader, file: SourceFile, spec: SourceSpec | None = None) -> list[str]:
    """Return what is wrong with a reader on a file that it should read."""
    spec = spec or SourceSpec(path=file.name)
    if not isinstance(reader, Reader):
        return ["not a Reader: it needs name, read, theory and guess"]
    items = read(reader, file, spec)
    problems = protocol(reader, file, items)
    for item in items:
        if isinstance(item, Frame):
            problems += frame(item)
    if digest(items) != digest(read(reader, file, spec)):
        problems.append("a second reading gives other frames")
    if virial_sign(items) is False:
        problems.append("the virial has the wrong sign: it does not follow from energies and strains")
    return list(dict.fromkeys(problems)) + bad_input(reader, file, spec)


def read(reader: Reader, file: SourceFile, spec: SourceSpec) -> list[Frame | Rejection]:
    """Read up to `MAX_FRAMES` items by the rules of ingest."""
    return list(itertools.islice(read_all(file, spec, use=reader), MAX_FRAMES))


def protocol(reader: Reader, file: SourceFile, items: list[Any]) -> list[str]:
    """Names, kinds and origins."""
    problems = [] if items else ["nothing was read"]
    if not all(isinstance(item, (Frame, Rejection)) for item in items):
        problems.append("something is neither a Frame nor a Rejection")
    origins = [item.origin for item in items]
    if any("#" not in origin for origin in origins) or len(set(origins)) != len(origins):
        problems.append("origins are not all different `file#index`")
    if not isinstance(reader.theory(file), dict):
        problems.append("theory is no dict")
    if not isinstance(reader.guess(file, file.head(8192)), bool):
        problems.append("guess is no bool")
    return problems


def frame(one: Frame) -> list[str]:
    """Kinds, finiteness, symmetry and sums of one frame; its shapes were checked as it was made."""
    problems = []
    if one.numbers.dtype != np.uint8 or one.positions.dtype != np.float64:
        problems.append("numbers are not uint8 or positions not float64")
    if not one.numbers.all() or one.numbers.max() > 118:
        problems.append("an atomic number outside 1..118")
    arrays = {"positions": one.positions, "cell": one.cell, "forces": one.forces, "virial": one.virial}
    problems += [f"{name} is not finite" for name, value in arrays.items() if value is not None and not np.isfinite(value).all()]
    if one.energy is not None and not np.isfinite(one.energy):
        problems.append("energy is not finite: a missing label is None")
    if one.forces is not None and not one.forces.any() and len(one.numbers) > 2 and one.energy == 0.0:
        problems.append("all labels are zero: a missing label is None")
    if one.virial is not None and np.abs(one.virial - one.virial.T).max() / len(one.numbers) > SYMMETRIC:
        problems.append("virial is not symmetric")
    if not one.group:
        problems.append("no group")
    return problems


def net_force(items: list[Frame | Rejection]) -> float:
    """Largest mean force over the frames, eV/Å; not a fault of a reader, but a hint at a wrong unit or a lost atom."""
    means = [np.linalg.norm(f.forces.mean(axis=0)) for f in items if isinstance(f, Frame) and f.forces is not None]
    return float(max(means, default=0.0))


def digest(items: list[Frame | Rejection]) -> str:
    """Everything in the items, to compare two readings."""
    return "\n".join(repr(item) if isinstance(item, Rejection) else _digest(item) for item in items)


def _digest(one: Frame) -> str:
    arrays = [one.numbers, one.positions, one.cell, one.forces, one.virial]
    rest = (one.pbc, one.energy, one.charge, one.multiplicity, one.converged, one.group, one.origin)
    return f"{[None if a is None else a.tobytes().hex() for a in arrays]} {rest}"


def virial_sign(items: list[Frame | Rejection]) -> bool | None:
    """Compare energies of successive frames with the work of forces and virial; None where no pair strains the cell enough.

    Between frames 1 and 2 of a trajectory, dE = -sum F.(ds h) - W:strain to first order, with the mean of both frames'
    forces and virials, ds the change of fractional coordinates and 1 + strain = h1^-1 h2 (rows are lattice vectors).
    """
    votes = [vote for pair in _pairs(items) if (vote := _vote(*pair)) is not None]
    return None if not votes else sum(votes) > len(votes) / 2


def _pairs(items: list[Frame | Rejection]) -> Iterator[tuple[Frame, Frame]]:
    frames = [item for item in items if isinstance(item, Frame)]
    for one, two in itertools.pairwise(frames):
        labels = (one.energy, two.energy, one.virial, two.virial, one.forces, two.forces)
        alike = one.group == two.group and all(one.pbc) and all(two.pbc) and np.array_equal(one.numbers, two.numbers)
        if alike and not any(label is None for label in labels):
            yield one, two


def _vote(one: Frame, two: Frame) -> bool | None:
    strain = np.linalg.inv(one.cell) @ two.cell - np.eye(3)
    shift = two.positions @ np.linalg.inv(two.cell) - one.positions @ np.linalg.inv(one.cell)
    shift = (shift - np.round(shift)) @ (one.cell + two.cell) / 2
    if np.abs(strain).max() > 0.05 or np.abs(shift).max() > 0.3:
        return None
    moved = -float(((one.forces + two.forces) / 2 * shift).sum())
    strained = -float(((one.virial + two.virial) / 2 * strain).sum())
    change = two.energy - one.energy
    right, wrong = abs(change - moved - strained), abs(change - moved + strained)
    if abs(strained) < max(1e-3, 0.25 * abs(moved)) or min(right, wrong) > 0.3 * abs(strained):
        return None  # other things than the strain decide: a long step, another basis, a Pulay stress, noise
    return right < wrong


def bad_input(reader: Reader, file: SourceFile, spec: SourceSpec) -> list[str]:
    """Feed damaged copies; each must end in frames, rejections or one line of error."""
    if file.size > 4 << 20:
        return []
    raw = file.bytes()
    rng = random.Random(0)
    noise = bytes(rng.randrange(256) for _ in range(2000))
    damaged = {"empty": b"", "cut": raw[: len(raw) // 2], "noise": noise, "zeros": bytes(2000), "doubled": raw + raw[: len(raw) // 3]}
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        for name, content in damaged.items():
            path = Path(folder) / file.basename
            path.write_bytes(content)
            problem = one_line(reader, SourceFile(name=file.basename, path=str(path)), spec)
            problems += [f"{name} input: {problem}"] if problem else []
    return problems


def one_line(reader: Reader, file: SourceFile, spec: SourceSpec) -> str | None:
    """Read and check; return what is wrong with how it fails, None where it does not fail or fails with one line."""
    try:
        frames = [item for item in read(reader, file, spec) if isinstance(item, Frame)]
        if frames:
            check_frames(Parsed.from_list(frames), CheckSpec())
    except LamError as err:
        return f"an error of {str(err).count(chr(10)) + 1} lines" if "\n" in str(err) else None
    except Exception as err:  # what a reader must not let through
        return f"{type(err).__name__}: {str(err)[:100]}"
    return None
