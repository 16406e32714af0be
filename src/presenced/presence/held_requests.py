"""Requests of a user's clients during the pause after a change. The head of `presence.directory` explains the pause."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from math import inf
from typing import Generic, TypeVar

from presenced.presence.session import Session
from presenced.presence.status import TimedChoice

C = TypeVar("C", bound=Hashable)


@dataclass(slots=True, eq=False)
class HeldRequests(Generic[C]):
    """Requests of a user's clients that wait until the pause after the user's last change is over.

    They belong to the user and not to a connection: if two devices send requests, the last request wins.

    Bounds: two choices (`status.choices_in_force`), and one activity for each of the user's sessions.
    """

    until: float = -inf
    """Monotonic end of the pause."""
    choices: tuple[TimedChoice, ...] = ()
    """Waiting choices in the order of arrival, without those that a later one replaces."""
    activities: dict[Session[C], bool] = field(default_factory=dict)
    """Sessions whose person becomes active (True) or idle (False). Sessions already in that state are left out."""

    @property
    def deadline(self) -> float | None:
        """Monotonic time at which the waiting requests take effect; None if none waits."""
        return self.until if self.choices or self.activities else None

    def must_wait(self, now: float) -> bool:
        """Return whether a request at `now` (monotonic) waits. It never overtakes requests that already wait."""
        return now < self.until or self.deadline is not None

    def take_choices(self) -> tuple[TimedChoice, ...]:
        """Remove and return the waiting choices."""
        choices, self.choices = self.choices, ()
        return choices
