"""Promises on presence over random schedules, against a model that recomputes everything.

One node runs on a fake clock with connections without sockets. Some stop answering, and some read slowly.
The model stores only events, and recomputes which users are online after each of them.
"""

from __future__ import annotations

import dataclasses
from math import inf, nextafter
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.examples import examples
from tests.support.fakes import FakeConnection
from tests.support.nodes import make_node, request

from presenced.config.settings import Settings
from presenced.errors import Close
from presenced.node.service import PresenceService
from presenced.presence.model import Ending
from presenced.presence.user import MAX_DETACHED_SESSIONS
from presenced.testing import FakeClock

USERS = ("1", "2", "three", "four")
INTERVAL, TIMEOUT, AWAY, LOST, UNHEARD, BEHIND = 30.0, 10.0, 3.0, 15.0, 5.0, 30.0
GRACES = {Ending.CLOSED: 0.0, Ending.GOING_AWAY: AWAY, Ending.KEEP_SESSION: AWAY, Ending.LOST: LOST}
TICK = INTERVAL / 60


@dataclasses.dataclass
class CountedUser:
    """Events of one user."""

    open: list[FakeConnection] = dataclasses.field(default_factory=list)
    graces: list[float] = dataclasses.field(default_factory=list)
    announced: bool = False

    def online(self, now: float) -> bool:
        return bool(self.open) or self.announced or any(end > now for end in self.graces)


