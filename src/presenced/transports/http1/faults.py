"""Faults of the application in the log, without letting a client fill it."""

from __future__ import annotations

import logging

from presenced.clock import Clock

MAX_TRACEBACKS = 10
"""Maximum number of tracebacks logged in `PERIOD_S`; further faults are counted, and the next one logged says how
many there were."""

PERIOD_S = 60.0

_logger = logging.getLogger("presenced")


class Faults:
    """Logs what the application raised."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends = float("-inf")
        self._logged = 0
        self._left_out = 0

    def report(self, error: Exception) -> None:
        """Log `error` with its traceback, or count it."""
        now = self._clock.monotonic()
        if now >= self._ends:
            self._ends, self._logged = now + PERIOD_S, 0
        if self._logged >= MAX_TRACEBACKS:
            self._left_out += 1
            return
        self._logged += 1
        before, self._left_out = self._left_out, 0
        more = f"; {before:,} further faults before it were not logged" if before else ""
        _logger.error("a request failed by a fault of the server%s", more, exc_info=error)
