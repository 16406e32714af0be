"""Rooms in a session of `presenced_client`: counts, members whom only the room shows, restarts."""

from __future__ import annotations

from typing import Any

from tests.support.python_session import accept, changes, established, record, session_that_watches, snapshot

from presenced_client.desired_state import DesiredRoom
from presenced_client.session import Session


def test_a_room_that_leaves_mode_counts_is_unknown_until_it_was_requested_again() -> None:
    session = session_that_watches()
    session.desired.rooms["hall"] = DesiredRoom(watchers=1)
    session.changed()
    accept(session)
    page = {"type": "ROOM_SNAPSHOT", "room": "hall", "page": 1, "pages": 1}
    session.received({**page, "mode": "counts", "count": 5000, "members": []}, 0)
    assert (session.room("hall").known, session.room("hall").count) == (True, 5000)
    session.received({"type": "ROOM_CHANGES", "room": "hall", "mode": "coalesced", "count": 1}, 0)
    assert not session.room("hall").known
    [request] = session.outgoing(0)
    assert (request["type"], request["rooms"]) == ("WATCH", ["hall"])
    member = {"userId": "ada", "joinedAt": 1, "presence": record("ada", 1)}
    session.received({**page, "mode": "coalesced", "count": 1, "members": [member]}, 0)
    assert list(session.room("hall").members) == ["ada"]
    assert session.user("ada").online


def room_snapshot(*keys: str) -> dict[str, Any]:
    members = [{"userId": key, "joinedAt": 1, "presence": record(key, 1)} for key in keys]
    page = {"type": "ROOM_SNAPSHOT", "room": "hall", "page": 1, "pages": 1, "mode": "full"}
    return {**page, "count": len(keys), "members": members}


NEVER_SEEN = {"userId": "bob", "status": "offline", "since": 0, "version": 900}
"""Answer about a user by id that this client may not see."""


def session_in_hall(*users: str) -> Session:
    """Return a session that watches the room `hall`, and these users by id."""
    session = session_that_watches(*users)
    session.desired.rooms["hall"] = DesiredRoom(watchers=1)
    session.changed()
    accept(session)
    return session


def room_changes(**fields: Any) -> dict[str, Any]:
    return {"type": "ROOM_CHANGES", "room": "hall", "mode": "full", **fields}


def test_a_member_who_may_not_be_watched_by_id_is_shown_as_in_the_room() -> None:
    session = session_in_hall()
    session.received(room_snapshot("bob"), 0)
    session.received(changes(), 0)
    session.desired.users.acquire("bob")
    session.changed()
    accept(session)
    assert session.received(snapshot(NEVER_SEEN), 0) == []
    assert session.user("bob").online
    assert session.is_caught_up
    session.received(changes(record("bob", 2, "busy")), 0)
    [left] = session.received(room_changes(count=0, left=["bob"]), 0)
    assert (left.previous.status, left.current.status) == ("busy", "offline"), "never seen by id"


def test_a_member_is_shown_as_in_the_room_if_the_answer_about_the_id_came_first() -> None:
    session = session_in_hall("bob")
    session.received(snapshot(NEVER_SEEN), 0)
    session.received(room_snapshot("bob"), 0)
    session.received(changes(), 0)
    assert session.user("bob").online, "although the version of the answer is higher"
    session.received(room_snapshot(), 0)
    assert session.user("bob").status == "offline"


def test_a_hidden_member_of_a_room_that_is_no_longer_watched_is_offline() -> None:
    session = session_in_hall("bob")
    session.received(snapshot(NEVER_SEEN), 0)
    session.received(room_snapshot("bob"), 0)
    session.received(changes(), 0)
    del session.desired.rooms["hall"]
    session.changed()
    accept(session)
    assert session.user("bob").status == "offline"


def test_a_member_whom_the_server_also_sends_by_id_stays_as_known_after_leaving() -> None:
    """The first connection and the JOIN of a new user are in one write: the room first, then the user by id."""
    session = session_in_hall("bob")
    session.received(snapshot(NEVER_SEEN | {"version": 0}), 0)
    session.received(room_snapshot(), 0)
    session.received(changes(), 0)
    session.received(room_changes(count=1, members=room_snapshot("bob")["members"]), 0)
    session.received(changes(record("bob", 1)), 0)
    assert session.received(room_changes(count=0, left=["bob"]), 0) == []
    assert session.user("bob").online


