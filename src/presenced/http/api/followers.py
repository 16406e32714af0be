"""Requests that wait for changes: how many there may be, and what wakes them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.types import Receive

from presenced.errors import CapacityError, Problem
from presenced.http.errors import ProblemError

MAX_BACKENDS = 200
"""Requests with an API key that wait at a time."""

MAX_WATCHERS = 1_000
"""Requests with a user's token that wait at a time."""

MAX_OF_USER = 10
"""Of these, of one user."""

RETRY_AFTER = "5"

LAST_WRITE = 1.0
"""Seconds that a client has for what it is being sent when the server stops."""


class Follower:
    """One request that waits. To be ended with `leave`."""

    __slots__ = ("_leave", "_watch", "_woken", "_writing", "gone", "on_leave", "user_id")

    def __init__(self, user_id: str | None, receive: Receive, leave: Callable[[Follower], None]) -> None:
        self.user_id = user_id
        """Whose token it came with; None: a backend's."""
        self.on_leave: Callable[[], None] | None = None
        """Function called once, when the follower leaves."""
        self.gone = False
        """The client has gone, or the server stops."""
        self._woken = asyncio.Event()
        self._writing: asyncio.Timeout | None = None
        self._leave = leave
        self._watch: asyncio.Task[None] | None = asyncio.create_task(
            self._until_gone(receive), name="presenced: follower"
        )

    def wake(self) -> None:
        """Something changed."""
        self._woken.set()

    def end(self) -> None:
        """It has nothing more to wait for."""
        self.gone = True
        self._woken.set()
        if self._writing is not None:
            ends = asyncio.get_running_loop().time() + LAST_WRITE
            self._writing.reschedule(min(ends, self._writing.when() or ends))

    @asynccontextmanager
    async def writing(self, patience: float) -> AsyncIterator[None]:
        """To send something within `patience` seconds, or `LAST_WRITE` from its end on.

        Raises:
            TimeoutError: The client has not taken it.
        """
        async with asyncio.timeout(min(patience, LAST_WRITE) if self.gone else patience) as self._writing:
            try:
                yield
            finally:
                self._writing = None

    async def wait(self, seconds: float) -> bool:
        """Wait for a change; False when there was none for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    def leave(self) -> None:
        """It waits no longer."""
        if self._watch is not None:
            self._watch.cancel()
            # A cancelled task refers to its frames, and they to this object. `garbage` never finds such a cycle.
            self._watch = None
        self._leave(self)

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end()


class Followers:
    """All requests that wait.

    Bounds: `MAX_BACKENDS`, `MAX_WATCHERS`, `MAX_OF_USER`; one more is refused.

    Args:
        on_change: `PresenceService.on_change`.
        count: Told how many there are.
    """

    def __init__(
        self, on_change: Callable[[Callable[[], None]], Callable[[], None]], count: Callable[[float], None]
    ) -> None:
        self._on_change = on_change
        self._count = count
        self._followers: set[Follower] = set()
        self._of_user: Counter[str | None] = Counter()
        self._stop: Callable[[], None] | None = None
        self._is_over = False

    def __len__(self) -> int:
        return len(self._followers)

    def enter(self, receive: Receive, user_id: str | None) -> Follower:
        """One that changes wake, and the client's going.

        Args:
            receive: Of the request, whose body has been read.
            user_id: Whose token it came with; None: a backend's.

        Raises:
            ProblemError: There are too many.
        """
        self._check(user_id)
        if self._stop is None:
            try:
                self._stop = self._on_change(self._wake)
            except CapacityError as error:
                raise _refused(str(error)) from None
        follower = Follower(user_id, receive, self._leave)
        self._followers.add(follower)
        self._of_user[user_id] += 1
        self._count(len(self._followers))
        return follower

    def end_of(self, user_id: str) -> int:
        """End the requests of one user's tokens, and return their number."""
        found = [follower for follower in self._followers if follower.user_id == user_id]
        for follower in found:
            follower.end()
        return len(found)

    def end(self) -> None:
        """The server stops: all end."""
        self._is_over = True
        for follower in self._followers:
            follower.end()

    def _check(self, user_id: str | None) -> None:
        if self._is_over:
            raise _refused("the server is stopping; retry in a moment")
        backends = self._of_user[None]
        if user_id is None:
            if backends >= MAX_BACKENDS:
                raise _refused(f"{MAX_BACKENDS} requests with API keys wait for changes already")
        elif len(self._followers) - backends >= MAX_WATCHERS:
            raise _refused(f"{MAX_WATCHERS:,} requests of users wait for changes already")
        elif self._of_user[user_id] >= MAX_OF_USER:
            raise _refused(f"{MAX_OF_USER} requests of this user wait for changes already")

    def _wake(self) -> None:
        for follower in self._followers:
            follower.wake()

    def _leave(self, follower: Follower) -> None:
        if follower not in self._followers:
            return
        self._followers.discard(follower)
        self._of_user[follower.user_id] -= 1
        if not self._of_user[follower.user_id]:
            del self._of_user[follower.user_id]
        self._count(len(self._followers))
        if follower.on_leave is not None:
            follower.on_leave()
        if not self._followers and self._stop is not None:
            self._stop()  # nobody follows: changes wake nothing
            self._stop = None


def _refused(detail: str) -> ProblemError:
    return ProblemError(Problem.UNAVAILABLE, detail, {"retry-after": RETRY_AFTER})
