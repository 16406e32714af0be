"""Authentications that wait for a backend or a function of the application."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from presenced.runtime.clock import Clock
from presenced.runtime.limits import Bucket
from presenced.runtime.logs import logger

MAX_PENDING_CALLS = 1_000
"""Maximum number of pending calls of one authenticator. At the bound, clients get `UNAVAILABLE` and retry later."""

MAX_LOGGED_FAILURES = 5
"""Maximum number of failures logged per second. Clients can cause failures, and must not be able to fill the log."""


class PendingCalls:
    """Tasks that wait for a backend or a function.

    Bounds: `MAX_PENDING_CALLS` tasks, which callers check by `is_full`; `MAX_LOGGED_FAILURES` log lines per second.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly
        self._log_bucket = Bucket(MAX_LOGGED_FAILURES, clock.monotonic())

    @property
    def is_full(self) -> bool:
        """Whether no further call may start."""
        return len(self._tasks) >= MAX_PENDING_CALLS

    def start(self, call: Coroutine[Any, Any, None]) -> None:
        """Start a call, which handles its own errors."""
        task = asyncio.create_task(call, name="presenced: authenticate")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def log_failure(self, message: str, *arguments: object) -> None:
        """Log a failure, unless too many were logged within this second."""
        if self._log_bucket.take(MAX_LOGGED_FAILURES, MAX_LOGGED_FAILURES, self._clock.monotonic()):
            logger.error(message, *arguments)

    async def stop(self) -> None:
        """Cancel all calls. Their results are dropped."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
