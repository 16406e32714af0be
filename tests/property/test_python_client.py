"""Sessions of `presenced_client` on the real node: random wishes, losses in the middle of messages, and restarts.

Requests and messages wait on the way until a step delivers some of them, and a loss drops the rest. When all is quiet,
the session must know what the node knows, about everything it wants.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import json
from tests.support.examples import examples
from tests.support.fake_v1_client import FakeV1Client
from tests.support.fakes import FakeConnection
from tests.support.nodes import make_node, request
from tests.support.v1_replica import V1Replica

from presenced.config.settings import Settings
from presenced.node.service import PresenceService
from presenced.presence.model import Ending
from presenced.testing import FakeClock
from presenced_client.changes import ChangeStream
from presenced_client.desired_state import DesiredRoom
from presenced_client.presence import Change, UserPresence
from presenced_client.requested_state import EVERYONE
from presenced_client.self import Choice
from presenced_client.session import Session
from presenced_client.url import connection_url

USERS = ("ada", "bob", "7", "carl")
ROOMS = ("lobby", "bar")
MAX_USERS = 3
"""Bound for the session under test. The node's is 1,000, and reads the same."""


class SessionOnANode(RuleBasedStateMachine):
    @initialize(
        log_size=st.sampled_from([2, 1000]),
        page=st.sampled_from([1, 2, 500]),
        small_rooms=st.booleans(),
        rate=st.sampled_from([(2, 2), (1000, 1000)]),
    )
    def start(self, log_size: int, page: int, small_rooms: bool, rate: tuple[int, int]) -> None:
        self.clock = FakeClock()
        self.options = Settings(
            stats_interval=0,
            log_level="error",
            log_size=log_size,
            snapshot_page=page,
            room_coalesced=2 if small_rooms else 500,
            room_counts=3 if small_rooms else 5000,
            request_rate=rate[0],
            request_burst=rate[1],
            heartbeat_interval=3600,
            pong_timeout=3600,
        )
        self.session = Session()
        self.shown: dict[str, UserPresence] = {}
        """State that a program shows by following the changes."""
        self.stream = ChangeStream(frozenset(USERS), self.session.user, lambda: self.session.watches_everyone)
        self.connection: FakeConnection | None = None
        self.up: deque[dict[str, Any]] = deque()
        self.read = 0
        self.choice: tuple[str, str] | None = None
        self.begin_node()
        self.connect()

    def begin_node(self) -> None:
        self.node = make_node(self.options, self.clock)
        self.node.start()
        self.service = PresenceService(self.node)
        self.others = {user: self.open(f"userId={user}&watch=none") for user in ("bob", "7")}

    def open(self, query: str) -> FakeConnection:
        connection = FakeConnection(self.node.closed, self.clock)
        self.node.opened(connection, request(query, "presenced.v1"))
        self.clock.run_soon()
        return connection

    def now(self) -> float:
        return self.clock.monotonic()

    # The way between the session and the node.

    def connect(self) -> None:
        url = connection_url("", {"userId": "ada", "device": "web"}, self.session.parameters(self.now()))
        self.connection, self.read = self.open(url.removeprefix("?")), 0

    def lose(self) -> None:
        if self.connection is not None and self.connection.closed_with is None:
            self.node.closed(self.connection, Ending.LOST, "lost")
            self.clock.run_soon()
        self.connection = None
        self.up.clear()
        self.session.lost(self.now())

    def note(self, changes: list[Change]) -> None:
        for change in changes:
            assert change.previous != change.current, "no change without a difference"
        self.stream.add(changes)
        while (news := self.stream.take()) is not None:
            assert not news.current.shows_the_same(news.previous)
            self.shown[news.user] = news.current

    def flush(self) -> None:
        sent = self.session.outgoing(self.now())
        self.up.extend(sent)
        assert len(self.session.requested.users) <= MAX_USERS

    def deliver(self, count: int) -> None:
        """Deliver that many requests and messages."""
        for _ in range(count):
            if self.connection is None:
                return
            if self.up:
                self.node.received(self.connection, json.encode(self.up.popleft()).decode())
                self.clock.run_soon()
            if self.connection.closed_with is not None:  # requests that were late arrived too close together
                self.lose()
                self.connect()
                return
            if self.read < len(self.connection.messages):
                message = self.connection.messages[self.read]
                self.read += 1
                assert message["type"] != "ERROR" or message["name"] == "RATE_LIMITED", f"nothing is refused: {message}"
                self.note(self.session.received(message, self.now()))
                self.session.limits.max_users = MAX_USERS
                self.flush()

    # Events.

    @rule(count=st.integers(1, 12))
    def some_arrives(self, count: int) -> None:
        self.deliver(count)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 20.0, 130.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.now() + seconds
        while (due := self.session.next_at(self.now())) is not None and due < end:
            self.clock.advance(max(1e-6, due - self.now()))  # a smaller step may be lost in rounding
            self.note(self.session.tick(self.now()))
            self.flush()
        self.clock.advance(max(0.0, end - self.now()))

    @rule(reconnects=st.booleans())
    def connection_is_lost(self, reconnects: bool) -> None:
        self.lose()
        if reconnects:
            self.connect()

    @rule()
    def node_restarts(self) -> None:
        self.lose()
        self.node.stop()
        self.begin_node()

    @rule(user=st.sampled_from(USERS), reads=st.booleans(), linger=st.sampled_from([0.0, 3.0]))
    def wish_for_user(self, user: str, reads: bool, linger: float) -> None:
        readers = self.session.desired.users
        if reads:
            readers.acquire(user)
        elif user in readers.active:
            readers.release(user, self.now() + linger)
        self.session.changed()
        self.flush()

    @rule(reads=st.booleans())
    def wish_for_everyone(self, reads: bool) -> None:
        self.session.desired.everyone.active = {None: 1} if reads else {}
        self.session.changed()
        self.flush()

    @rule(key=st.sampled_from([EVERYONE, *ROOMS]), reads=st.booleans())
    def wish_for_count(self, key: str, reads: bool) -> None:
        self.session.desired.counts.active.pop(key, None)
        if reads:
            self.session.desired.counts.acquire(key)
        self.session.changed()
        self.flush()

    @rule(
        room=st.sampled_from(ROOMS), kind=st.sampled_from(["join", "watch", "leave"]), data=st.sampled_from([None, 1])
    )
    def wish_for_room(self, room: str, kind: str, data: object) -> None:
        rooms = self.session.desired.rooms
        if kind == "leave":
            rooms.pop(room, None)
        else:
            rooms[room] = DesiredRoom(int(kind == "watch"), int(kind == "join"), data if kind == "join" else None)
        self.session.changed()
        self.flush()

    @rule(idle=st.booleans())
    def be_idle(self, idle: bool) -> None:
        self.session.desired.is_idle = idle
        self.session.changed()
        self.flush()

    @rule(status=st.sampled_from(["auto", "busy", "invisible"]), text=st.sampled_from(["", "x"]))
    def choose(self, status: Any, text: str) -> None:
        self.choice = (status, text)
        self.session.set_status(Choice(status, text))
        self.flush()

    @rule(user=st.sampled_from(["carl", "7"]), online=st.booleans())
    def announce(self, user: str, online: bool) -> None:
        self.service.announce(user, online)
        self.clock.run_soon()

    @rule(user=st.sampled_from(["bob", "7"]), room=st.sampled_from(ROOMS), joins=st.booleans())
    def another_moves(self, user: str, room: str, joins: bool) -> None:
        self.another_sends(user, {"type": "JOIN" if joins else "LEAVE", "room": room})

    @rule(user=st.sampled_from(["bob", "7"]), text=st.sampled_from(["", "y"]))
    def another_chooses(self, user: str, text: str) -> None:
        self.another_sends(user, {"type": "SET_STATUS", "status": "away", "text": text})

    def another_sends(self, user: str, message: dict[str, str]) -> None:
        if self.others[user].closed_with is not None:  # it sent too fast
            self.others[user] = self.open(f"userId={user}&watch=none")
        self.node.received(self.others[user], json.encode(message).decode())
        self.clock.run_soon()

    # Invariants.

    @rule()
    def all_is_quiet(self) -> None:
        """Deliver everything, let the server settle, and compare."""
        if self.connection is None:
            self.connect()
        for _ in range(60):
            self.deliver(200)
            self.time_passes(1.0)
        self.deliver(200)
        self.flush()
        self.deliver(200)
        session = self.session
        assert not session.unanswered
        assert not session.is_stale
        truth = self.reference()
        everyone = None in session.desired.everyone.active
        for user in USERS if everyone else session.requested.users:
            known, expected = session.user(user), UserPresence.from_record(truth.seen(user))
            assert known.shows_the_same(expected), f"{known} is not {expected}"
        self.check_rooms(truth)
        online = [user for user in USERS if truth.seen(user)["status"] != "offline"]
        for key in session.desired.counts.active:
            assert session.counts[key] == (truth.sizes[key] if key else len(online))
        if self.choice is not None:
            assert session.own is not None
            assert (session.own.chosen, session.own.own_text) == self.choice
        for user, shown in self.shown.items():
            if session.user(user).status != "unknown":
                assert shown.shows_the_same(session.user(user)), "a program that follows the changes shows the same"

    def reference(self) -> V1Replica:
        """Return what the reference model knows, in a new session that watches everything."""
        client = FakeV1Client(self.node.closed, self.clock)
        self.node.opened(client, request("userId=probe&watch=none", "presenced.v1"))
        self.node.received(client, json.encode({"type": "WATCH", "users": USERS, "rooms": ROOMS}).decode())
        self.clock.run_soon()
        client.apply_new()
        self.node.closed(client, Ending.CLOSED, "done")
        self.clock.run_soon()
        return client

    def check_rooms(self, truth: V1Replica) -> None:
        for name, wanted in self.session.desired.rooms.items():
            room = self.session.room(name)
            assert room.known
            assert (room.count, room.mode) == (truth.sizes[name], truth.modes[name])
            assert self.session.is_joined(name) is bool(wanted.joiners)
            if room.mode != "counts":
                assert {key: member.data for key, member in room.members.items()} == truth.rooms[name]
                if wanted.joiners and "ada" in room.members:
                    assert room.members["ada"].data == wanted.data

    @invariant()
    def nobody_is_watched_without_a_reader(self) -> None:
        if self.session.is_caught_up and not self.session.unanswered:
            assert self.session.requested.users <= set(self.session.desired.users.first(MAX_USERS))


TestSessionOnANode: Any = SessionOnANode.TestCase

TestSessionOnANode.settings = settings(max_examples=examples(150), stateful_step_count=40)
