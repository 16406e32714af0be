"""Clock that a test moves."""

from __future__ import annotations

from heapq import heappop, heappush

from presenced.runtime.clock import Action
from presenced.runtime.instant import Instant

NOON_2024 = 1_704_110_400_000
"""Epoch milliseconds of 2024-01-01T12:00:00.000Z, the default start of a `FakeClock`."""


class _Entry:
    def __init__(self, action: Action) -> None:
        self.action: Action | None = action

    def cancel(self) -> None:
        self.action = None


class FakeClock:
    """`Clock` whose time passes only in `advance` and `hold`. Due actions are called in order."""

    def __init__(self, monotonic: float = 1000.0, epoch_ms: int = NOON_2024) -> None:
        self._monotonic = monotonic
        self._epoch_ms = float(epoch_ms)
        self._soon: list[Action] = []
        self._later: list[tuple[float, int, _Entry]] = []
        self._serial = 0

    def monotonic(self) -> float:
        """Return the seconds of the monotonic clock."""
        return self._monotonic

    def now(self) -> Instant:
        """Return the current time of both clocks."""
        return Instant(self._monotonic, int(self._epoch_ms))

    def call_soon(self, action: Action) -> None:
        """Call `action` in the next `run_soon` or `advance`."""
        self._soon.append(action)

    def call_at(self, at: float, action: Action) -> _Entry:
        """Call `action` when `advance` reaches `at` (monotonic seconds)."""
        self._serial += 1
        entry = _Entry(action)
        heappush(self._later, (at, self._serial, entry))
        return entry

    def step_wall_clock(self, seconds: float) -> None:
        """Set the wall clock forward or back. The monotonic clock stays the same."""
        self._epoch_ms += seconds * 1000

    @property
    def waiting(self) -> bool:
        """Whether `run_soon` would call an action."""
        return bool(self._soon)

    def run_soon(self) -> None:
        """Call the actions of the next turn, and those they schedule, until none is left."""
        while self._soon:
            actions, self._soon = self._soon, []
            for action in actions:
                action()

    def advance(self, seconds: float) -> None:
        """Let time pass. Each action is called at the time it is due."""
        end = self._monotonic + seconds
        self.run_soon()
        while self._later and self._later[0][0] <= end:
            at, _, entry = heappop(self._later)
            self._move_to(max(at, self._monotonic))
            if entry.action is not None:
                entry.action()
            self.run_soon()
        self._move_to(end)

    def hold(self, seconds: float) -> None:
        """Let time pass as if the process were suspended, and call the due actions afterwards."""
        self._move_to(self._monotonic + seconds)
        self.advance(0)

    def _move_to(self, monotonic: float) -> None:
        self._epoch_ms += (monotonic - self._monotonic) * 1000
        self._monotonic = monotonic
