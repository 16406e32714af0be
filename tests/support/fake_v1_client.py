"""A client of presenced.v1 on a connection whose transport is full after so many writes."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.fakes import FakeConnection
from tests.support.v1_replica import V1Replica

from presenced.presence.model import Ending
from presenced.testing import FakeClock


class FakeV1Client(FakeConnection, V1Replica):
    """A fake connection with a replica, which applies messages on request."""

    def __init__(self, on_closed: Callable[[FakeConnection, Ending, str], None], clock: FakeClock) -> None:
        FakeConnection.__init__(self, on_closed, clock)
        V1Replica.__init__(self)
        self.write_when_paused = True  # answers
        self.read = 0

    def believe(self) -> None:
        """Apply the messages that have arrived."""
        for message in self.messages[self.read :]:
            self.take(message)
        self.read = len(self.messages)
