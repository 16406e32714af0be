"""A clock that moves only when told."""

from __future__ import annotations

from heapq import heappop, heappush

from presenced.runtime.clock import Action
from presenced.runtime.instant import Instant

NOON_2024 = 1_704_110_400_000
"""2024-01-01T12:00:00.000Z in epoch milliseconds: where a `FakeClock` starts."""


class _Entry:
    def __init__(self, action: Action) -> None:
        self.action: Action | None = action

    def cancel(self) -> None:
        self.action = None


class FakeClock:
    """A `Clock` under the test's control: what is due is called, in order, by `advance` and `run_soon`."""

    def __init__(self, monotonic: float = 1000.0, epoch_ms: int = NOON_2024) -> None:
        self._monotonic = monotonic
        self._epoch_ms = float(epoch_ms)
        self._soon: list[Action] = []
        self._later: list[tuple[float, int, _Entry]] = []
        self._serial = 0

    def monotonic(self) -> float:
        """Seconds on the clock that never steps."""
        return self._monotonic

    def now(self) -> Instant:
        """This moment on both clocks."""
        return Instant(self._monotonic, int(self._epoch_ms))

    def call_soon(self, action: Action) -> None:
        """Call on the next `run_soon` or `advance`."""
        self._soon.append(action)

    def call_at(self, at: float, action: Action) -> _Entry:
        """Call when `advance` reaches `at`."""
        self._serial += 1
        entry = _Entry(action)
        heappush(self._later, (at, self._serial, entry))
        return entry

    def step_wall_clock(self, seconds: float) -> None:
        """Set the wall clock forward or back; the monotonic one does not notice."""
        self._epoch_ms += seconds * 1000

    @property
    def waiting(self) -> bool:
        """Whether something was asked for that `run_soon` would call."""
        return bool(self._soon)

    def run_soon(self) -> None:
        """Call what waits for the next turn, and what that asks for, until nothing waits."""
        while self._soon:
            actions, self._soon = self._soon, []
            for action in actions:
                action()

    def advance(self, seconds: float) -> None:
        """Let time pass; what becomes due is called at its own time."""
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
        """Let time pass with nothing called meanwhile, as when the process is held up; then what became due."""
        self._move_to(self._monotonic + seconds)
        self.advance(0)

    def _move_to(self, monotonic: float) -> None:
        self._epoch_ms += (monotonic - self._monotonic) * 1000
        self._monotonic = monotonic
