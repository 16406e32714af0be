"""Test helpers for this project and its users: a clock that a test moves, and an echo endpoint."""

from presenced.testing.clock import FakeClock

__all__ = ["FakeClock"]
