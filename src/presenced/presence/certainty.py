"""Certainty: whether a node shows the current state of users, or the last one known before it lost its store."""

from __future__ import annotations

from typing import Protocol

from presenced.presence.model import Status


class NodeCertainty(Protocol):
    """Certainty of a node in a cluster about its own knowledge. A single node is always certain and needs none."""

    @property
    def stale_since_ms(self) -> int:
        """When this node became stale, in epoch milliseconds: users may have changed since. 0 if it is not stale."""

    @property
    def transitions(self) -> int:
        """Number of times that the node became stale, or current again. Clients are notified of the last one."""

    def is_stale(self, user_id: str, status: Status) -> bool:
        """Return whether a user who is shown with this status may have changed without this node knowing.

        A user who is shown as offline, or not known at all, gets the same answer whether or not the user has a session
        on this node. Otherwise the answer would reveal invisible and hidden users.
        """
