"""When to try again. Pure."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER = 86_400.0
"""Seconds; who asks for more is asked again after so many."""


def pause(failures: int, first: float, last: float, chance: float) -> float:
    """Seconds to wait after so many failures in a row: exponential back-off with full jitter.

    Args:
        failures: At least 1.
        chance: Evenly out of [0, 1).
    """
    return float(min(last, first * 2 ** min(failures - 1, 30)) * chance)


def retry_after(text: str, now_ms: int) -> float:
    """Seconds that a `Retry-After` (RFC 9110 section 10.2.3) asks for; 0 when it says nothing that can be read."""
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(0.0, moment - now_ms / 1000), MAX_RETRY_AFTER)