class Presence(RuleBasedStateMachine):
    @initialize(log_size=st.sampled_from([2, 3, 100]))
    def start(self, log_size: int) -> None:
        self.clock = FakeClock()
        options = Settings(stats_interval=0, log_size=log_size, log_age=3600, log_level="error")
        self.node = make_node(options, self.clock)
        self.application = PresenceService(self.node)
        self.node.start()
        self.users: dict[str, CountedUser] = {user_id: CountedUser() for user_id in USERS}
        self.connections: list[FakeConnection] = []
        self.knew: dict[FakeConnection, dict[str, bool]] = {}
        """Users online when the connection opened: the classic protocol leaves that to its client."""
        self.silent_since: dict[FakeConnection, float] = {}
        self.took_at: dict[FakeConnection, float] = {}
        self.opened_at: dict[FakeConnection, float] = {}
        self.caught_up: set[FakeConnection] = set()

    def open_ones(self, **having: bool) -> list[FakeConnection]:
        return [
            connection
            for connection in self.connections
            if connection.closed_with is None and all(getattr(connection, k) is v for k, v in having.items())
        ]

    def truth(self) -> dict[str, bool]:
        return {user_id: user.online(self.clock.monotonic()) for user_id, user in self.users.items()}

    def settle(self, yes: bool) -> None:
        """End the turn of the loop, or let more happen in it."""
        if yes:
            self.clock.run_soon()

    def grace_after(self, connection: FakeConnection, ending: Ending) -> float:
        """A connection lost within 5 s of its opening, without any input from its client, has the grace period of
        1001."""
        heard = connection.pongs or connection in self.caught_up
        if ending is Ending.LOST and not heard and self.clock.monotonic() - self.opened_at[connection] <= UNHEARD:
            return AWAY
        return GRACES[ending]

    def model_end(self, connection: FakeConnection, grace: float) -> None:
        user = self.users[connection.user_id]
        user.open.remove(connection)
        if grace:
            user.graces = [end for end in user.graces if end > self.clock.monotonic()]
            user.graces.append(self.clock.monotonic() + grace)
            if len(user.graces) > MAX_DETACHED_SESSIONS:
                user.graces.remove(min(user.graces))

    def closed(self, connection: FakeConnection, ending: Ending, reason: str) -> None:
        """Tell the node that the server closed a connection, after checking with the model that it may."""
        now = self.clock.monotonic()
        assert connection.closed_with
        match connection.closed_with[0]:
            case Close.TIMED_OUT:
                stuck_since = self.took_at.get(connection, now)
                assert connection in self.silent_since or now - stuck_since >= TIMEOUT - TICK, "promise 4"
                self.model_end(connection, LOST)
            case Close.FELL_BEHIND:
                self.model_end(connection, self.grace_after(connection, Ending.LOST))
            case Close.DISCONNECTED:
                self.model_end(connection, 0)
            case other:
                raise AssertionError(f"closed with {other} at {now}")
        self.node.closed(connection, ending, reason)

    # Events.

    @rule(user_id=st.sampled_from(USERS), turn_ends=st.booleans())
    def open(self, user_id: str, turn_ends: bool) -> None:
        connection = FakeConnection(on_closed=self.closed, clock=self.clock)
        user = self.users[user_id]
        user.graces = [end for end in user.graces if end > self.clock.monotonic()][:-1]
        user.open.append(connection)
        self.connections.append(connection)
        self.knew[connection] = self.truth()
        self.opened_at[connection] = nextafter(self.clock.monotonic(), inf)  # as the server calculates, at the bound
        self.node.opened(connection, request(f"userId={user_id}"))
        self.settle(turn_ends)

    @precondition(lambda self: self.open_ones())
    @rule(data=st.data(), ending=st.sampled_from(list(GRACES)), turn_ends=st.booleans())
    def end(self, data: st.DataObject, ending: Ending, turn_ends: bool) -> None:
        connection = data.draw(st.sampled_from(self.open_ones()))
        connection.closed_with = (Close.NORMAL, "")  # by the client
        self.model_end(connection, self.grace_after(connection, ending))
        self.node.closed(connection, ending, ending)
        self.node.closed(connection, Ending.LOST, Ending.LOST)  # a second end is a no-op (promise 5)
        self.settle(turn_ends)

    @precondition(lambda self: self.open_ones(answers=True))
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """Cut the cable: the connection stops answering, and nobody is notified."""
        connection = data.draw(st.sampled_from(self.open_ones(answers=True)))
        connection.answers = False
        self.silent_since[connection] = self.clock.monotonic()

    @precondition(lambda self: self.open_ones(answers=True))
    @rule(data=st.data(), all_of_it=st.booleans())
    def read_slowly_or_catch_up(self, data: st.DataObject, all_of_it: bool) -> None:
        """Fill the transport of a connection, or let its client read some or all of the buffered output."""
        connection = data.draw(st.sampled_from(self.open_ones(answers=True)))
        self.took_at[connection] = self.clock.monotonic()
        if not connection.paused:
            connection.paused, connection.unsent = True, 100_000
            self.node.paused(connection)
        elif all_of_it:
            connection.paused, connection.unsent = False, 0
            self.caught_up.add(connection)
            self.node.resumed(connection)
        else:
            connection.unsent -= 100

    @rule(user_id=st.sampled_from(USERS), what=st.sampled_from(["on", "off", "disconnect"]), turn_ends=st.booleans())
    def hear_from_the_backend(self, user_id: str, what: str, turn_ends: bool) -> None:
        user = self.users[user_id]
        if what == "disconnect":
            user.graces = []
            self.application.disconnect(user_id)
        else:
            user.announced = what == "on"
            if what == "off" and not user.open:
                user.graces = []
            self.application.announce(user_id, user.announced)
        self.settle(turn_ends)

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 2.9, 3.0, 5.0, 9.0, 14.9, 15.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(hours=st.sampled_from([-1, 1]))
    def step_the_wall_clock(self, hours: int) -> None:
        self.clock.step_wall_clock(hours * 3600)

    # Invariants.

    @invariant()
    def the_directory_is_what_the_model_says(self) -> None:
        """Promises 4, 5 and 11, and the counts."""
        truth, stats = self.truth(), self.node.stats()
        assert {user_id: self.node.directory.users.status(user_id) == "online" for user_id in USERS} == truth
        assert stats.online_users == sum(truth.values())
        assert stats.connected_users == sum(bool(user.open) for user in self.users.values())
        assert stats.total_connections == sum(len(user.open) for user in self.users.values())

    @invariant()
    def every_view_equals_the_truth(self) -> None:
        """Promises 1, 3 and 7: after a turn, every watcher that keeps up knows exactly which users are online."""
        if not self.clock.waiting:
            for connection in self.open_ones(paused=False):
                told = {str(user): kind == "USER_ONLINE" for kind, user in connection.about_others()}
                others = {**self.knew[connection], **told, connection.user_id: True}
                assert others == self.truth(), f"{connection.connection_id} has it wrong"

    @invariant()
    def watchers_receive_everything_about_others_in_order(self) -> None:
        """Promise 6, and the flow of the contract."""
        for connection in self.connections:
            if connection.messages:
                assert connection.messages[0]["type"] == "CONNECTION_ESTABLISHED"
            last: dict[str, str] = {}
            for kind, user in connection.about_others():
                assert str(user) != connection.user_id
                if connection not in self.took_at and str(user) in last:
                    assert last[str(user)] != kind, "ONLINE and OFFLINE take turns (promise 5)"
                last[str(user)] = kind

    @invariant()
    def no_ghost_is_older_than_the_bound(self) -> None:
        """Promise 2: a connection that does not answer is gone within interval + timeout (and a tick)."""
        for connection, since in self.silent_since.items():
            if connection.closed_with is None:
                assert self.clock.monotonic() - since <= INTERVAL + TIMEOUT


TestPresence: Any = Presence.TestCase
TestPresence.settings = settings(max_examples=examples(1000), stateful_step_count=60)
