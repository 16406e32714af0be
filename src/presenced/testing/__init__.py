"""For tests, ours and yours: a clock that stands still until told, and an echo endpoint on the same protocol class."""

from presenced.testing.clock import FakeClock

__all__ = ["FakeClock"]
