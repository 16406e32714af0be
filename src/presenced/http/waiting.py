"""Requests that wait for changes: long polls (`GET /changes?wait=`) and event streams (`/changes`, `/watch`).

A waiting request occupies a connection and a task for a long time, so the number of requests is bounded. Nothing is
queued for them. The handler of a request knows one number, the position of its client in the journal, and repeats these
steps:

    read the changes since the position   nothing is stored per request, the journal has them
    write them, within `behind_timeout`   a client that does not read is cut off
    wait until something changes          one `asyncio.Event` per request

A slow client therefore costs its position and the one part that is being written. It reads fewer, larger parts. A
client that falls behind the journal gets an error (`/changes`) or a new snapshot (`/watch`).

A request stops waiting in four ways:

| reason | what happens |
|---|---|
| something changed | `wake` sets the event, in the turn of the loop after the change |
| its time is over | `wait` returns False |
| its client disconnected | the task `_until_disconnected` calls `end` |
| the server stops, or the user is disconnected | `WaitingRequests.end` or `end_of` calls `end` |

After `end`, `is_ending` is true and a write in progress has `LAST_WRITE_S` left. The handler always calls `leave`.

| bound | at the bound |
|---|---|
| `MAX_BACKENDS`, `MAX_WATCHERS`, `MAX_WAITING_OF_USER` | one more request gets 503 with `Retry-After` |
| `behind_timeout` (setting) for one write | the connection is cut |
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.types import Receive

from presenced.http.errors import unavailable

MAX_BACKENDS = 200
"""Maximum number of waiting requests with an API key. One more is refused."""

MAX_WATCHERS = 1_000
"""Maximum number of waiting requests with a user's token or ticket. One more is refused."""

MAX_WAITING_OF_USER = 10
"""Maximum number of waiting requests of one user, so that no user uses up the bound for all. One more is refused."""

LAST_WRITE_S = 1.0
"""Seconds that a client has to read the current part after `end`. After that its connection is cut."""


class WaitingRequest:
    """One request that waits for changes. Its handler must call `leave` at the end."""

    def __init__(self, user_id: str | None, receive: Receive, leave: Callable[[WaitingRequest], None]) -> None:
        self.user_id = user_id
        """User whose token or ticket authenticates the request; None for a backend."""
        self.on_leave: Callable[[], None] | None = None
        """Function called once, when the request leaves."""
        self.is_ending = False
        """Whether the handler must finish, because the client disconnected or the server ends the request."""
        self._woken = asyncio.Event()
        self._writing: asyncio.Timeout | None = None
        """Timeout of the write in progress; None between writes."""
        self._leave = leave
        self._disconnect_task: asyncio.Task[None] | None = asyncio.create_task(
            self._until_disconnected(receive), name="presenced: waiting request"
        )

    def wake(self) -> None:
        """Have the handler look for changes."""
        self._woken.set()

    def end(self) -> None:
        """Have the handler finish."""
        self.is_ending = True
        self._woken.set()
        # A timeout that has fired cannot be rescheduled. The write ends in the next turn of the loop anyway.
        if self._writing is not None and not self._writing.expired():
            ends = asyncio.get_running_loop().time() + LAST_WRITE_S
            self._writing.reschedule(min(ends, self._writing.when() or ends))

    @asynccontextmanager
    async def writing(self, timeout_s: float) -> AsyncIterator[None]:
        """Limit the time of a write to `timeout_s` seconds, and to `LAST_WRITE_S` seconds from `end` on.

        Raises:
            TimeoutError: The client has not read enough.
        """
        async with asyncio.timeout(min(timeout_s, LAST_WRITE_S) if self.is_ending else timeout_s) as self._writing:
            try:
                yield
            finally:
                self._writing = None

    async def wait(self, seconds: float) -> bool:
        """Wait for a change for at most `seconds`. Return whether there was one."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    def leave(self) -> None:
        """Stop counting towards the bounds. No-op after the first call."""
        if self._disconnect_task is not None:
            self._disconnect_task.cancel()
            # A cancelled task refers to its frames, and they refer to this object. The garbage collector never looks at
            # frozen objects (`runtime.gc`), so it never finds such a cycle.
            self._disconnect_task = None
        self._leave(self)

    async def _until_disconnected(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end()


class WaitingRequests:
    """All waiting requests. Subscribes to changes, which wake the requests, only while there are any.

    Args:
        on_change: `PresenceService.on_change`.
        count: Function that sets the metric of the number of waiting requests.
    """

    def __init__(
        self, on_change: Callable[[Callable[[], None]], Callable[[], None]], count: Callable[[float], None]
    ) -> None:
        self._on_change = on_change
        self._count = count
        self._requests: set[WaitingRequest] = set()
        self._of_user: Counter[str | None] = Counter()
        self._stop_listening: Callable[[], None] | None = None
        self._is_over = False

    def enter(self, receive: Receive, user_id: str | None) -> WaitingRequest:
        """Return a new waiting request.

        Args:
            receive: ASGI callable of a request whose body has been read.
            user_id: User whose token or ticket authenticates the request; None for a backend.

        Raises:
            ProblemError: A bound is reached, or the server is stopping.
            CapacityError: The node allows no further subscription to changes.
        """
        self._check(user_id)
        if self._stop_listening is None:
            self._stop_listening = self._on_change(self._wake)
        request = WaitingRequest(user_id, receive, self._leave)
        self._requests.add(request)
        self._of_user[user_id] += 1
        self._count(len(self._requests))
        return request

    def end_of(self, user_id: str) -> int:
        """End the requests with tokens or tickets of one user, and return their number."""
        found = [request for request in self._requests if request.user_id == user_id]
        for request in found:
            request.end()
        return len(found)

    def end(self) -> None:
        """End all requests and refuse new ones, because the server stops."""
        self._is_over = True
        for request in self._requests:
            request.end()

    def _check(self, user_id: str | None) -> None:
        if self._is_over:
            raise unavailable("the server is stopping; retry in a moment")
        backends = self._of_user[None]
        if user_id is None:
            if backends >= MAX_BACKENDS:
                raise unavailable(f"{MAX_BACKENDS} requests with API keys are waiting for changes already")
        elif len(self._requests) - backends >= MAX_WATCHERS:
            raise unavailable(f"{MAX_WATCHERS:,} requests of users are waiting for changes already")
        elif self._of_user[user_id] >= MAX_WAITING_OF_USER:
            raise unavailable(f"{MAX_WAITING_OF_USER} requests of this user are waiting for changes already")

    def _wake(self) -> None:
        for request in self._requests:
            request.wake()

    def _leave(self, request: WaitingRequest) -> None:
        if request not in self._requests:
            return
        self._requests.discard(request)
        self._of_user[request.user_id] -= 1
        if not self._of_user[request.user_id]:
            del self._of_user[request.user_id]
        self._count(len(self._requests))
        if request.on_leave is not None:
            request.on_leave()
        if not self._requests and self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None
