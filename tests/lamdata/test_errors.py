"""Errors: one line with its place and what to do, an exit code, and the same again after a trip through another process."""

from __future__ import annotations

import pickle

import pytest

from lamdata import errors
from lamdata.errors import ConfigError, ConfigErrors, DataError, LamError, SetupError, SourceError, StoreError, need

KINDS = [
    (ConfigError, 2, ValueError),
    (SourceError, 1, OSError),
    (DataError, 1, ValueError),
    (StoreError, 1, OSError),
    (errors.DiskError, 3, OSError),
    (SetupError, 3, ImportError),
    (LamError, 1, Exception),
]


@pytest.mark.parametrize(("kind", "code", "builtin"), KINDS)
def test_each_kind_has_its_exit_code_and_is_what_a_caller_would_catch(kind: type[LamError], code: int, builtin: type[Exception]) -> None:
    error = kind("what", where="a.yaml:3:1", hint="do this")
    assert str(error) == "a.yaml:3:1: what; do this" and error.exit_code == code and isinstance(error, builtin)
    assert str(kind("what")) == "what" and str(kind("what", hint="do")) == "what; do" and str(kind("what", where="x")) == "x: what"


@pytest.mark.parametrize(("kind", "code", "builtin"), KINDS)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_each_kind_survives_a_trip_through_a_worker(kind: type[LamError], code: int, builtin: type, protocol: int) -> None:
    error = kind("what", where="f#3", hint="do this")
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is kind and str(back) == str(error) and (back.where, back.hint, back.exit_code) == ("f#3", "do this", code)


def test_all_that_is_wrong_with_a_config_survives_too() -> None:
    both = ConfigErrors([ConfigError("one", where="a:1:1"), ConfigError("two", hint="do")])
    back = pickle.loads(pickle.dumps(both))
    assert str(back) == "a:1:1: one\ntwo; do" and [str(error) for error in back.errors] == ["a:1:1: one", "two; do"]
    assert back.exit_code == 2


def test_an_error_may_carry_what_was_found_all_the_same() -> None:
    assert DataError("limit", result={"heads": {}}).result == {"heads": {}}
    assert DataError("limit").result is None and LamError("x").result is None


def test_a_library_that_is_not_there_is_named_with_the_extra_that_brings_it() -> None:
    assert need("json").loads("3") == 3
    with pytest.raises(SetupError, match=r"^no_such_module is not installed; pip install 'lam\[s3\]'$"):
        need("no_such_module", extra="s3")
    with pytest.raises(SetupError, match="^no_such_module.part is not installed; pip install no_such_module$"):
        need("no_such_module.part")
    with pytest.raises(SetupError, match="^no_such_module is not installed; ask$"):
        need("no_such_module", hint="ask")
