"""The open connections of a node."""

from __future__ import annotations

from math import inf, nextafter

from presenced.delivery.connection import Connection
from presenced.runtime.instant import Instant
from presenced.runtime.limits import Pace
from presenced.runtime.metrics import Metrics


class Connections:
    """Connections that the node has adopted, in the order of their opening.

    Bounds: `max_connections`. The listener checks it, because it includes HTTP connections.
    """

    def __init__(self, max_connections: int, metrics: Metrics) -> None:
        self.max_connections = max_connections
        """Maximum number of open connections, HTTP ones included."""
        self.pace = Pace()
        """Connections adopted per second, in the best second so far."""
        self.by_serial: dict[int, Connection] = {}
        """Connections by serial number, oldest first (read-only)."""
        self._last_serial = 0
        metrics.gauge("presenced_connections", "Open connections.", lambda: len(self.by_serial))
        metrics.gauge("presenced_max_connections", "Maximum number of open connections.", lambda: self.max_connections)

    def __len__(self) -> int:
        return len(self.by_serial)

    def adopt(self, connection: Connection, user_id: str, now: Instant) -> None:
        """Add a connection of an admitted user, and set its number and times."""
        self.pace.count(now.monotonic)
        self._last_serial += 1
        connection.user_id = user_id
        connection.serial = self._last_serial
        connection.opened_ms = now.epoch_ms
        # The next representable time after now, so that input in the same tick of a coarse clock still differs from it
        # (`unheard_age`).
        opened_at = nextafter(now.monotonic, inf)
        connection.opened_at = -inf if connection.heard_at else opened_at  # a client that sent AUTH is not silent
        connection.heard_at = opened_at
        self.by_serial[self._last_serial] = connection

    def remove(self, connection: Connection) -> bool:
        """Remove a connection that ended. Return whether it was there."""
        return self.by_serial.pop(connection.serial, None) is not None


def unheard_age(connection: Connection, now: Instant) -> float:
    """Return the seconds since a connection opened if its client has sent nothing since, otherwise infinity."""
    return now.monotonic - connection.opened_at if connection.heard_at == connection.opened_at else inf
