"""presenced.v1 over random schedules, against a model that recomputes which users are seen and how.

The model stores only the events of each session, and derives the expected view of others from them.
"""

from __future__ import annotations

import itertools
from math import inf, nextafter
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import json
from tests.support.examples import examples
from tests.support.fake_v1_client import FakeV1Client
from tests.support.fakes import FakeConnection
from tests.support.model_v1 import GRACES, PAUSE, USERS, WINDOW, Claimed, ModelSession, ModelUser
from tests.support.nodes import make_node, request, v1

from presenced.config.settings import Settings
from presenced.errors import Close
from presenced.http.api.explain import sentence
from presenced.node.service import PresenceService
from presenced.presence.model import Choice, Ending, Status, StatusDetails
from presenced.presence.status import Claim
from presenced.testing import FakeClock

ROOMS = ("lobby", "bar")


class WatchingV1(RuleBasedStateMachine):
    @initialize(
        log_size=st.sampled_from([2, 5, 1000]),
        page=st.sampled_from([1, 2, 500]),
        small=st.booleans(),
        causes=st.booleans(),
    )
    def start(self, log_size: int, page: int, small: bool, causes: bool) -> None:
        self.clock = FakeClock()
        options = Settings(
            stats_interval=0,
            log_size=log_size,
            log_age=3600,
            log_level="error",
            snapshot_page=page,
            show_causes=causes,
            resume_window=WINDOW,
            status_pause=PAUSE,
            request_rate=10_000,
            request_burst=100_000,
            room_coalesced=2 if small else 500,
            room_counts=3 if small else 5000,
            behind_timeout=3600,
            heartbeat_interval=3600,
            pong_timeout=3600,
        )
        self.node = make_node(options, self.clock)
        self.application = PresenceService(self.node)
        self.node.start()
        self.users = {user_id: ModelUser() for user_id in USERS}
        self.followed, self.heard = 0, dict[str, str]()
        self.orders = 0
        self.causes = causes
        self.classic = FakeConnection(self.closed, self.clock)
        self.node.opened(self.classic, request("userId=classic"))
        self.clock.run_soon()

    # The model.

    def now(self) -> float:
        return self.clock.monotonic()

    def order(self) -> int:
        self.orders += 1
        return self.orders

    def connected(self, paused: bool | None = None) -> list[tuple[str, ModelSession]]:
        return [
            (user_id, session)
            for user_id, user in self.users.items()
            for session in user.sessions
            if session.connected and (paused is None or session.client.paused is paused)
        ]

    def forget(self) -> None:
        for user in self.users.values():
            user.forget(self.now())

    def pass_time(self) -> None:
        """Apply the waiting requests of the model's users. A user that the server has evicted has no pause any more."""
        for user_id, user in self.users.items():
            user.pass_time(self.now())
            if self.node.directory.users.user(user_id) is None:
                user.pause_ends = -inf

    def truth(self) -> dict[str, str]:
        self.pass_time()
        return {user_id: user.seen(self.now()) for user_id, user in self.users.items()}

    def model_end(self, user_id: str, session: ModelSession, grace: float, window: float) -> None:
        session.order = self.order()
        self.users[user_id].end(session, grace, window, self.now())

    def closed(self, connection: FakeConnection, ending: Ending, reason: str) -> None:
        assert connection.closed_with
        assert connection.closed_with[0] in (Close.REPLACED, Close.DISCONNECTED)
        self.node.closed(connection, ending, reason)

    def send(self, session: ModelSession, type_: str, **fields: object) -> None:
        before = len(session.client.messages)
        session.was_heard, session.client.heard_at = True, self.now()
        self.node.received(session.client, json.encode({"type": type_, "id": 1, **fields}).decode())
        answers = [m for m in session.client.messages[before:] if m["type"] in ("ACK", "ERROR")]
        assert [m["type"] for m in answers] == ["ACK"], answers

    def turn(self, ends: bool) -> None:
        if ends:
            self.clock.run_soon()

    def connect(self, user_id: str, query: str, room: int) -> FakeV1Client:
        client = FakeV1Client(self.closed, self.clock)
        client.full_after, client.on_full = room, lambda: self.node.paused(client)
        self.node.opened(client, request(f"userId={user_id}{query}", "presenced.v1"))
        return client

    # Events.

    @rule(
        user_id=st.sampled_from(USERS),
        everyone=st.booleans(),
        idle=st.booleans(),
        room=st.sampled_from([1, 2, 10**9]),
        ends=st.booleans(),
    )
    def open(self, user_id: str, everyone: bool, idle: bool, room: int, ends: bool) -> None:
        self.forget()
        opened_at = nextafter(self.now(), inf)  # as the server calculates, at the bound
        query = f"{'' if everyone else '&watch=none'}{'&activity=idle' if idle else ''}"
        client = self.connect(user_id, query, room)
        session = ModelSession(client, everyone, opened_at=opened_at, active=not idle, order=self.order())
        if everyone:
            session.strangers = set()
        self.users[user_id].sessions.append(session)
        self.turn(ends)

    @precondition(lambda self: self.connected())
    @rule(data=st.data(), ending=st.sampled_from(list(GRACES)), ends=st.booleans())
    def end(self, data: st.DataObject, ending: Ending, ends: bool) -> None:
        user_id, session = data.draw(st.sampled_from(self.connected()))
        session.client.apply_new()
        grace = session.grace_after(ending, self.now())
        self.model_end(user_id, session, grace, 0 if ending is Ending.CLOSED else WINDOW)
        self.node.closed(session.client, ending, ending)
        self.turn(ends)

    @precondition(lambda self: any(user.sessions for user in self.users.values()))
    @rule(
        data=st.data(),
        old=st.booleans(),
        activity=st.sampled_from(["", "idle", "active"]),
        room=st.sampled_from([1, 10**9]),
        ends=st.booleans(),
    )
    def resume(self, data: st.DataObject, old: bool, activity: str, room: int, ends: bool) -> None:
        """The session may still be connected. Its position may be an earlier one or an unknown one."""
        self.forget()
        sessions = [(u, s) for u, user in self.users.items() for s in user.sessions]
        if not sessions:
            return
        user_id, session = data.draw(st.sampled_from(sessions))
        session.client.apply_new()
        before = session.client
        if not before.session_id:
            return
        position = before.position if not old else "unknown"
        named = f"&session={before.session_id}&position={position}&activity={activity}"
        client = self.connect(user_id, named, room)
        session.connected, session.client, session.order = True, client, self.order()
        session.was_heard = True
        if activity:
            user = self.users[user_id]
            user.pass_time(self.now())
            user.turning.pop(session, None)  # the URL is newer than the request that waits
            session.active = activity == "active"
        client.resume_from(before)
        if before.closed_with is None and not before.paused:
            before.paused = True  # no longer read
        self.turn(ends)

    @precondition(lambda self: self.connected())
    @rule(
        data=st.data(),
        status=st.sampled_from(["auto", "online", "away", "busy", "invisible"]),
        text=st.sampled_from(["", "x"]),
        lasts=st.sampled_from([None, 0.3, 5.0, 20.0]),
        ends=st.booleans(),
    )
    def choose(self, data: st.DataObject, status: str, text: str, lasts: float | None, ends: bool) -> None:
        """Within the pause a request waits. The last one from any device wins."""
        user_id, session = data.draw(st.sampled_from(self.connected()))
        user, now = self.users[user_id], self.now()
        choice, until = (status, text), now + lasts if lasts else None
        if user.must_wait(now):
            user.waiting.append((choice, until))
        else:
            user.pause_ends = now + PAUSE
            user.take(choice, until)
        self.send(session, "SET_STATUS", status=status, text=text, **({"expiresIn": lasts} if lasts else {}))
        self.turn(ends)

    @precondition(lambda self: self.connected())
    @rule(data=st.data(), active=st.booleans(), ends=st.booleans())
    def be_active(self, data: st.DataObject, active: bool, ends: bool) -> None:
        user_id, session = data.draw(st.sampled_from(self.connected()))
        user, now = self.users[user_id], self.now()
        must_wait = user.must_wait(now)
        if session.active is active:
            user.turning.pop(session, None)
        elif must_wait:
            user.turning[session] = active
        else:
            user.pause_ends, session.active = now + PAUSE, active
        self.send(session, "ACTIVITY", state="active" if active else "idle")
        self.turn(ends)

    @precondition(lambda self: self.connected())
    @rule(
        data=st.data(),
        users=st.sets(st.sampled_from(USERS)),
        everyone=st.booleans(),
        on=st.booleans(),
        ends=st.booleans(),
    )
    def watch(self, data: st.DataObject, users: set[str], everyone: bool, on: bool, ends: bool) -> None:
        _, session = data.draw(st.sampled_from(self.connected()))
        self.send(session, "WATCH" if on else "UNWATCH", users=sorted(users), everyone=everyone)
        session.users = session.users | users if on else session.users - users
        session.strangers -= set(USERS) if everyone else users
        session.counting = session.counting and (on or not everyone)
        session.everyone = session.everyone or everyone if on else session.everyone and not everyone
        self.turn(ends)

    @precondition(lambda self: self.connected())
    @rule(
        data=st.data(),
        room=st.sampled_from(ROOMS),
        what=st.sampled_from(["JOIN", "LEAVE", "WATCH"]),
        ends=st.booleans(),
    )
    def move(self, data: st.DataObject, room: str, what: str, ends: bool) -> None:
        _, session = data.draw(st.sampled_from(self.connected()))
        session.strangers = set()
        if what == "WATCH":
            self.send(session, "WATCH", rooms=[room])
            session.watched_rooms.add(room)
        elif what == "JOIN":
            number = data.draw(st.integers(0, 2))
            self.send(session, "JOIN", room=room, data=number)
            session.rooms[room] = (self.order(), number)
            session.watched_rooms.add(room)
        elif room in session.rooms:
            self.send(session, "LEAVE", room=room)
            del session.rooms[room]
            session.watched_rooms.discard(room)
        self.turn(ends)

    @precondition(lambda self: self.connected())
    @rule(data=st.data())
    def count(self, data: st.DataObject) -> None:
        _, session = data.draw(st.sampled_from(self.connected()))
        self.send(session, "WATCH", everyone=True, mode="count")
        session.counting = True
        self.clock.run_soon()

    @precondition(lambda self: self.connected())
    @rule(data=st.data(), room=st.sampled_from([1, 2, 10**9]))
    def read_slowly_or_catch_up(self, data: st.DataObject, room: int) -> None:
        _, session = data.draw(st.sampled_from(self.connected()))
        client = session.client
        if client.paused:
            client.paused, client.full_after = False, room
            session.was_heard = True
            self.node.resumed(client)
        else:
            client.paused = True
            self.node.paused(client)

    @rule(user_id=st.sampled_from(USERS), online=st.booleans(), ends=st.booleans())
    def announce(self, user_id: str, online: bool, ends: bool) -> None:
        user = self.users[user_id]
        user.announced = online
        if not online and not any(session.connected for session in user.sessions):
            user.sessions, user.turning = [], {}
        self.application.announce(user_id, online)
        self.turn(ends)

    @rule(
        user_id=st.sampled_from(USERS),
        source=st.sampled_from(["calendar", "call", "agent"]),
        status=st.sampled_from(["online", "away", "busy"]),
        text=st.sampled_from(["", "y"]),
        priority=st.sampled_from([-5, 0, 7]),
        lasts=st.sampled_from([None, 5.0, 20.0]),
        ends=st.booleans(),
    )
    def claim(
        self, user_id: str, source: str, status: str, text: str, priority: int, lasts: float | None, ends: bool
    ) -> None:
        claims = self.users[user_id].claims
        claims.pop(source, None)
        claims[source] = Claimed(priority, status, text, self.now() + lasts if lasts else inf)
        claim = Claim(source, Status(status), StatusDetails(text), priority)
        self.application.set_claim(user_id, claim, lasts)
        self.turn(ends)

    @rule(user_id=st.sampled_from(USERS), source=st.sampled_from(["calendar", "call", "agent"]), ends=st.booleans())
    def claim_no_longer(self, user_id: str, source: str, ends: bool) -> None:
        claim = self.users[user_id].claims.pop(source, None)
        assert self.application.clear_claim(user_id, source) is bool(claim and claim.ends > self.now())
        self.turn(ends)

    @rule(
        user_id=st.sampled_from(USERS),
        status=st.sampled_from([None, "away", "busy", "invisible"]),
        lasts=st.sampled_from([None, 5.0]),
        ends=st.booleans(),
    )
    def have_chosen(self, user_id: str, status: str | None, lasts: float | None, ends: bool) -> None:
        """A backend chooses for a user, who may be absent."""
        (user := self.users[user_id]).pass_time(self.now())
        user.take_choices()  # earlier accepted choices return after a temporary one
        user.take((status or "auto", ""), self.now() + lasts if lasts else None)
        self.application.set_status(user_id, Choice(Status(status)) if status else None, lasts)
        self.turn(ends)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.1, 3.0, 5.0, 15.0, 41.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.pass_time()
        self.forget()

    # Invariants.

    @invariant()
    def watchers_have_the_status_that_they_may_see(self) -> None:
        truth = self.truth()
        assert {user_id: str(self.node.directory.users.status(user_id)) for user_id in USERS} == truth
        if self.clock.waiting:
            return
        for user_id, session in self.connected(paused=False):
            client = session.client
            client.apply_new()
            watched = set(USERS) if session.everyone else session.users
            for other in watched:
                seen = client.seen(other)
                assert seen["status"] == truth[other], f"{client.connection_id} sees {other} as {seen}"
                assert seen.get("text", "") == self.users[other].seen_text(self.now())
            own, user = client.own, self.users[user_id]
            assert own["status"] == user.true_status(self.now()), "the truth for oneself"
            assert (own["chosen"], own.get("text", "")) == (user.choice(self.now())[0], user.decided(self.now())[1])
            assert not session.strangers & client.records.keys(), "only those who watch are told"
            if session.counting and v1(self.node)._send_digest not in self.node.timer:
                online = 1 + sum(status != "offline" for status in truth.values())  # and the classic one
                assert client.counts["everyone", ""] == online

    @invariant()
    def a_follower_of_the_changes_receives_each(self) -> None:
        while changes := self.application.changes_since(self.followed, 3):
            for change in changes:
                assert change.position > self.followed
                assert change.was == self.heard.get(change.user_id, "offline")
                self.heard[change.user_id], self.followed = change.status.value, change.position
        truth = self.truth()
        assert {user_id: self.heard.get(user_id, "offline") for user_id in USERS} == truth
        for user_id in USERS:
            explained = self.application.explain(user_id, USERS[0])
            assert (explained.shown.status if explained.shown else "offline") == truth[user_id]
            assert explained.true.status == self.users[user_id].true_status(self.now())
            assert f"{user_id} is " in sentence(explained)

    @invariant()
    def classic_clients_receive_who_goes_online_and_offline(self) -> None:
        if self.clock.waiting:
            return
        online = {str(user_id): type_ == "USER_ONLINE" for type_, user_id in self.classic.about_others()}
        assert {user_id for user_id, status in self.truth().items() if status != "offline"} == {
            user_id for user_id, is_online in online.items() if is_online
        }
        assert all(before != after for before, after in itertools.pairwise(self.received_changes())), "each a change"

    def received_changes(self) -> list[tuple[str, int | str]]:
        """Return the messages that the classic client received, by user."""
        return sorted(self.classic.about_others(), key=lambda told: str(told[1]))

    @invariant()
    def watchers_receive_the_causes_they_may_see(self) -> None:
        for _, session in self.connected():
            for message in session.client.messages[session.client.read :]:
                for record in message.get("users", ()):
                    assert ("cause" in record) is (self.causes and record["since"] > 0)

    @invariant()
    def watchers_of_rooms_receive_their_changes(self) -> None:
        if self.clock.waiting:
            return
        inside = {user_id: user.in_rooms(self.now()) for user_id, user in self.users.items()}
        for _, session in self.connected(paused=False):
            for room in session.watched_rooms:
                mode = session.client.modes.get(room)
                if mode != "full" or v1(self.node).feed.digests.is_digested(room):
                    continue  # sent later
                members = {user_id: rooms[room] for user_id, rooms in inside.items() if room in rooms}
                assert session.client.rooms[room] == members
                for user_id in members:
                    assert session.client.seen(user_id)["status"] == self.truth()[user_id]


TestWatchingV1: Any = WatchingV1.TestCase

TestWatchingV1.settings = settings(max_examples=examples(400), stateful_step_count=50)
