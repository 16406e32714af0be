"""Delays before retries, and the `Retry-After` header. Pure functions."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 86_400.0
"""Longest delay that a receiver can request. A longer one is shortened to this."""


def retry_delay(failures: int, first_s: float, max_s: float, chance: float) -> float:
    """Return the seconds to wait after this many failures in a row: exponential back-off with full jitter.

    Args:
        failures: At least 1.
        first_s: Longest delay after one failure. It doubles with each further failure, up to `max_s`.
        chance: Random number in [0, 1).
    """
    return float(min(max_s, first_s * 2 ** min(failures - 1, 30)) * chance)


def parse_retry_after(text: str, now_ms: int) -> float:
    """Return the seconds that a `Retry-After` header requests (RFC 9110 section 10.2.3); 0 if it is not valid."""
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(0.0, moment - now_ms / 1000), MAX_RETRY_AFTER_S)
