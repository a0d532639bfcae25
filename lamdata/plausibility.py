"""What is known of a whole dataset -> what in it cannot be right though every frame passed its checks.

An energy scan far from all other frames, labels that are exactly zero, one energy in many frames, a label that some files lack, units
and signs of forces and virials by the work they do, molecules that their forces would turn. Gathered while frames pass through ingest: each part merges with the next, and what
is kept grows with compositions and files up to a bound, never with frames. A finding is for a person to judge; it names its frames.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .distances import heights
from .energy_work import Pair, WorkSums, name_factor, neighbouring_pairs
from .frame import F64, LABELS
from .frames import Frames, Parsed
from .statistics import Compositions, formulas_in, parse_formula, robust_residuals, weighted_median
from .units import ENERGY, FORCE, GPA, KBAR, STRESS

NAMES = 5  # frames that a finding names
MOST_CELLS, MOST_FILES, MOST_VALUES = 20_000, 20_000, 256
FAR, SPREADS = 10.0, 15.0  # eV/atom, and times the spread of all: cohesive energies are below the first, short distances few
FEW = 3  # frames with an exactly zero virial, or files without a label, may be a chance
MANY, SHARE = 10, 0.05  # frames that share one energy or have zero forces, and their share of those with an energy
HIGHEST = 1000 * GPA  # eV/Å^3; three times the pressure in the centre of the Earth
TURN, TURNED = 0.5, 0.1  # eV, and times the sum of |r||F|: forces of a free molecule do not turn it, but for noise and fields
SLACK = 30.0, 3000.0  # times less, or more, than forces across a cell allow a virial to be
PRESSURES = STRESS | {"bar": KBAR / 1000}
FORCES = {name: size for name, size in FORCE.items() if "nm" not in name}


def _file(origin: str) -> str:
    return origin.rpartition("#")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is implausible, for a person to judge."""

    kind: str  # one word: energy_far, energy_repeated, forces_zero, ...
    text: str  # a sentence
    count: int  # frames, or files, of which it speaks
    frames: tuple[str, ...]  # names of some of them

    def __str__(self) -> str:
        return f"{self.text} ({self.count:,}: {', '.join(self.frames)}{', ...' * (self.count > len(self.frames))})"


