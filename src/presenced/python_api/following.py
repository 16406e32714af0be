"""Followers of all changes in the same program: callbacks and asynchronous iterators.

Both follow the journal as the change feed of the HTTP API does. A follower is a position, and nothing is queued for it:

    something changed ----> the journal ----> `wake` of every follower, in the next turn of the loop
                                                  |
                        callback: is called with each change since its position, in this turn
                        iterator: returns one change per `__anext__`, from its position on

Changes are therefore lost only if the journal has evicted them (setting `journal_size`). That happens to a callback if
one turn of the loop makes more changes than the journal contains. It happens to an iterator if its loop is slower than
the changes for a long time. In both cases the follower is notified.

Without followers nothing here runs when something changes.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from math import inf

from presenced.errors import ChangesLost
from presenced.http.api.responses import change_record
from presenced.node.service import PresenceService
from presenced.presence.model import Change
from presenced.python_api import from_records
from presenced.python_api.results import PresenceChange
from presenced.runtime.clock import Clock
from presenced.runtime.logs import logger

LOG_PAUSE_S = 1.0
"""Minimum number of seconds between two log entries about exceptions of one callback. More exceptions are counted."""

CHANGES_PER_TURN = 100
"""Number of changes after which an iterator gives the loop a turn."""

OnChange = Callable[[PresenceChange], None]


class ChangeFollowers:
    """Followers of one running server.

    Bounds: those of `JournalFollowers`, for callbacks and for iterators that wait.
    """

    def __init__(self, service: PresenceService, clock: Clock) -> None:
        self._service = service
        self._clock = clock
        self._callbacks: set[_Callback] = set()
        self._waiting: set[asyncio.Event] = set()
        self.is_over = False
        """Whether the server has stopped."""

    def on_change(self, callback: OnChange, on_lost: Callable[[], None] | None) -> Callable[[], None]:
        """Call `callback` with every change from now on.

        Args:
            on_lost: Called instead if changes were lost.

        Returns:
            Function that ends the calls. Calling it again does nothing.

        Raises:
            CapacityError: The maximum number of followers is reached.
            TypeError: `callback` is a coroutine function, which nothing would await.
        """
        if inspect.iscoroutinefunction(callback):
            raise TypeError("the callback is a coroutine function; use `async for change in server.changes()` instead")
        follower = _Callback(self._service, self._clock, callback, on_lost)
        self._callbacks.add(follower)

        def remove() -> None:
            follower.stop()
            self._callbacks.discard(follower)

        return remove

    def changes(self, after: str) -> AsyncIterator[PresenceChange]:
        """Return an iterator over the changes after a cursor; from now on if it is empty.

        Raises:
            BadParameter: It is not a cursor.
            ChangesLost: Changes after the cursor are lost.
        """
        return _ChangeIterator(self, self._service, self._service.position_of(after))

    async def wait(self) -> None:
        """Wait until something changes, or the server has stopped.

        Raises:
            CapacityError: The maximum number of followers is reached.
        """
        woken = asyncio.Event()
        end = self._service.on_change(woken.set)
        self._waiting.add(woken)
        try:
            await woken.wait()
        finally:
            self._waiting.discard(woken)
            end()

    def stop(self) -> None:
        """End all followers, because the server stops. Callbacks are called with the changes until now first."""
        for callback in tuple(self._callbacks):
            callback.wake()
            callback.stop()
        self._callbacks.clear()
        self.is_over = True
        for woken in self._waiting:
            woken.set()


class _Callback:
    """A callback and its position in the journal."""

    def __init__(
        self, service: PresenceService, clock: Clock, callback: OnChange, on_lost: Callable[[], None] | None
    ) -> None:
        self._service = service
        self._clock = clock
        self._callback = callback
        self._on_lost = on_lost
        self._position = service.position
        self._is_over = False
        self._logged_at = -inf
        self._unlogged = 0
        self._stop_following = service.on_change(self.wake)

    def wake(self) -> None:
        """Call the callback with every change since the last call. Its exceptions are logged."""
        position, self._position = self._position, self._service.position
        found = self._service.changes_since(position, self._position - position)
        if found is None:
            logger.warning(
                "a callback of on_change missed changes: one turn of the loop made more than journal_size",
                extra={"event": "changes_lost"},
            )
            if self._on_lost is not None:
                self._call(self._on_lost)
            return
        for change in found:
            if self._is_over:
                return
            self._call(self._callback, change_of(self._service, change))

    def stop(self) -> None:
        """End the calls."""
        self._is_over = True
        self._stop_following()

    def _call(self, function: Callable[..., None], *arguments: PresenceChange) -> None:
        try:
            function(*arguments)
        except Exception as error:
            self._log(error)

    def _log(self, error: Exception) -> None:
        """Log the exception with its traceback, unless one was logged just now: tracebacks take long to write."""
        now = self._clock.monotonic()
        if now - self._logged_at < LOG_PAUSE_S:
            self._unlogged += 1
            return
        more = f"; {self._unlogged} more exceptions since the last one logged" if self._unlogged else ""
        logger.error(
            "a callback of on_change failed: %r%s", error, more, exc_info=error, extra={"event": "callback_failed"}
        )
        self._logged_at, self._unlogged = now, 0


class _ChangeIterator(AsyncIterator[PresenceChange]):
    """The changes after a position, without end."""

    def __init__(self, followers: ChangeFollowers, service: PresenceService, position: int) -> None:
        self._followers = followers
        self._service = service
        self._position = position
        self._taken = 0

    def __aiter__(self) -> _ChangeIterator:
        return self

    async def __anext__(self) -> PresenceChange:
        self._taken += 1
        if self._taken % CHANGES_PER_TURN == 0:
            await asyncio.sleep(0)  # changes that are there already would otherwise keep the loop from everything else
        while True:
            found = self._service.changes_since(self._position, 1)
            if found is None:
                raise ChangesLost
            if found:
                self._position = found[0].position
                return change_of(self._service, found[0])
            if self._followers.is_over:
                raise StopAsyncIteration
            await self._followers.wait()


def change_of(service: PresenceService, change: Change) -> PresenceChange:
    """Return a change as others see it."""
    return from_records.change(change_record(change), service.position_text(change.position))
