"""Client of presenced.v1 on a fake connection, with the state that its messages bring it to."""

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
        self.write_when_paused = True  # answers are written to slow clients, too
        self.read = 0

    def apply_new(self) -> None:
        """Apply the messages that have arrived."""
        for message in self.messages[self.read :]:
            self.take(message)
        self.read = len(self.messages)
