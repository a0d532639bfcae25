"""Kinds of tasks by name: those that come with it, those that are added, and what an added one must have."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

import lamtrain.tasks as tasks
from lamdata.errors import ConfigError
from lamtrain.tasks import TaskKind, installed_kinds, kinds_of, task_kind
from lamtrain.tasks.energy_force import ENERGY_FORCE

WANTED = {name: getattr(ENERGY_FORCE, name) for name in vars(TaskKind) if not name.startswith("_") and name != "head"} | {"head": object()}
GOOD = SimpleNamespace(**WANTED | {"name": "good", "prefactors": {"moment": (1.0, 1.0)}, "sums": ("moment",)})
CLASH = SimpleNamespace(**WANTED | {"name": "clash", "prefactors": {"energy": (1.0, 1.0)}, "sums": ("own",)})
NAMELESS = SimpleNamespace(**WANTED | {"name": "another"})
SHORT = SimpleNamespace(name="short")


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch):
    """Entry points as an installed package gives them; they are looked up once in a process."""
    monkeypatch.setitem(__import__("sys").modules, "added_kinds", SimpleNamespace(GOOD=GOOD, CLASH=CLASH, NAMELESS=NAMELESS, SHORT=SHORT))
    names = {"good": "GOOD", "clash": "CLASH", "nameless": "NAMELESS", "short": "SHORT", "gone": "NOT_THERE", "absent": "GOOD"}
    points = [EntryPoint(n, f"{'no_such_module' if n == 'absent' else 'added_kinds'}:{v}", "lamtrain.tasks") for n, v in names.items()]
    monkeypatch.setattr(tasks, "entry_points", lambda group: points)
    task_kind.cache_clear()
    yield
    task_kind.cache_clear()


def test_each_kind_is_what_the_protocol_asks_for_under_its_own_name() -> None:
    for name in tasks.BUILTIN:
        kind = task_kind(name)
        assert kind.name == name and not [want for want in WANTED if not hasattr(kind, want)]
        assert set(kind.drawn) <= set(kind.logged)
        assert {a for a, _ in kind.relative} <= set(kind.logged) and {column.key for column in kind.columns} >= {
            a for a, _ in kind.relative
        }
        assert all(start >= 0 and end >= 0 for start, end in kind.prefactors.values())


def test_an_added_kind_is_found_by_its_entry_point(added: None) -> None:
    assert task_kind("good") is GOOD
    assert list(kinds_of({"a": "energy_force", "b": "good", "c": "energy_force"})) == ["energy_force", "good"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("energy_froce", "no task called 'energy_froce'; did you mean 'energy_force'?"),
        ("godo", "no task called 'godo'; did you mean 'good'?"),
        ("gone", "the task 'gone' of added_kinds:NOT_THERE does not load: AttributeError"),
        ("absent", "the task 'absent' of no_such_module:GOOD does not load: ModuleNotFoundError"),
        ("nameless", "the task 'nameless' of added_kinds:NAMELESS calls itself 'another'; both must be one word"),
        ("short", "the task 'short' of added_kinds:SHORT has no needs, no prefactors, "),
    ],
)
def test_a_kind_that_cannot_be_used_is_one_line(added: None, name: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        task_kind(name)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_two_kinds_that_use_one_word_cannot_be_trained_at_once(added: None) -> None:
    assert list(kinds_of({"a": "clash"})) == ["clash"]
    with pytest.raises(ConfigError, match="the tasks 'energy_force' and 'clash' both call something 'energy'; only one of them"):
        kinds_of({"a": "energy_force", "b": "clash"})


def test_all_that_are_installed_must_load(added: None) -> None:
    with pytest.raises(ConfigError, match="NAMELESS|SHORT|NOT_THERE"):
        installed_kinds()
