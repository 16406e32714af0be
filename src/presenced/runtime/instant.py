"""A moment, on two clocks, and how timestamps are written."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from msgspec import Struct


class Instant(Struct, frozen=True, gc=False, array_like=True):
    """One moment on two clocks: deadlines use the first, what people read uses the second.

    A struct is made in a sixth of the time of a named tuple, and the garbage collector never looks at it; with
    `Outcome` that is 5 % of the node's part in a change of status.
    """

    monotonic: float
    """Seconds on a clock that never steps; only differences mean anything."""
    epoch_ms: int
    """Milliseconds since 1970-01-01 UTC by the wall clock, which may step."""


def timestamp(epoch_ms: int) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`, as JavaScript's `Date.toISOString` writes it."""
    seconds, milliseconds = divmod(epoch_ms, 1000)
    return f"{_to_the_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=8)  # the same for all changes of a second; formatting is most of an encoding's cost
def _to_the_second(epoch: int) -> str:
    return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%dT%H:%M:%S}"
