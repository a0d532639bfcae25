"""Validation that is stopped goes on where it was, and says so; what it finds is the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lamdata import validation
from lamdata.store import commit, open_store, verify
from lamdata.validation import Journal, validate
from tests.lamdata.stores import make_frames, write_store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LAM_CACHE_DIR", str(tmp_path / "cache"))
    write_store(tmp_path / "store", make_frames(100))
    return str(tmp_path / "store")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the objects that are hashed."""
    real, paths = verify._verify_object, list[str]()

    def counted(place, dataset, entry, path, expected):
        paths.append(path)
        return real(place, dataset, entry, path, expected)

    monkeypatch.setattr(verify, "_verify_object", counted)
    return paths


def stopped(store: str, monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """A validation that is killed when it has found so many objects whole."""
    left, real = [after], Journal.add

    def dying(journal: Journal, item: tuple[str, str]) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(journal, item)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", dying)
        with pytest.raises(KeyboardInterrupt):
            validate(store, quiet=True)


def damage(store: str, path: str, *, dataset: str = "demo") -> None:
    file = Path(store, dataset, "segment-0", path)
    data = bytearray(file.read_bytes())
    data[-1] ^= 255
    file.write_bytes(data)


def test_it_reads_what_was_not_read_before_and_says_so(store: str, read: list[str], monkeypatch, capsys) -> None:
    assert validate(store, quiet=True).ok
    every = set(read)
    stopped(store, monkeypatch, after=5)
    read.clear()
    assert validate(store).ok
    assert len(set(read)) == len(every) - 5 and "5 objects were found whole by a validation begun at" in capsys.readouterr().err
    assert not Journal(store).path.read_text().splitlines()[1:], "it was forgotten at the end"


def test_a_copy_of_a_segment_under_another_name_is_read_too(store: str, read: list[str], monkeypatch) -> None:
    """Also where the first was found whole by a validation that was stopped behind it."""
    assert validate(store, quiet=True).ok
    demo = open_store(store).entry("demo").segments[0]
    shutil.copytree(Path(store, demo.path), Path(store, "later/segment-0"))
    commit(store, "later", [replace(demo, path="later/segment-0")], {})
    damage(store, "positions/c/0/0", dataset="later")
    stopped(store, monkeypatch, after=len(set(read)))
    assert [found.segment for found in validate(store, quiet=True).findings] == ["later/segment-0"]


def test_damage_is_never_remembered_as_whole(store: str, read: list[str], monkeypatch) -> None:
    damage(store, "positions/c/0/0")
    for after in (3, 4):
        stopped(store, monkeypatch, after=after)
    report = validate(store, quiet=True)
    assert [found.object for found in report.findings] == ["positions/c/0/0"]
    read.clear()
    assert not validate(store, quiet=True).ok and "positions/c/0/0" in read


def test_what_is_old_torn_or_of_another_segment_is_read_again(store: str, read: list[str], monkeypatch) -> None:
    assert validate(store, quiet=True).ok
    every, journal = set(read), Journal(store).path

    def read_with(text: str) -> set[str]:
        journal.write_text(text)
        read.clear()
        assert validate(store, quiet=True).ok
        return set(read)

    stopped(store, monkeypatch, after=5)
    good = journal.read_text()
    assert len(read_with(good)) == len(every) - 5
    assert len(read_with(good[:-3])) == len(every) - 4, "the last line is torn"
    begun, _, rest = good.partition("\n")
    assert read_with(f"{int(begun) - validation.STALE - 1}\n{rest}") == every
    assert read_with(f"{begun}\n" + "".join(f"{'0' * 64} {line.split()[1]} .\n" for line in rest.splitlines())) == every
    for nonsense in ("", "\n", "x\ny z .\n", begun[:2]):
        assert read_with(nonsense) == every


def test_where_nothing_can_be_kept_it_validates_all_the_same(store: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LAM_CACHE_DIR", str(tmp_path / "file"))
    assert validate(store, quiet=True).ok
