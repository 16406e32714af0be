"""How soon something must happen. Each promise has one more second, because other tests use the machine as well."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LOCAL_WITHIN_S = 1.0 + 1.0
"""A node without the store serves its users on its own after a second, and tells them so."""

RIGHT_WITHIN_S = 2.0 + 1.0
"""All views are right two seconds after the store is back."""


@asynccontextmanager
async def within(seconds: float, what: str) -> AsyncIterator[None]:
    """Check how long the block takes."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took <= seconds, f"not within {seconds:g} s but after {took:.1f} s: {what}"
