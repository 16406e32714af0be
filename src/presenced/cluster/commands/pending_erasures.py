"""Erasures that wait until the user is offline on all nodes. An entry of the log then erases the user in the database.

The last changes of a user come when the nodes close the user's connections. If the database erased the user earlier,
these changes would be stored afterwards.
"""

from __future__ import annotations

from presenced.cluster.backend import Kind
from presenced.cluster.cluster import Cluster
from presenced.delivery.connection import Connection
from presenced.presence.model import Status
from presenced.presence.users import Users
from presenced.runtime.clock import Clock, Timer

MAX_ERASURES = 1_000
"""Maximum number of waiting erasures. At the bound, `erase` does nothing: changes of the user in the last seconds stay
in the database."""

ERASE_WITHIN_S = 5.0
"""Seconds after which a user is erased even if not yet offline on all nodes."""

CHECK_PERIOD_S = 0.5
"""Seconds between two checks whether the users are offline."""


class PendingErasures:
    """Logs an entry of kind `ERASE` for each user, once the user is offline on all nodes.

    Bounds: `MAX_ERASURES`, each for `ERASE_WITHIN_S`.
    """

    def __init__(self, cluster: Cluster, users: Users[Connection], clock: Clock, timer: Timer) -> None:
        self._cluster = cluster
        self._users = users
        self._clock = clock
        self._timer = timer
        self._until: dict[str, float] = {}  # monotonic time by which each user is erased

    def erase(self, user_id: str) -> None:
        """Have all nodes and the database forget a user. No-op at the bound."""
        if len(self._until) < MAX_ERASURES:
            self._until[user_id] = self._clock.monotonic() + ERASE_WITHIN_S
            if self._check not in self._timer:  # otherwise frequent erasures would postpone the check
                self._timer.set(self._check, self._clock.monotonic() + CHECK_PERIOD_S)

    def _check(self) -> None:
        now = self._clock.monotonic()
        if not self._cluster.is_in_reach:  # other nodes learn later than this one that the user is to leave
            self._until = dict.fromkeys(self._until, now + ERASE_WITHIN_S)
        for user_id, until in list(self._until.items()):
            replica = self._cluster.replica_of(user_id)
            has_record = user_id in replica.records and not replica.has_only_cleared(user_id)
            is_gone = not has_record and self._users.status(user_id) is Status.OFFLINE
            if (is_gone or now >= until) and self._cluster.add_control(Kind.ERASE, user_id, user_id.encode()):
                del self._until[user_id]
        if self._until:
            self._timer.set(self._check, now + CHECK_PERIOD_S)
