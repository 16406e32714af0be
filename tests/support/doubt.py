"""A directory whose certainty a test decides, for nodes without a store."""

from __future__ import annotations

from tests.support.node_harness import NodeHarness

from presenced.delivery.connection import Connection
from presenced.presence.directory import Directory
from presenced.presence.journal import Journal
from presenced.presence.model import Status
from presenced.presence.session import Grace
from presenced.presence.users import Limits


class DoubtingDirectory(Directory[Connection]):
    """Directory of a node that may have lost its store (`presence.certainty.NodeCertainty`)."""

    stale_since_ms = 0
    transitions = 0
    elsewhere: frozenset[str] = frozenset()
    """Users whose sessions count as those of other nodes."""

    def __init__(self, grace: Grace, limits: Limits, journal: Journal) -> None:
        super().__init__(grace, limits, journal)
        self.certainty = self

    def is_stale(self, user_id: str, status: Status) -> bool:
        """Return whether a user may have changed unnoticed."""
        return self.stale_since_ms > 0 and (status is Status.OFFLINE or user_id in self.elsewhere)


def doubt(harness: NodeHarness, since_ms: int) -> None:
    """Lose the store at a time, in epoch milliseconds; 0 to read it again."""
    directory = harness.node.directory
    assert isinstance(directory, DoubtingDirectory)
    directory.stale_since_ms = since_ms
    directory.transitions += 1
    harness.node.certainty_changed()
    harness.clock.run_soon()


def set_elsewhere(harness: NodeHarness, *users: str) -> None:
    """Let the sessions of these users count as those of other nodes."""
    directory = harness.node.directory
    assert isinstance(directory, DoubtingDirectory)
    directory.elsewhere = frozenset(users)
