"""Followers of the journal: requests of the HTTP API that wait for changes, and then read the journal themselves.

A follower is woken at most once per turn of the loop, even after many changes. Nothing is queued for it, so a slow
follower costs no memory.
"""

from __future__ import annotations

from collections.abc import Callable

from presenced.errors import CapacityError
from presenced.runtime.clock import Clock

MAX_FOLLOWERS = 1_000
"""Maximum number of followers. One more is refused."""


class JournalFollowers:
    """Calls every follower in the turn of the loop after a change.

    Bounds: `MAX_FOLLOWERS`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._followers: dict[object, Callable[[], None]] = {}
        self._is_scheduled = False

    def __len__(self) -> int:
        return len(self._followers)

    def add(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` after changes from now on. It must not raise.

        Returns:
            Function that ends the calls. Calling it again does nothing.

        Raises:
            CapacityError: There are `MAX_FOLLOWERS` already.
        """
        if len(self._followers) >= MAX_FOLLOWERS:
            raise CapacityError(f"{MAX_FOLLOWERS} requests follow the changes already; try again later")
        key = object()
        self._followers[key] = wake

        def end() -> None:
            self._followers.pop(key, None)

        return end

    def changed(self) -> None:
        """Wake all followers in the next turn of the loop."""
        if self._followers and not self._is_scheduled:
            self._is_scheduled = True
            self._clock.call_soon(self._wake_all)

    def _wake_all(self) -> None:
        self._is_scheduled = False
        for wake in tuple(self._followers.values()):
            wake()
