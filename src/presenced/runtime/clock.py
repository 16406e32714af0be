"""Clocks, and the one timer of a server.

A server has thousands of deadlines: grace periods, pongs, authentication timeouts, expiries. A timer of the event loop
for each of them would be an object and a callback per connection. Instead, each part keeps its deadlines in a heap
(`runtime.deadlines`), and sets one action in `Timer` for the earliest of them. `Timer` keeps these few actions in
another heap, and runs a single timer of the event loop, for the earliest action.

    grace periods ──┐
    pongs         ──┼──▶ Timer (earliest action) ──▶ one `call_at` of the event loop
    expiries      ──┘

- Setting a later deadline does not touch the event loop. Cancelling does not either: the timer may fire in vain.
- The presence rules never read a clock. An event enters with one `Instant`, which is passed down.
- Tests use `presenced.testing.FakeClock`, which a test moves, so no test of a deadline sleeps.
- Deadlines use monotonic time, so a step of the wall clock moves none of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from presenced.runtime.deadlines import Deadlines
from presenced.runtime.instant import Instant

Action = Callable[[], None]


class Cancellable(Protocol):
    """Handle of a scheduled call."""

    def cancel(self) -> None:
        """Cancel the call; no-op if it has happened."""


class Clock(Protocol):
    """Time, and calls at a later time: `SystemClock`, or `presenced.testing.FakeClock` in tests."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never steps."""

    def now(self) -> Instant:
        """Return the present moment on both clocks."""

    def call_soon(self, action: Action) -> None:
        """Call `action` in the next turn of the loop."""

    def call_at(self, at: float, action: Action) -> Cancellable:
        """Call `action` when `monotonic` reaches `at`. Event loops round, so it may be up to a millisecond early."""


class SystemClock:
    """Clocks of the machine, and calls by an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    monotonic = staticmethod(time.monotonic)

    def now(self) -> Instant:
        """Return the present moment on both clocks."""
        return Instant(time.monotonic(), time.time_ns() // 1_000_000)

    def call_soon(self, action: Action) -> None:
        """Call `action` in the next turn of the loop."""
        self._loop.call_soon(action)

    def call_at(self, at: float, action: Action) -> Cancellable:
        """Call `action` when `monotonic` reaches `at`, perhaps a millisecond early."""
        return self._loop.call_later(max(0.0, at - time.monotonic()), action)


class Timer:
    """One timer for any number of actions, each with at most one deadline. The action itself is the key.

    Bounds: the number of waiting actions, as for `runtime.deadlines.Deadlines`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deadlines: Deadlines[Action] = Deadlines()
        self._armed_for: float | None = None  # monotonic time for which the loop's timer is set; None if it is not
        self._handle: Cancellable | None = None

    def __contains__(self, action: Action) -> bool:
        return action in self._deadlines

    def set(self, action: Action, at: float) -> None:
        """Call `action` at `at` (monotonic seconds). This replaces its earlier deadline."""
        self._deadlines.set(action, at)
        if self._armed_for is None or at < self._armed_for:
            self._arm()

    def cancel(self, action: Action) -> None:
        """Cancel the deadline of `action`; no-op if it has none."""
        self._deadlines.cancel(action)

    def stop(self) -> None:
        """Cancel all deadlines."""
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
        finally:  # if an action raises, the loop logs it, and the timer fires again at once for the other actions
            self._arm()