@dataclass(slots=True)
class Seen:
    """How many there are, and the first few names."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, names: Sequence[str], count: int | None = None) -> None:
        """Take in more."""
        self.count += len(names) if count is None else count
        self.names += names[: NAMES - len(self.names)]

    def to_json(self) -> tuple[int, list[str]]:
        """As plain data."""
        return self.count, self.names


@dataclass(slots=True)
class Plausibility:
    """An accumulator; `add` frames, `merge` parts in order, `findings` at the end."""

    frames: int = 0
    energetic: int = 0  # frames whose energies were taken in
    energies: dict[tuple[str, int], tuple[Seen, float]] = field(default_factory=dict)  # (composition, eV/atom) -> frames, sum of energies
    values: dict[float, Seen] = field(default_factory=dict)  # energy -> frames that have it to the last bit; the frequent ones
    zero_virial: Seen = field(default_factory=Seen)  # frames of several atoms with a virial of exactly zero
    files: dict[str, list[int]] = field(
        default_factory=dict
    )  # file -> frames with energy, without, forces ..., virial ..., forces all zero
    high: Seen = field(default_factory=Seen)  # frames with a stress above HIGHEST
    unjudged: int = 0  # frames beyond the bound of `energies`
    work: dict[str, WorkSums] = field(default_factory=dict)  # file, "" for all -> what energies say of forces and virials
    examples: dict[str, str] = field(default_factory=dict)  # file -> its first frame that has a neighbour
    sizes: dict[int, int] = field(default_factory=dict)  # tenth of a decade -> frames whose virial is so many times what forces allow
    outside: Seen = field(default_factory=Seen)  # frames where that is outside SLACK
    turned: Seen = field(default_factory=Seen)  # molecules that their forces turn
    molecules: int = 0  # that have forces

    def add(self, parsed: Parsed, compositions: Compositions | None = None) -> None:
        """Take in frames, in the order of their files; `compositions` are theirs."""
        frames, origins = parsed.frames, parsed.origins
        if not len(parsed):
            return
        self.frames += len(parsed)
        squares = np.add.reduceat(np.einsum("ai,ai->a", frames.forces, frames.forces), frames.starts[:-1])
        virial = np.abs(frames.virial).reshape(len(frames), -1).max(axis=1)
        several = frames.natoms > 1
        self.zero_virial.add([origins[f] for f in np.flatnonzero(several & frames.has_virial & (virial == 0)).tolist()])
        free = several | frames.pbc.any(axis=1)
        free &= ~np.asarray(parsed.isolated, bool) if len(parsed.isolated) else True
        self._add_energies(frames, origins, np.flatnonzero(free & frames.has_energy), compositions or Compositions.of(frames))
        self._add_files(frames, origins, zero=several & frames.has_forces & (squares == 0))
        self._add_virials(frames, origins, virial, squares)
        self._add_turns(frames, origins, several)
        for pair in neighbouring_pairs(frames):
            self._add_work("", [origins[pair.first]], pair)
            if (name := _file(origins[pair.first])) == _file(origins[pair.first + 1]):
                self._add_work(name, [origins[pair.first]], pair)

    def _add_work(self, name: str, origins: Sequence[str], work: Pair | WorkSums) -> None:
        """Add to the sums of a file, or of all for ""."""
        if name not in self.work and len(self.work) > MOST_FILES:
            return
        sums = self.work.setdefault(name, WorkSums())
        if isinstance(work, WorkSums):
            sums.merge(work)
        else:
            sums.add([work])
        self.examples.setdefault(name, origins[0])

    def _add_energies(self, frames: Frames, origins: Sequence[str], rows: NDArray[np.int64], made: Compositions) -> None:
        """Take in the energies of some rows, those of free atoms left out: they are far from all others by nature."""
        kind = made.kind
        step = np.floor(frames.energy / frames.natoms)
        self.energetic += len(rows)
        order = rows[np.lexsort((rows, step[rows], kind[rows]))]
        begins = np.flatnonzero(np.diff(kind[order], prepend=-1) | np.diff(step[order], prepend=np.nan).astype(bool))
        ends, totals = np.append(begins[1:], len(order)), np.add.reduceat(frames.energy[order], begins) if len(order) else ()
        formulas, cells = formulas_in(made.elements, made.kinds), zip(kind[order[begins]].tolist(), step[order[begins]].tolist())
        for (which, of_step), begin, end, total in zip(cells, begins.tolist(), ends.tolist(), totals):
            names = [origins[f] for f in order[begin : min(end, begin + NAMES)].tolist()]
            self._add_cell((formulas[which], int(of_step)), names, end - begin, float(total))
        values, first, counts = np.unique(frames.energy[rows], return_index=True, return_counts=True)
        known = np.isin(values, list(self.values)) | (counts > 1)
        for value, at, count in zip(values[known].tolist(), first[known].tolist(), counts[known].tolist()):
            self.values.setdefault(value, Seen()).add([origins[int(rows[at])]], count)
        self._forget()

    def _add_cell(self, key: tuple[str, int], names: Sequence[str], count: int, total: float) -> None:
        if key not in self.energies and len(self.energies) >= MOST_CELLS:
            self.unjudged += count
            return
        seen, before = self.energies.get(key, (Seen(), 0.0))
        seen.add(names, count)
        self.energies[key] = seen, before + total

    def _forget(self) -> None:
        """Keep the most frequent energies."""
        if len(self.values) > MOST_VALUES:
            self.values = dict(sorted(self.values.items(), key=lambda item: -item[1].count)[: MOST_VALUES // 2])

    def _add_files(self, frames: Frames, origins: Sequence[str], *, zero: NDArray[np.bool_]) -> None:
        names = [origin.rpartition("#")[0] for origin in origins]
        begins = [0, *(i for i in range(1, len(names)) if names[i] != names[i - 1])]
        for name, rows in zip((names[i] for i in begins), map(slice, begins, [*begins[1:], len(names)])):
            periodic = frames.pbc[rows].all(axis=1)
            row = []
            for label in LABELS:
                has = getattr(frames, f"has_{label}")[rows]
                row += [int(has.sum()), int((~has & (periodic if label == "virial" else True)).sum())]
            self._add_file(name, [*row, int(zero[rows].sum())])

    def _add_file(self, name: str, row: Sequence[int]) -> None:
        if name in self.files or len(self.files) < MOST_FILES:
            self.files[name] = [a + b for a, b in zip(self.files.get(name, [0] * len(row)), row)]

    def _add_virials(self, frames: Frames, origins: Sequence[str], virial: F64, squares: F64) -> None:
        """Take in the largest component of each virial and the sum of squares of the forces, (F,)."""
        full = np.flatnonzero(frames.has_virial & frames.pbc.all(axis=1))
        volume = heights(frames.cell[full])[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            self.high.add([origins[f] for f in full[virial[full] > HIGHEST * volume].tolist()])
            # Pairs r apart with forces of this size and no order among them give sqrt(N) r F.
            allowed = np.cbrt(volume / frames.natoms[full]) * np.sqrt(squares[full])
            tells = frames.has_forces[full] & (squares[full] > frames.natoms[full] * 0.05**2) & (virial[full] > 0)
            sizes = virial[full][tells] / allowed[tells]
        for step, count in Counter(np.rint(10 * np.log10(sizes)).astype(int).tolist()).items():
            self.sizes[step] = self.sizes.get(step, 0) + count
        self.outside.add([origins[f] for f in full[tells][(sizes < 1 / SLACK[0]) | (sizes > SLACK[1])].tolist()])

    def _add_turns(self, frames: Frames, origins: Sequence[str], several: NDArray[np.bool_]) -> None:
        """Take in molecules whose forces have a moment about their centre: of another geometry, or along other axes."""
        free = several & frames.has_forces & ~frames.pbc.any(axis=1)
        self.molecules += int(free.sum())
        if not free.any():
            return
        starts, atoms = frames.starts[:-1], frames.natoms
        centred = frames.positions - np.repeat(np.add.reduceat(frames.positions, starts) / atoms[:, None], atoms, axis=0)
        moment = np.linalg.norm(np.add.reduceat(np.cross(centred, frames.forces), starts), axis=1)
        most = np.add.reduceat(np.linalg.norm(centred, axis=1) * np.linalg.norm(frames.forces, axis=1), starts)
        self.turned.add([origins[f] for f in np.flatnonzero(free & (moment > TURN) & (moment > TURNED * most)).tolist()])

    def merge(self, other: Plausibility) -> None:
        """Take in what another saw, of frames that come after."""
        self.frames += other.frames
        self.unjudged += other.unjudged
        self.energetic += other.energetic
        for key, (seen, total) in other.energies.items():
            self._add_cell(key, seen.names, seen.count, total)
        for value, seen in other.values.items():
            self.values.setdefault(value, Seen()).add(seen.names, seen.count)
        self._forget()
        self.zero_virial.add(other.zero_virial.names, other.zero_virial.count)
        for name, row in other.files.items():
            self._add_file(name, row)
        self.high.add(other.high.names, other.high.count)
        self.outside.add(other.outside.names, other.outside.count)
        self.turned.add(other.turned.names, other.turned.count)
        self.molecules += other.molecules
        for name, work in other.work.items():
            self._add_work(name, [other.examples[name]], work)
        for step, count in other.sizes.items():
            self.sizes[step] = self.sizes.get(step, 0) + count

    def findings(self) -> list[Finding]:
        """All that is implausible, the energies first."""
        return [*self._far(), *self._repeated(), *self._zeros(), *self._uneven(), *self._work(), *self._outside(), *self._turns()]

    def _far(self) -> Iterator[Finding]:
        keys = list(self.energies)
        if len(keys) < 2:
            return
        left = robust_residuals([(parse_formula(formula), *self._cell(formula, step)) for formula, step in keys])
        counts = np.array([self.energies[key][0].count for key in keys], np.float64)
        middle = weighted_median(left, counts)
        limit = max(FAR, SPREADS * 1.4826 * weighted_median(np.abs(left - middle), counts))
        far = Seen()
        for i in np.argsort(-np.abs(left - middle), kind="stable").tolist():
            if abs(left[i] - middle) > limit:
                far.add(self.energies[keys[i]][0].names, self.energies[keys[i]][0].count)
        if far.count:
            most = float((left - middle)[np.argmax(np.abs(left - middle))])
            text = f"energies up to {most:+.3g} eV/atom from all others, once the elements' reference energies are taken away"
            yield Finding(kind="energy_far", text=text, count=far.count, frames=tuple(far.names))

    def _cell(self, formula: str, step: int) -> tuple[int, float]:
        seen, total = self.energies[formula, step]
        return seen.count, total / seen.count

    def _repeated(self) -> Iterator[Finding]:
        for energy, seen in sorted(self.values.items(), key=lambda item: -item[1].count):
            if seen.count >= max(MANY, SHARE * self.energetic):
                text = f"the energy {energy:.10g} eV stands in many frames"
                yield Finding(kind="energy_repeated", text=text, count=seen.count, frames=tuple(seen.names))

    def _zeros(self) -> Iterator[Finding]:
        if self.zero_virial.count >= FEW:
            text = "a virial of exactly zero: missing rather than computed?"
            yield Finding(kind="virial_zero", text=text, count=self.zero_virial.count, frames=tuple(self.zero_virial.names))
        where = {name: row[-1] for name, row in self.files.items() if row[-1] >= MANY and row[-1] > 0.9 * row[2]}
        if not where and sum(row[-1] for row in self.files.values()) > max(MANY, 0.5 * sum(row[2] for row in self.files.values())):
            where = {name: row[-1] for name, row in self.files.items() if row[-1]}
        if where:
            text = "forces of exactly zero in nearly all frames of these files: missing rather than computed?"
            yield Finding(kind="forces_zero", text=text, count=sum(where.values()), frames=tuple(list(where)[:NAMES]))

    def _uneven(self) -> Iterator[Finding]:
        for i, label in enumerate(LABELS):
            has = [name for name, row in self.files.items() if row[2 * i]]
            lacks = [name for name, row in self.files.items() if row[2 * i + 1] and not row[2 * i]]
            if has and lacks:
                text = f"{label} is in {len(has):,} files and absent from {len(lacks):,}"
                yield Finding(kind="label_uneven", text=text, count=len(lacks), frames=tuple(lacks[:NAMES]))

    def _work(self) -> Iterator[Finding]:
        """Files whose forces or virials are off; all files together where none is by itself."""
        off = {name: factors for name, work in self.work.items() if name and (factors := work.factors())}
        off = off or {name: factors for name in self.work if not name and (factors := self.work[name].factors())}
        alike: dict[tuple[str, str], list[tuple[str, float]]] = {}
        for name, factors in off.items():
            energies = len(factors) == 2 and max(factors.values()) / min(factors.values()) < 1.5
            for label, factor in {"energy": 1 / factors["forces"]}.items() if energies else factors.items():
                hint = name_factor(factor, {"energy": ENERGY, "forces": FORCES, "virial": PRESSURES}[label])
                by = "forces" if label == "energy" else "energies"
                alike.setdefault((label, f"{label} {{}} times what the {by} of neighbouring frames give{hint}"), []).append((name, factor))
        for (label, text), some in alike.items():
            size = math.copysign(math.exp(float(np.mean([math.log(abs(factor)) for _, factor in some]))), some[0][1])
            names = tuple(self.examples[name] for name, _ in some[:NAMES])
            yield Finding(kind=f"{label}_scale", text=text.format(f"{size:.2g}"), count=len(some), frames=names)

    def _outside(self) -> Iterator[Finding]:
        if self.high.count:
            text = f"a stress of more than {HIGHEST / GPA:.0f} GPa"
            yield Finding(kind="virial_large", text=text, count=self.high.count, frames=tuple(self.high.names))
        many = sum(self.sizes.values())
        if many >= MANY and self.outside.count > 0.5 * many:
            middle = 10 ** (0.1 * weighted_median(np.array(list(self.sizes)), np.array(list(self.sizes.values()))))
            text = f"virials are {middle:.2g} times what the forces across their cells would give: a unit that is taken for another?"
            yield Finding(kind="virial_outside", text=text, count=self.outside.count, frames=tuple(self.outside.names))

    def _turns(self) -> Iterator[Finding]:
        if self.turned.count >= FEW and self.turned.count > SHARE * self.molecules:
            text = "forces that would turn a free molecule: of another geometry, along other axes, or in a field?"
            yield Finding(kind="forces_turn", text=text, count=self.turned.count, frames=tuple(self.turned.names))

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "frames": self.frames,
            "unjudged": self.unjudged,
            "energetic": self.energetic,
            "energies": [[*key, *seen.to_json(), total] for key, (seen, total) in self.energies.items()],
            "values": [[value, *seen.to_json()] for value, seen in self.values.items()],
            "zero_virial": self.zero_virial.to_json(),
            "files": self.files,
            "high": self.high.to_json(),
            "work": {name: work.to_json() for name, work in self.work.items()},
            "examples": self.examples,
            "sizes": [[step, count] for step, count in self.sizes.items()],
            "outside": self.outside.to_json(),
            "turned": self.turned.to_json(),
            "molecules": self.molecules,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Plausibility:
        """Back from `to_json`."""
        return Plausibility(
            frames=data["frames"],
            unjudged=data["unjudged"],
            energetic=data["energetic"],
            energies={(formula, step): (Seen(count, names), total) for formula, step, count, names, total in data["energies"]},
            values={value: Seen(count, names) for value, count, names in data["values"]},
            zero_virial=Seen(*data["zero_virial"]),
            files={name: list(row) for name, row in data["files"].items()},
            high=Seen(*data["high"]),
            work={name: WorkSums.from_json(work) for name, work in data["work"].items()},
            examples=dict(data["examples"]),
            sizes=dict(data["sizes"]),
            outside=Seen(*data["outside"]),
            turned=Seen(*data["turned"]),
            molecules=data["molecules"],
        )
