"""Who follows all changes: they are woken, and look at the journal for themselves."""

from __future__ import annotations

from collections.abc import Callable

from presenced.errors import CapacityError
from presenced.runtime.clock import Clock

MAX_FOLLOWERS = 1_000
"""Followers at a time."""


class Followers:
    """Calls each follower in the turn of the loop after one in which something changed, however much it was.

    Bounds: `MAX_FOLLOWERS`; one more is refused.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wakes: dict[int, Callable[[], None]] = {}
        self._number = 0
        self._is_due = False

    def __len__(self) -> int:
        return len(self._wakes)

    def add(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called from now on. It must not raise.

        Returns:
            What ends it; a second call does nothing.

        Raises:
            CapacityError: There are as many as may be.
        """
        if len(self._wakes) >= MAX_FOLLOWERS:
            raise CapacityError(f"{MAX_FOLLOWERS} follow the changes already; try again later")
        self._number += 1
        number = self._number
        self._wakes[number] = wake

        def end() -> None:
            self._wakes.pop(number, None)

        return end

    def changed(self) -> None:
        """Something changed."""
        if self._wakes and not self._is_due:
            self._is_due = True
            self._clock.call_soon(self._call)

    def _call(self) -> None:
        self._is_due = False
        for wake in tuple(self._wakes.values()):
            wake()
