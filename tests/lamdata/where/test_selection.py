"""Expressions of frames in a store: the frames that a loop finds, and no block read that statistics decide."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest

from lamdata import open_dataset
from lamdata.elements import NUMBERS, SYMBOLS
from lamdata.errors import ConfigError
from lamdata.frame import Frame
from lamdata.store import Dataset, select
from lamdata.store.segment import Segment
from tests.lamdata.stores import make_frames, write_store

FRAMES, BLOCK = 320, 16
ELEMENTS = ("H", "Li", "O", "Si")
REFERENCES = {"H": -1.5, "Li": -2.0, "O": -8.25}  # none of Si
Truth = bool | None
Rule = Callable[[Frame, int], Truth]


@pytest.fixture(scope="module", params=["lossless", "fast"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Frames by size, so that blocks differ; later ones have more elements; labels, cells and multiplicities are missing here and there."""
    rng, frames = np.random.default_rng(0), make_frames(FRAMES, smallest=1, largest=24)
    order = np.argsort(frames.natoms, kind="stable")
    frames = frames.take(order)
    natoms, row = frames.natoms, np.arange(FRAMES)
    most = np.repeat(1 + row * len(ELEMENTS) // FRAMES, natoms)  # how many of the elements a frame may have
    numbers = np.array([NUMBERS[s] for s in ELEMENTS], np.uint8)[(rng.random(len(most)) * most).astype(int)]
    has_forces, has_energy, periodic = row % 7 != 3, row % 5 != 1, row % 3 != 0
    frames = frames.with_(
        numbers=numbers,
        has_forces=has_forces,
        forces=np.where(np.repeat(has_forces, natoms)[:, None], frames.forces, 0.0),
        has_energy=has_energy,
        energy=np.where(has_energy, frames.energy, 0.0),
        charge=(row % 4 - 1).astype(np.int16),
        multiplicity=(row % 3).astype(np.int16),
        cell=np.where(periodic[:, None, None], frames.cell, 0.0),
        pbc=np.repeat(periodic[:, None], 3, 1),
    )
    url = str(tmp_path_factory.mktemp("where") / "s")
    texts = [f"md-{i // 20}" for i in range(FRAMES)], [f"run-{i % 9}/é.xyz#{i}" for i in range(FRAMES)]
    said = [{"T": str(100 * (i % 5))} | ({"kind": f"é {i % 4}"} if i % 3 else {"T": "hot"}) for i in range(FRAMES)]
    sources = [{"path": "x", "info": ["T", "kind"]}]
    meta = {"card": {"dataset": "demo", "sources": sources}, "references": {"energies": REFERENCES}}
    write_store(
        url,
        frames,
        profile=request.param,
        block_frames=BLOCK,
        texts=texts,
        meta=meta,
        split=np.repeat([0, 1, 2], [200, 60, 60]).astype(np.uint8),
        infos=[json.dumps(info) if i % 11 else "" for i, info in enumerate(said)],
    )
    return url


def counted(frame: Frame, symbol: str) -> int:
    return int((frame.numbers == NUMBERS[symbol]).sum())


def present(frame: Frame) -> set[str]:
    return {SYMBOLS[z] for z in frame.numbers}


def above(frame: Frame) -> float | None:
    if frame.energy is None or not present(frame) <= REFERENCES.keys():
        return None
    return (frame.energy - sum(REFERENCES[SYMBOLS[z]] for z in frame.numbers.tolist())) / len(frame.numbers)


NUMERIC: dict[str, tuple[Callable[[Frame], float | None], tuple[float, float]]] = {
    "natoms": (lambda f: float(len(f.numbers)), (0, 26)),
    "nelements": (lambda f: float(len(present(f))), (0, 5)),
    "n(O)": (lambda f: float(counted(f, "O")), (-1, 12)),
    "n(H) / natoms": (lambda f: counted(f, "H") / len(f.numbers), (-0.2, 1.2)),
    "n(Si) - 2 * n(Li)": (lambda f: float(counted(f, "Si") - 2 * counted(f, "Li")), (-20, 10)),
    "charge": (lambda f: float(f.charge), (-2, 3)),
    "multiplicity": (lambda f: None if f.multiplicity is None else float(f.multiplicity), (0, 3)),
    "max_force": (lambda f: None if f.forces is None else float(np.sqrt(np.square(f.forces).sum(1)).max()), (0.5, 4.5)),
    "energy": (lambda f: f.energy, (-250, 250)),
    "energy / natoms": (lambda f: None if f.energy is None else f.energy / len(f.numbers), (-30, 30)),
    "energy_above_references": (above, (-30, 60)),
    "volume / natoms": (lambda f: None if f.cell is None else f.volume / len(f.numbers), (0, 400)),
    'info["T"]': (lambda f: None if f.info.get("T", "hot") == "hot" else float(f.info["T"]), (-50, 500)),
    "1 / charge": (lambda f: 1 / f.charge if f.charge else None, (-1.5, 1.5)),
}
COMPARED: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
SETS: dict[str, Callable[[set[str], set[str]], bool]] = {
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
}
SPLITS = ("train", "validation", "test")


def leaf(dice: random.Random) -> tuple[str, Rule]:
    """A comparison, and the same of one frame."""
    kind = dice.choice(
        ["number"] * 6 + ["elements", "elements", "has", "label", "split", "group", "file", "matches", "info", "info matches"]
    )
    if kind == "number":
        name, operator = dice.choice([*NUMERIC]), dice.choice([*COMPARED])
        value, (low, high) = NUMERIC[name][0], NUMERIC[name][1]
        limit = round(dice.uniform(low, high), 2) if operator not in ("==", "!=") else float(dice.randint(int(low), int(high)))
        check = COMPARED[operator]
        return f"{name} {operator} {limit}", lambda f, s: None if (found := value(f)) is None else check(found, limit)
    if kind == "elements":
        operator, some = dice.choice([*SETS]), set(dice.sample([*ELEMENTS, "Fe"], dice.randint(1, 4)))
        return f"elements {operator} {{{', '.join(sorted(some))}}}", lambda f, s: SETS[operator](present(f), some)
    if kind == "has":
        some = set(dice.sample(ELEMENTS, dice.randint(1, 3)))
        return f"has({', '.join(sorted(some))})", lambda f, s: some <= present(f)
    if kind == "label":
        label = dice.choice(["energy", "forces", "virial"])
        return f"has({label})", lambda f, s: getattr(f, label) is not None
    if kind == "split":
        split = dice.choice(SPLITS)
        return f"split == {split}", lambda f, s: SPLITS[s] == split
    if kind == "group":
        names = {f"md-{dice.randint(0, 16)}" for _ in range(3)}
        return f"group in {{{', '.join(map(repr, sorted(names)))}}}", lambda f, s: f.group in names
    if kind.startswith("info"):
        some = {f"é {dice.randint(0, 4)}" for _ in range(2)}
        text = f'info["kind"] in {{{", ".join(map(repr, sorted(some)))}}}' if kind == "info" else 'matches(info["kind"], "*[12]")'
        return text, lambda f, s: None if "kind" not in f.info else f.info["kind"] in (some if kind == "info" else ("é 1", "é 2"))
    if kind == "file":
        name = f"run-{dice.randint(0, 9)}/é.xyz"
        return f'file != "{name}"', lambda f, s: f.origin.rpartition("#")[0] != name
    pattern = dice.choice(["run-[1-4]/*", "*#1?", "*é.xyz#*7"])
    return f'matches(origin, "{pattern}")', lambda f, s: fnmatchcase(f.origin, pattern)


def both(a: Truth, b: Truth) -> Truth:
    return False if a is False or b is False else None if a is None or b is None else True


def inverse(a: Truth) -> Truth:
    return None if a is None else not a


def expression(dice: random.Random, depth: int = 3) -> tuple[str, Rule]:
    """A random expression, and the same by Kleene's rules for one frame."""
    if depth == 0 or dice.random() < 0.2:
        return leaf(dice)
    kind = dice.choice(["and", "and", "or", "or", "not"])
    text, rule = expression(dice, depth - 1)
    if kind == "not":
        return f"not ({text})", lambda f, s: inverse(rule(f, s))
    other_text, other = expression(dice, depth - 1)
    if kind == "and":
        return f"({text}) and ({other_text})", lambda f, s: both(rule(f, s), other(f, s))
    return f"({text}) or ({other_text})", lambda f, s: inverse(both(inverse(rule(f, s)), inverse(other(f, s))))


@pytest.fixture(scope="module")
def whole(store: str) -> list[tuple[Frame, int]]:
    dataset = open_dataset(store)
    return list(zip(dataset, dataset.labels(0, FRAMES)[2].tolist()))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(array, block) of all that is read."""
    found: list[tuple[str, int]] = []
    read = Segment.read

    def counting(self, names, blocks):
        found.extend((name, block) for name in names for block in blocks)
        return read(self, names, blocks)

    monkeypatch.setattr(Segment, "read", counting)
    return found


def rows_of(view: Dataset) -> list[int]:
    return view.rows.tolist()


@pytest.mark.parametrize("seed", range(60))
def test_a_random_expression_keeps_what_a_loop_keeps(store: str, whole: list[tuple[Frame, int]], reads: list, seed: int) -> None:
    text, rule = expression(random.Random(seed))
    truths = [rule(frame, split) for frame, split in whole]
    reads.clear()
    assert rows_of(open_dataset(store, where=text)) == [i for i, truth in enumerate(truths) if truth], text
    assert len(reads) == len(set(reads)), f"read twice for {text}"


# What statistics cannot decide, and no more: expression -> (block -> whether it has to be read), and the arrays that are
MUST: dict[str, tuple[Callable[[list[Frame], list[int]], bool], set[str]]] = {
    "natoms <= 8": (lambda fs, _: min(sizes(fs)) <= 8 < max(sizes(fs)), {"natoms"}),
    "5 < natoms < 9": (lambda fs, _: len({5 < n < 9 for n in sizes(fs)}) == 2 or min(sizes(fs)) <= 5 and max(sizes(fs)) >= 9, {"natoms"}),
    "has(Si)": (lambda fs, _: "Si" in union(fs), {"natoms", "numbers"}),
    "elements <= {H}": (lambda fs, _: "H" in union(fs) and union(fs) != {"H"}, {"natoms", "numbers"}),
    "n(O) / natoms > 1": (lambda fs, _: False, set()),
    "n(Fe) > 0 or has(Fe)": (lambda fs, _: False, set()),
    "split == test": (lambda fs, splits: 2 in splits and set(splits) != {2}, {"split"}),
    "natoms <= 4 and max_force < 2": (lambda fs, _: min(sizes(fs)) <= 4, {"natoms", "has_forces", "forces"}),
    "natoms >= 1 or max_force < 2": (lambda fs, _: False, set()),
    "not natoms <= 20 and group == 'md-15'": (lambda fs, _: max(sizes(fs)) > 20, {"natoms", "group"}),
    "natoms * 2 - 1 <= natoms + 9": (
        lambda fs, _: min(sizes(fs)) * 2 - 1 <= max(sizes(fs)) + 9 and max(sizes(fs)) * 2 - 1 > min(sizes(fs)) + 9,
        {"natoms"},
    ),
}


def sizes(frames: list[Frame]) -> list[int]:
    return [len(frame.numbers) for frame in frames]


def union(frames: list[Frame]) -> set[str]:
    return set().union(*map(present, frames))


@pytest.mark.parametrize("text", MUST)
def test_only_blocks_that_statistics_cannot_decide_are_read(store: str, whole: list[tuple[Frame, int]], reads: list, text: str) -> None:
    blocks = [whole[i : i + BLOCK] for i in range(0, FRAMES, BLOCK)]
    must, arrays = MUST[text]
    wanted = {b for b, block in enumerate(blocks) if must([frame for frame, _ in block], [split for _, split in block])}
    reads.clear()
    kept = len(open_dataset(store, where=text))
    assert {block for _, block in reads} == wanted and {name for name, _ in reads} <= arrays
    assert kept > 0 or not wanted


@pytest.mark.parametrize("profile", ["lossless", "fast"])
def test_forces_are_not_read_where_their_decimals_bound_them(tmp_path: Path, reads: list, profile: str) -> None:
    write_store(tmp_path / "s", make_frames(40), profile=profile)
    assert len(open_dataset(tmp_path / "s", where="max_force <= 1000")) == 40
    assert ("forces" in {name for name, _ in reads}) == (profile == "fast")


def test_old_options_are_short_forms(store: str) -> None:
    pairs = [
        ({"natoms": (2, 9)}, "2 <= natoms <= 9"),
        ({"elements": ["H", 8]}, "elements <= {H, O}"),
        ({"max_force": 2.5}, "max_force <= 2.5"),
        ({"split": "test", "natoms": (1, 24)}, "split == test and natoms <= 24"),
    ]
    for options, text in pairs:
        assert rows_of(open_dataset(store, **options)) == rows_of(open_dataset(store, where=text)) != []
    together = open_dataset(store, natoms=(2, 9), where="has(Li)")
    assert rows_of(together) == rows_of(open_dataset(store, where="has(Li) and 2 <= natoms <= 9"))
    assert together.filter.to_json() == {"split": None, "elements": None, "natoms": [2, 9], "where": "has(Li)"}
    assert open_dataset(store, natoms=(2, 9)).filter.to_json() == {"split": None, "elements": None, "natoms": [2, 9]}


def test_a_view_by_an_expression_says_it_and_is_filtered_again(store: str) -> None:
    made = select(store, "demo", name="calm", where="max_force < 2.5 and has(O)")
    assert made.to_index()["asked"] == {"where": "max_force < 2.5 and has(O)"}
    view = open_dataset(store, "calm", where="natoms > 6")
    assert rows_of(view) == rows_of(open_dataset(store, where="natoms > 6 and max_force < 2.5 and has(O)")) != []
    assert "natoms > 6" in repr(view)


def test_what_is_wrong_with_an_expression_is_said_before_anything_is_read(store: str, reads: list) -> None:
    with pytest.raises(ConfigError, match=r"column 12: unknown name 'max_forces'; did you mean 'max_force'\?"):
        open_dataset(store, where="has(O) and max_forces < 3")
    assert reads == []


def test_energies_above_references_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    write_store(tmp_path / "s", make_frames(20))
    view = open_dataset(tmp_path / "s", where="energy_above_references < 1")
    with pytest.raises(ConfigError, match="there are no reference energies here"):
        len(view)


def test_a_lone_atom_has_an_infinite_shortest_distance_and_nothing_else_is_taken_for_it(tmp_path: Path) -> None:
    frames = make_frames(40)
    write_store(tmp_path / "s", frames.with_(shortest=np.where(np.arange(40) < 5, math.inf, frames.shortest).astype(np.float32)))
    assert rows_of(open_dataset(tmp_path / "s", where="shortest > 1000")) == [0, 1, 2, 3, 4]
    assert len(open_dataset(tmp_path / "s", where="shortest - shortest == 0")) == 35, "no finite value: unknown"
