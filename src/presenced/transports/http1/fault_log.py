"""Log of application faults, limited so that a client cannot fill it."""

from __future__ import annotations

import logging
import traceback

from presenced.runtime.clock import Clock
from presenced.runtime.limits import Bucket

MAX_TRACEBACKS = 10
"""Maximum number of tracebacks logged in a row, and in `TRACEBACK_PERIOD_S` on average. Further faults are counted, and
the next log line states the count."""

TRACEBACK_PERIOD_S = 60.0
"""Seconds in which `MAX_TRACEBACKS` further tracebacks may be logged."""

MAX_MESSAGE_CHARACTERS = 300
"""Maximum number of characters logged of an exception's message. The rest is omitted."""

_logger = logging.getLogger("presenced")


class FaultLog:
    """Logs exceptions that the application raised.

    Bounds: `MAX_TRACEBACKS` log entries in `TRACEBACK_PERIOD_S`; `MAX_MESSAGE_CHARACTERS` characters of a message.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bucket = Bucket(MAX_TRACEBACKS, clock.monotonic())
        self._unlogged = 0

    def report(self, error: Exception) -> None:
        """Log `error` with its traceback, or count it."""
        if not self._bucket.take(MAX_TRACEBACKS / TRACEBACK_PERIOD_S, MAX_TRACEBACKS, self._clock.monotonic()):
            self._unlogged += 1
            return
        unlogged, self._unlogged = self._unlogged, 0
        more = f" ({unlogged:,} further faults before it were not logged)" if unlogged else ""
        message = ascii(str(error))[:MAX_MESSAGE_CHARACTERS]  # may contain text from a client
        trace = "".join(traceback.format_tb(error.__traceback__))
        _logger.error(
            "a request failed because of a server fault%s: %s: %s\n%s", more, type(error).__name__, message, trace
        )
