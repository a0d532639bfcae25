"""Ctrl-C while something heavy is imported: held to the end of the import, never lost, and left alone where somebody else handles it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from lamdata.errors import need
from lamdata.interrupts import interrupts_held


@pytest.fixture(autouse=True)
def pythons_own_handler() -> Iterator[None]:
    """A shell that puts its commands into the background lets them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_comes_at_the_end_of_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_held():
        os.kill(os.getpid(), signal.SIGINT)
        done.append(sum(range(1000)))
    assert done == [499500] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_one_nothing_comes_and_errors_pass() -> None:
    with interrupts_held():
        pass
    with pytest.raises(ZeroDivisionError), interrupts_held():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_import_is_whole_before_the_interrupt(tmp_path, monkeypatch) -> None:
    (tmp_path / "slow_to_import.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhole = sum(range(1000))\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        need("slow_to_import")
    assert need("slow_to_import").whole == 499500


def test_a_handler_of_somebody_else_is_left_alone() -> None:
    took: list[int] = []

    def mine(number: int, frame: FrameType | None) -> None:
        took.append(number)

    before = signal.signal(signal.SIGINT, mine)
    try:
        with interrupts_held():
            assert signal.getsignal(signal.SIGINT) is mine
            os.kill(os.getpid(), signal.SIGINT)
            sum(range(1000))
    finally:
        signal.signal(signal.SIGINT, before)
    assert took == [signal.SIGINT]


def test_another_thread_cannot_and_does_not_handle_signals() -> None:
    found: list[object] = []

    def look() -> None:
        with interrupts_held():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