def test_a_member_who_returns_after_a_restart_but_not_to_the_room_stays_online() -> None:
    session = session_in_hall("bob")
    session.received(snapshot(record("bob", 7)), 0)
    session.received(room_snapshot("bob"), 0)
    session.received(changes(), 0)
    session.lost(1)
    session.received(established("two", settling=15), 2)
    accept(session, 2)
    session.received(snapshot(NEVER_SEEN | {"version": 0}), 2)
    session.received(room_snapshot(), 2)
    session.received(changes(record("bob", 1)), 3)
    session.tick(17)
    assert list(session.room("hall").members) == []
    assert session.user("bob").online


def test_after_a_resync_a_hidden_member_stays_as_in_the_room() -> None:
    session = session_in_hall("bob")
    for at in (0, 2):
        session.received(snapshot(NEVER_SEEN), at)
        session.received(room_snapshot("bob"), at)
        session.received(changes(), at)
        assert session.user("bob").online
        assert session.is_caught_up
        session.lost(at + 1)
        session.received(established("two"), at + 2)
        accept(session, at + 2)
    session.received(snapshot(NEVER_SEEN), 4)
    session.received(room_snapshot(), 4)
    session.received(changes(), 4)
    assert session.user("bob").status == "offline"


def test_members_who_have_not_returned_to_a_restarted_server_stay_until_it_has_settled() -> None:
    session = session_that_watches()
    session.desired.rooms["hall"] = DesiredRoom(watchers=1)
    session.changed()
    accept(session)
    session.received(room_snapshot("ada", "bob", "carl"), 0)
    session.received(changes(), 0)
    session.lost(1)
    session.received(established("two", settling=15), 2)
    accept(session, 2)
    session.received(room_snapshot("dora"), 2)
    session.received(changes(), 2)
    room = session.room("hall")
    assert (room.count, sorted(room.members)) == (4, ["ada", "bob", "carl", "dora"])
    news = {"type": "ROOM_CHANGES", "room": "hall", "mode": "full"}
    session.received({**news, "count": 2, "members": room_snapshot("ada")["members"]}, 3)
    session.received({**news, "count": 1, "left": ["dora"]}, 4)
    assert (session.room("hall").count, sorted(session.room("hall").members)) == (3, ["ada", "bob", "carl"])
    assert session.is_stale
    session.tick(17)
    assert (session.room("hall").count, sorted(session.room("hall").members)) == (1, ["ada"])
    assert session.user("bob").status == "unknown"
    assert not session.is_stale


def in_restarted_hall(*, settling: float = 15, loss: float = 1) -> Session:
    """Return a session that knew ada and bob in the hall, and whose server has restarted without them."""
    session = session_that_watches("ada")
    session.desired.rooms["hall"] = DesiredRoom(watchers=1)
    session.changed()
    accept(session)
    session.received(snapshot(record("ada", 1)), 0)
    session.received(room_snapshot("ada", "bob"), 0)
    session.received(changes(), 0)
    session.lost(loss)
    session.received(established("two", settling=settling), 2)
    accept(session, 2)
    session.received(snapshot({"userId": "ada", "status": "offline", "since": 0, "version": 1}), 2)
    session.received(room_snapshot(), 2)
    session.received(changes(), 2)
    return session


def test_members_stay_if_a_restarted_server_sends_the_room_again() -> None:
    session = in_restarted_hall()
    session.received(room_snapshot("carl"), 3)
    assert sorted(session.room("hall").members) == ["ada", "bob", "carl"]
    session.lost(4)
    session.received(established("two", settling=10), 5)
    session.received(room_snapshot("bob"), 5)
    assert (session.room("hall").count, sorted(session.room("hall").members)) == (3, ["ada", "bob", "carl"])
    session.lost(6)
    session.received(established("two"), 20)
    session.received(room_snapshot("bob"), 20)
    assert (session.room("hall").count, sorted(session.room("hall").members)) == (1, ["bob"])


def test_who_returned_while_the_connection_was_lost_never_goes_offline() -> None:
    for returns_at in (10, 30):  # before and after the server has settled
        session = in_restarted_hall()
        session.lost(5)
        assert session.tick(returns_at) == []
        assert session.received(established("two", resumed=True, settling=max(0, 17 - returns_at)), returns_at) == []
        assert accept(session, returns_at) == []
        news = {"type": "ROOM_CHANGES", "room": "hall", "mode": "full", "count": 1}
        session.received({**news, "members": room_snapshot("bob")["members"]}, returns_at)
        seen = session.received(changes(record("ada", 2)), returns_at)
        assert [change for change in seen if change.user in ("ada", "bob") and not change.current.online] == []
        assert session.user("ada").online
        assert "bob" in session.room("hall").members
        session.tick(40)
        assert sorted(session.room("hall").members) == ["bob"]
        assert not session.is_stale


