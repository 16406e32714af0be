"""The timer of a server."""

import pytest

from presenced.runtime.clock import Timer
from presenced.testing import FakeClock


def test_actions_are_called_when_they_are_due_and_in_order() -> None:
    clock = FakeClock()
    timer, called = Timer(clock), []
    start = clock.monotonic()
    actions = {name: (lambda name=name: called.append((name, clock.monotonic() - start))) for name in "abc"}
    timer.set(actions["a"], start + 3)
    timer.set(actions["b"], start + 1)
    timer.set(actions["c"], start + 2)
    timer.cancel(actions["c"])
    timer.set(actions["a"], start + 5)
    clock.advance(10)
    assert called == [("b", 1), ("a", 5)]
    assert actions["a"] not in timer


def test_an_action_may_set_itself_again() -> None:
    clock = FakeClock()
    timer, called = Timer(clock), []

    def tick() -> None:
        called.append(clock.monotonic())
        timer.set(tick, clock.monotonic() + 1)

    timer.set(tick, clock.monotonic() + 1)
    clock.advance(5.5)
    assert len(called) == 5


def test_after_stop_no_action_is_called() -> None:
    clock = FakeClock()
    timer, called = Timer(clock), []
    timer.set(lambda: called.append(1), clock.monotonic() + 1)
    timer.stop()
    clock.advance(5)
    assert called == []


def test_an_action_that_fails_does_not_stop_the_others() -> None:
    clock = FakeClock()
    timer, called = Timer(clock), []

    def fails() -> None:
        raise ZeroDivisionError

    timer.set(fails, clock.monotonic() + 1)
    timer.set(lambda: called.append(1), clock.monotonic() + 1)
    timer.set(lambda: called.append(2), clock.monotonic() + 2)
    with pytest.raises(ZeroDivisionError):
        clock.advance(1)
    assert called == []
    clock.advance(5)
    assert called == [1, 2]


def test_an_action_can_cancel_another_that_is_due_as_well() -> None:
    clock = FakeClock()
    timer, called = Timer(clock), []
    timer.set(lambda: timer.cancel(second), clock.monotonic() + 1)

    def second() -> None:
        called.append(2)

    timer.set(second, clock.monotonic() + 1)
    clock.advance(2)
    assert called == []
