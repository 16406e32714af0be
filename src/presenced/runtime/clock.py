"""The shell's clocks and its one timer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from presenced.runtime.deadlines import Deadlines
from presenced.runtime.instant import Instant

Action = Callable[[], None]


class Cancellable(Protocol):
    """What `Clock.call_at` returns."""

    def cancel(self) -> None:
        """Don't call; no-op when it was called."""


class Clock(Protocol):
    """Time, and being called later; `presenced.testing.FakeClock` is the other one."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps."""

    def now(self) -> Instant:
        """This moment on both clocks."""

    def call_soon(self, action: Action) -> None:
        """Call in the next turn of the loop."""

    def call_at(self, at: float, action: Action) -> Cancellable:
        """Call when `monotonic` has reached `at`; loops round, so it may be up to a millisecond early."""


class SystemClock:
    """The clocks of the machine and the running event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    monotonic = staticmethod(time.monotonic)

    def now(self) -> Instant:
        """This moment on both clocks."""
        return Instant(time.monotonic(), time.time_ns() // 1_000_000)

    def call_soon(self, action: Action) -> None:
        """Call in the next turn of the loop."""
        self._loop.call_soon(action)

    def call_at(self, at: float, action: Action) -> Cancellable:
        """Call when `monotonic` has reached `at`, to the millisecond."""
        return self._loop.call_later(max(0.0, at - time.monotonic()), action)


class Timer:
    """One timer for any number of deadlines. The key of a deadline is the action itself.

    Bounds: as `runtime.deadlines.Deadlines`, by the number of actions that wait.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deadlines: Deadlines[Action] = Deadlines()
        self._armed_for: float | None = None
        self._handle: Cancellable | None = None

    def __contains__(self, action: Action) -> bool:
        return action in self._deadlines

    def set(self, action: Action, at: float) -> None:
        """Call `action` at `at` (monotonic seconds), instead of when it was due before."""
        self._deadlines.set(action, at)
        if self._armed_for is None or at < self._armed_for:
            self._arm()

    def cancel(self, action: Action) -> None:
        """Don't call `action`; no-op when it does not wait. The timer may still fire, to no effect."""
        self._deadlines.cancel(action)

    def stop(self) -> None:
        """Forget all."""
        if self._handle is not None:
            self._handle.cancel()
        self._deadlines = Deadlines()
        self._armed_for = self._handle = None

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed_for = self._deadlines.next()
        self._handle = None if self._armed_for is None else self._clock.call_at(self._armed_for, self._fire)

    def _fire(self) -> None:
        self._armed_for = self._handle = None
        now = self._clock.monotonic()
        try:
            while (action := self._deadlines.pop_due(now)) is not None:  # one by one: an action may cancel the next
                action()
        finally:
            self._arm()
