"""Publisher that erases the details of erased users again, after their last change.

A node that erases a user immediately forgets what it knows. In a cluster, the user is still shown until all nodes have
closed the user's connections. The user's last change contains the details to forget, and the time last seen. So each
node erases them again after that change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from presenced.delivery.connection import Connection
from presenced.presence.model import Status
from presenced.presence.outcome import Outcome
from presenced.runtime.instant import Instant
from presenced.runtime.limits import BoundedMap

MAX_ERASED = 10_000
"""Maximum number of erased users who are still shown. At the bound, details of the user who was erased first stay in
the journal, until newer changes evict them."""

ERASED_S = 60.0
"""Seconds for which an erased user may still be shown. The default lease, after which users of a dead node go offline,
is shorter."""


class ClusterPublisher(Protocol):
    """The part of the node's publisher that the cluster uses."""

    def apply_all(self, outcomes: Sequence[Outcome[Connection]], now: Instant) -> None:
        """Notify everyone that the outcomes concern."""


class ErasingPublisher:
    """The node's publisher, which erases the details of erased users.

    Bounds: `MAX_ERASED`, each for `ERASED_S`.

    Args:
        erase: Erases when a user was last seen, and the details of the user's changes.
    """

    def __init__(self, publisher: ClusterPublisher, erase: Callable[[str], None]) -> None:
        self._publisher = publisher
        self._erase = erase
        self._erased: BoundedMap[str, None] = BoundedMap(MAX_ERASED, ttl=ERASED_S)

    def erased(self, user_id: str, now: float) -> None:
        """Remember an erased user who is still shown (`now`: monotonic seconds)."""
        self._erased.set(user_id, None, now)

    def apply_all(self, outcomes: Sequence[Outcome[Connection]], now: Instant) -> None:
        """Notify everyone that the outcomes concern."""
        self._publisher.apply_all(outcomes, now)
        if not self._erased:
            return
        self._erased.expire(now.monotonic)
        for user_id, change in [(outcome.user_id, outcome.change) for outcome in outcomes]:
            if change is not None and user_id in self._erased and change.status is Status.OFFLINE:
                self._erased.pop(user_id)
                self._erase(user_id)
