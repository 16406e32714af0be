"""Faults of the application in the log, without letting a client fill it."""

from __future__ import annotations

import logging
import traceback

from presenced.clock import Clock
from presenced.core.limits import Bucket

MAX_TRACEBACKS = 10
"""Maximum number of tracebacks logged in `PERIOD_S` in the long run, and at once; further faults are counted, and the
next one logged says how many there were."""

PERIOD_S = 60.0

MAX_MESSAGE = 300
"""Characters of an exception's own words; the rest is left out."""

_logger = logging.getLogger("presenced")


class Faults:
    """Logs what the application raised."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bucket = Bucket(MAX_TRACEBACKS, clock.monotonic())
        self._left_out = 0

    def report(self, error: Exception) -> None:
        """Log `error` with its traceback, or count it."""
        if not self._bucket.take(MAX_TRACEBACKS / PERIOD_S, MAX_TRACEBACKS, self._clock.monotonic()):
            self._left_out += 1
            return
        before, self._left_out = self._left_out, 0
        more = f" ({before:,} further faults before it were not logged)" if before else ""
        words = ascii(str(error))[:MAX_MESSAGE]  # text of a client may be in it
        place = "".join(traceback.format_tb(error.__traceback__))
        _logger.error(
            "a request failed by a fault of the server%s: %s: %s\n%s", more, type(error).__name__, words, place
        )
