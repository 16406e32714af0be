"""When to connect again, and when never: one table for all endings of a connection.

The first matching row decides:

    ended by                                 then
    --------------------------------------   -----------------------------------------------------------------
    GOING_AWAY, a message                    wait for its `retryAfter`, then as for 1006
    4401 UNAUTHORIZED                        once after 1 s, with a fresh token from the function; otherwise final
    4409 REPLACED                            a new session at once; the third one within a minute is final
    `"backoff": "slow"` in codes.json        as for 1006, with 4 s instead of 500 ms
    `"reconnect": false` in codes.json       final
    1006, other codes                        100 ms + random x min(30 s, 500 ms x 2^n), full jitter

`n` counts attempts, and returns to 0 after 10 s of an open connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from presenced_client import codes
from presenced_client.errors import PresenceError

LEAST_S = 0.1
LONGEST_S = 30.0
BASE_S = 0.5
SLOW_BASE_S = 4.0
STEADY_S = 10.0
"""Seconds for which a connection must be open before the delays begin again with the shortest one."""

MAX_REPLACED = 3
"""Number of 4409 within `REPLACED_WINDOW_S` that is final: two clients take the same session from each other."""

REPLACED_WINDOW_S = 60.0
MAX_EXPONENT = 10
UNREACHABLE_AFTER = 3
"""Number of attempts without any answer after which the error is UNREACHABLE."""

REVOKED_S = 1.0
"""Seconds before the attempt after 4401. Tokens count their time of issue in whole seconds, so one from the second of a
revocation would be refused, too."""

UNAUTHORIZED, REPLACED = 4401, 4409


@dataclass(frozen=True, slots=True)
class Again:
    """Connect again."""

    delay: float
    error: PresenceError
    """Why the connection ended."""
    new_session: bool = False
    """Whether to begin a new session instead of resuming this one."""
    fresh_token: bool = False
    """Whether the token that was used must not be used again."""


@dataclass(frozen=True, slots=True)
class Final:
    """Do not connect again."""

    error: PresenceError


class Retry:
    """Decides after each ending.

    Args:
        random: Returns a number from 0 up to 1.
        can_renew: Whether the token comes from a function, and not from a string.
    """

    def __init__(self, random: Callable[[], float], can_renew: bool) -> None:
        self.attempt = 0
        """Number of attempts in a row that did not stay open."""
        self._random = random
        self._can_renew = can_renew
        self._opened_at: float | None = None
        self._is_refused = False
        """Whether the last connection ended with 4401 before it opened."""
        self._unopened = 0
        self._replaced: list[float] = []

    def opened(self, now: float) -> None:
        """The connection is established."""
        self._opened_at, self._is_refused, self._unopened = now, False, 0

    def closed(self, code: int, reason: str, now: float, retry_after: float | None = None) -> Again | Final:
        """Decide after a close code of the server; 1006 stands for a loss.

        Args:
            retry_after: Seconds from GOING_AWAY; None without it.
        """
        self._ended(now)
        error = PresenceError.from_close(code, reason)
        known = codes.CLOSE.get(code)
        if retry_after is not None:
            return Again(retry_after, error)
        if code == UNAUTHORIZED:
            if self._is_refused or not self._can_renew:
                return Final(error)
            self._is_refused = True
            return Again(REVOKED_S, error, fresh_token=True)
        if code == REPLACED:
            self._replaced = [at for at in self._replaced if now - at < REPLACED_WINDOW_S] + [now]
            if len(self._replaced) >= MAX_REPLACED:
                return Final(error)
            return Again(0.0, error, new_session=True)
        if known is not None and not known.reconnect:
            return Final(error)
        return Again(self._delay(SLOW_BASE_S if known is not None and known.is_slow else BASE_S), error)

    def failed(self, error: PresenceError, now: float, retry_after: float = 0.0) -> Again | Final:
        """Decide after an attempt that did not get as far as a close code, for example after an HTTP status."""
        self._ended(now)
        if not error.retryable:
            return Final(error)
        self._unopened += 1
        if self._unopened >= UNREACHABLE_AFTER and error.code == "CONNECTION_LOST":
            hint = "Is the server running, and is the URL right? Its log says if it refuses the client."
            error = PresenceError("UNREACHABLE", error.message, hint=hint, retryable=True)
        return Again(max(retry_after, self._delay(BASE_S)), error)

    def _ended(self, now: float) -> None:
        if self._opened_at is not None and now - self._opened_at >= STEADY_S:
            self.attempt = 0
        self._opened_at = None

    def _delay(self, base: float) -> float:
        """Return the next delay. Full jitter spreads the clients of a restarted server over the whole time."""
        longest = min(LONGEST_S, base * 2.0 ** min(self.attempt, MAX_EXPONENT))
        self.attempt += 1
        return LEAST_S + self._random() * longest
