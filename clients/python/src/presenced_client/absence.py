"""The time without a connection, after which everything known is too old."""

from __future__ import annotations


class Absence:
    """Decides when a session forgets what it knows. Times are monotonic seconds.

    Nothing may be forgotten while a connection opens that may resume the session: the server would not send it again.

    Args:
        forget_after: Seconds without a connection; None for the server's `resumeWindow`.
    """

    def __init__(self, forget_after: float | None) -> None:
        self._forget_after = forget_after
        self._resume_window = 120.0
        self._lost_at: float | None = None
        self._may_resume = False

    def connecting(self) -> None:
        """A connection opens."""
        self._may_resume = True

    def lost(self, now: float) -> None:
        """The connection ended, or an attempt failed."""
        self._may_resume = False
        if self._lost_at is None:
            self._lost_at = now

    def ended(self, resume_window: float) -> None:
        """A connection is open, whose server has this `resumeWindow`."""
        self._resume_window, self._lost_at, self._may_resume = resume_window, None, False

    def forgets_at(self) -> float | None:
        """Return when everything is to be forgotten; None while that is not due by itself."""
        if self._lost_at is None or self._may_resume:
            return None
        return self._lost_at + (self._resume_window if self._forget_after is None else self._forget_after)