def test_a_room_that_has_left_mode_counts_is_known_only_with_its_snapshot() -> None:
    session = session_that_watches()
    session.desired.rooms["hall"] = DesiredRoom(watchers=1)
    session.changed()
    accept(session)
    session.received({**room_snapshot(), "mode": "counts", "count": 900}, 0)
    news = {"type": "ROOM_CHANGES", "room": "hall", "mode": "coalesced"}
    session.received({**news, "count": 700}, 0)
    session.received({**news, "count": 701, "members": room_snapshot("ada")["members"]}, 0)
    assert not session.room("hall").known
    session.received({**room_snapshot("ada", "bob"), "mode": "coalesced"}, 0)
    assert (session.room("hall").known, session.room("hall").count) == (True, 2)


def test_a_newer_token_that_hides_a_user_counts_with_the_known_version() -> None:
    session = session_that_watches("ada")
    session.received(snapshot(record("ada", 5)), 0)
    session.received(snapshot({"userId": "ada", "status": "offline", "since": 0, "version": 5}), 1)
    assert session.user("ada").status == "offline"


def test_a_member_who_is_otherwise_hidden_is_shown_as_in_the_room_and_offline_after_leaving_it() -> None:
    never = {"userId": "bob", "status": "offline", "since": 0, "version": 9}
    for first, second in (
        (snapshot(never), room_snapshot("bob")),
        (room_snapshot("bob"), snapshot(never)),
        (room_snapshot("bob"), snapshot(watch="everyone")),
    ):
        session = session_that_watches("bob", everyone=second.get("watch") == "everyone")
        session.desired.rooms["hall"] = DesiredRoom(watchers=1)
        session.changed()
        accept(session)
        session.received(first, 0)
        session.received(second, 0)
        assert session.user("bob").online
        session.received(changes(record("bob", 10, "busy")), 0)
        assert session.user("bob").status == "busy"
        session.received({"type": "ROOM_CHANGES", "room": "hall", "mode": "full", "count": 0, "left": ["bob"]}, 1)
        assert session.user("bob").status == "offline"


def test_a_member_who_comes_and_joins_at_once_stays_online_after_leaving_the_room() -> None:
    session = session_that_watches("bob")
    session.desired.rooms["hall"] = DesiredRoom(watchers=1)
    session.changed()
    accept(session)
    session.received(snapshot({"userId": "bob", "status": "offline", "since": 0, "version": 0}), 0)
    session.received(room_snapshot(), 0)
    news = {"type": "ROOM_CHANGES", "room": "hall", "mode": "full"}
    session.received({**news, "count": 1, "members": room_snapshot("bob")["members"]}, 1)
    session.received(changes(record("bob", 1)), 1)
    session.received({**news, "count": 0, "left": ["bob"]}, 2)
    assert session.user("bob").online


def test_a_newer_token_ends_a_membership_that_it_does_not_allow() -> None:
    session = session_that_watches()
    session.desired.rooms["hall"] = DesiredRoom(joiners=1)
    session.desired.counts.acquire("hall")
    session.changed()
    accept(session)
    session.received(room_snapshot("ada", "bob"), 0)
    session.received({"type": "PRESENCE_COUNT", "watch": "room", "room": "hall", "online": 2}, 0)
    session.received(changes(), 0)
    error = {"type": "ERROR", "code": 114, "name": "NOT_ALLOWED", "message": "not the hall", "room": "hall"}
    session.received(error, 1)
    assert (session.room("hall").known, session.is_joined("hall"), session.counts) == (False, False, {})
    assert [found.code for found in session.take_errors()] == ["NOT_ALLOWED"]
    assert session.refusal("room", "hall") is not None
    session.received(changes(), 1)
    assert accept(session, 1) == []
    assert not session.is_stale
    session.lost(2)
    session.received(established("two"), 3)
    assert [request["type"] for request in accept(session, 3)] == ["JOIN", "WATCH"]


def test_a_room_that_the_server_ended_while_the_connection_was_lost_is_requested_again() -> None:
    session = session_that_watches()
    session.desired.rooms["hall"] = DesiredRoom(joiners=1)
    session.changed()
    accept(session)
    session.received(room_snapshot("ada"), 0)
    session.received(changes(), 0)
    session.lost(1)
    session.received(established(), 2)
    session.received(changes(), 2)
    [request] = session.outgoing(2)
    assert (request["type"], request["room"]) == ("JOIN", "hall")
    error = {"type": "ERROR", "code": 114, "name": "NOT_ALLOWED", "message": "not the hall", "id": request["id"]}
    session.received(error, 2)
    assert session.outgoing(2) == []
    assert (session.room("hall").known, session.is_joined("hall"), session.is_stale) == (False, False, False)
