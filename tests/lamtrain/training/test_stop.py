"""Stop: signals and the end of the time set a flag that is read between steps, and what was there before is put back."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from lamtrain.training.stop import SIGNALS, Interrupted, Stop

NUMBERS = [getattr(signal, name) for name in SIGNALS]


@pytest.mark.parametrize(
    ("number", "reason"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "stopped by SIGTERM"), (signal.SIGUSR1, "stopped by SIGUSR1")],
)
def test_a_signal_only_sets_a_reason(number: signal.Signals, reason: str) -> None:
    with Stop() as stop:
        assert not stop.asked and stop.reason is None
        os.kill(os.getpid(), number)
        assert stop.asked and stop.reason == reason


def test_a_second_interrupt_ends_at_once_and_a_second_warning_does_not() -> None:
    with pytest.raises(KeyboardInterrupt), Stop() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.reason == "stopped by SIGTERM"
        os.kill(os.getpid(), signal.SIGINT)
        signal.getsignal(signal.SIGINT)  # the handler runs before this returns


def test_what_handled_signals_before_handles_them_after() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    with Stop():
        assert [signal.getsignal(number) for number in NUMBERS] != before
    assert [signal.getsignal(number) for number in NUMBERS] == before
    with pytest.raises(ValueError, match="inside"), Stop():
        raise ValueError("inside")
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_a_thread_leaves_signals_alone_and_still_has_a_deadline() -> None:
    before, found = [signal.getsignal(number) for number in NUMBERS], []

    def work() -> None:
        with Stop(time_limit=0.0) as stop:
            found.append([signal.getsignal(number) for number in NUMBERS] == before)
            while not stop.asked:
                pass
            found.append(stop.reason)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [True, "stopped at the time limit"]


def test_a_reason_that_is_given_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with Stop(time_limit=3600.0) as stop:
        assert not stop.asked
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr("time.monotonic", lambda: float("inf"))
        assert stop.asked and stop.reason == "stopped by SIGTERM"


def test_being_interrupted_is_no_failure() -> None:
    assert Interrupted("x").exit_code == 130
