"""Rules of a session of `presenced_client` that conversations with the node rarely reach."""

from __future__ import annotations

from itertools import count
from typing import Any

from presenced_client.changes import ChangeStream
from presenced_client.desired_state import DesiredRoom
from presenced_client.self import Choice
from presenced_client.session import Session

LIMITS = {
    "maxMessageSize": 65_536,
    "maxWatchedUsers": 1000,
    "maxRooms": 100,
    "requestsPerSecond": 10,
    "requestBurst": 50,
}

LONG_AFTER_S = 130.0
"""Longer than the `resumeWindow` of `established`, so that everything known is forgotten."""


def established(session_id: str = "one", **fields: Any) -> dict[str, Any]:
    message = {"type": "CONNECTION_ESTABLISHED", "sessionId": session_id, "resumed": False, "epoch": "e"}
    message |= {"serverTime": 0, "resumeWindow": 120, "settling": 0, "limits": LIMITS}
    return message | fields


def record(user: str, version: int, status: str = "online", **fields: Any) -> dict[str, Any]:
    return {"userId": user, "status": status, "since": 1, "version": version, **fields}


def changes(*users: dict[str, Any], position: str = "p") -> dict[str, Any]:
    return {"type": "PRESENCE_CHANGES", "position": position, "users": list(users)}


def snapshot(*users: dict[str, Any], watch: str = "users", page: int = 1, pages: int = 1) -> dict[str, Any]:
    return {"type": "PRESENCE_SNAPSHOT", "watch": watch, "page": page, "pages": pages, "users": list(users)}


def session_that_watches(*users: str, everyone: bool = False, now: float = 0.0, **limits: int) -> Session:
    """Return a session whose requests are accepted."""
    session = Session()
    for user in users:
        session.desired.users.acquire(user)
    if everyone:
        session.desired.everyone.acquire(None)
    session.received(established(limits=LIMITS | limits), now)
    session.received({"type": "SELF", "status": "online", "chosen": "auto"}, now)
    accept(session, now)
    return session


def accept(session: Session, now: float = 0.0) -> list[dict[str, Any]]:
    requests = session.outgoing(now)
    for request in requests:
        session.received({"type": "ACK", "id": request["id"]}, now)
    return requests


def test_a_record_counts_only_if_its_version_is_above_the_known_one() -> None:
    session = session_that_watches("ada")
    session.received(snapshot(record("ada", 5, "busy")), 0)
    for version in (4, 5):
        assert session.received(changes(record("ada", version, "away")), 0) == []
    assert session.user("ada").status == "busy"
    [change] = session.received(changes(record("ada", 6, "away")), 0)
    assert (change.previous.status, change.current.status) == ("busy", "away")


def test_a_full_resync_resets_the_known_versions() -> None:
    session = session_that_watches("ada")
    session.received(snapshot(record("ada", 50, "busy")), 0)
    session.lost(1)
    session.received(established("another", epoch="f"), 2)
    accept(session, 2)
    session.received(snapshot(record("ada", 1, "away")), 2)
    assert session.user("ada").status == "away"


def test_pages_become_visible_with_the_last_one_and_changes_between_them_count() -> None:
    session = session_that_watches(everyone=True)
    assert session.received(snapshot(record("ada", 1), watch="everyone", page=1, pages=2), 0) == []
    assert session.user("ada").status == "unknown"
    session.received(changes(record("bob", 7)), 0)
    session.received(snapshot(record("carl", 1), watch="everyone", page=2, pages=2), 0)
    assert {key for key, user in session.roster.users.items() if user.online} == {"ada", "bob", "carl"}
    assert session.user("dora").status == "offline"


def test_an_incomplete_snapshot_of_a_lost_connection_does_not_count() -> None:
    session = session_that_watches(everyone=True)
    session.received(snapshot(record("ada", 1), watch="everyone", page=1, pages=2), 0)
    session.lost(1)
    session.received(established(), 2)
    session.received(snapshot(record("bob", 1), watch="everyone"), 2)
    assert session.user("ada").status == "offline"


def test_while_the_server_settles_a_user_whom_it_does_not_know_yet_stays() -> None:
    session = session_that_watches("ada", "bob", everyone=True)
    session.received(snapshot(record("ada", 9), record("bob", 9), record("carl", 9), watch="everyone"), 0)
    session.lost(1)
    session.received(established("two", settling=15), 2)
    accept(session, 2)
    session.received(snapshot(record("bob", 1), watch="everyone"), 2)
    unknown = {"userId": "ada", "status": "offline", "since": 0, "version": 1}
    session.received(snapshot(unknown, record("bob", 1)), 2)
    session.received(changes(), 2)
    assert session.user("ada").online
    assert session.user("carl").online
    assert session.is_stale
    assert session.next_at(2) == 17
    gone = {change.user: change.current.status for change in session.tick(17)}
    assert gone == {"ada": "offline", "carl": "offline"}
    assert not session.is_stale


def test_a_user_who_is_no_longer_watched_is_unknown_at_once_and_late_changes_are_ignored() -> None:
    session = session_that_watches("ada")
    session.received(snapshot(record("ada", 1)), 0)
    session.desired.users.release("ada", 0)
    session.tick(0)
    [request] = session.outgoing(0)
    assert (request["type"], request["users"]) == ("UNWATCH", ["ada"])
    session.received(changes(record("ada", 2, "busy")), 0)
    assert session.user("ada").status == "unknown"


def test_a_user_who_is_read_again_while_lingering_stays_watched() -> None:
    session = session_that_watches("ada")
    session.desired.users.release("ada", 30)
    session.desired.users.acquire("ada")
    session.tick(31)
    assert session.outgoing(31) == []


def test_at_the_limit_those_who_have_lingered_longest_make_room() -> None:
    session = session_that_watches("a", "b", "c", maxWatchedUsers=3)
    for user, until in (("b", 30), ("a", 31)):
        session.desired.users.release(user, until)
    session.desired.users.acquire("d")
    session.changed()
    assert [(request["type"], request["users"]) for request in accept(session)] == [
        ("UNWATCH", ["b"]),
        ("WATCH", ["d"]),
    ]
    assert session.excess_users() == set()
    for user in ("e", "f"):
        session.desired.users.acquire(user)
    assert session.excess_users() == {"f"}, "c, d and e were first"


def test_a_long_list_is_split_below_the_bound_of_a_message() -> None:
    users = [f"{number}" * 40 for number in range(100, 200)]
    session = session_that_watches(*users, maxMessageSize=2000)
    assert session.requested.users == set(users)
    session.lost(1)
    session.received(established("two", limits=LIMITS | {"maxMessageSize": 2000}), 2)
    requests = session.outgoing(2)
    assert all(len(str(request)) < 2000 for request in requests)
    assert {user for request in requests for user in request["users"]} == set(users)


def test_requests_are_sent_in_the_order_that_the_protocol_demands() -> None:
    session = session_that_watches("ada")
    session.desired.rooms["old"] = DesiredRoom(joiners=1)
    session.desired.rooms["same"] = DesiredRoom(joiners=1, data=1)
    session.changed()
    accept(session)
    del session.desired.rooms["old"]
    session.desired.rooms["same"].data = 2
    session.desired.rooms["new"] = DesiredRoom(joiners=1)
    session.desired.users.release("ada", 0)
    session.desired.users.acquire("bob")
    session.tick(0)
    session.changed()
    assert [request["type"] for request in session.outgoing(0)] == ["UNWATCH", "LEAVE", "SET_MEMBER", "JOIN", "WATCH"]


def test_the_rate_of_requests_accumulates_what_is_wanted() -> None:
    session = session_that_watches(requestsPerSecond=2, requestBurst=5)
    numbers = count()
    for _ in range(20):
        session.desired.rooms[f"room{next(numbers)}"] = DesiredRoom(joiners=1)
    session.changed()
    sent = {0.0: len(session.outgoing(0.0))}
    at = session.next_at(0.0)
    assert at is not None
    assert len(session.outgoing(at)) == 1
    assert sent[0.0] == 4, "four fifths of the burst"
    for room in range(20):
        session.desired.rooms.pop(f"room{room}")
    session.changed()
    later = session.outgoing(60)
    assert {request["type"] for request in later} == {"LEAVE"}, "rooms that are no longer wanted are not joined"


def test_a_status_is_sent_again_after_a_loss_unless_self_shows_it() -> None:
    for text, again in (("x", False), ("", True)):
        session = session_that_watches()
        answer = session.set_status(Choice("busy", "x"))
        [request] = session.outgoing(0)
        assert request["type"] == "SET_STATUS"
        session.lost(1)
        session.received(established(resumed=True), 2)
        assert session.outgoing(2) == [], "SELF decides"
        session.received({"type": "SELF", "status": "busy", "chosen": "busy", "text": text}, 2)
        assert bool(session.outgoing(2)) is again
        assert answer.done is not again


def test_an_accepted_choice_that_the_server_has_not_shown_is_sent_again_to_one_that_has_started_anew() -> None:
    for shown, epoch, again in (("auto", "f", True), ("auto", "e", False), ("away", "f", False), ("busy", "f", False)):
        session = session_that_watches()
        session.set_status(Choice("busy", "x", data=4, ends_at=60.0))
        accept(session)
        if shown != "auto":
            session.received({"type": "SELF", "status": "online", "chosen": shown, "text": "x", "until": 9}, 0)
        session.lost(1)
        parameters = session.parameters(1)
        expected = ("busy", "60000") if shown == "auto" else (shown, "9")
        assert (parameters["status"], parameters["until"]) == expected
        session.received(established("two", epoch=epoch), 2)
        session.received({"type": "SELF", "status": "busy", "chosen": "busy", "text": "x", "until": 60_000}, 2)
        requests = [request for request in session.outgoing(2) if request["type"] == "SET_STATUS"]
        assert [(request["data"], request["expiresIn"]) for request in requests] == ([(4, 58.0)] if again else [])


def test_a_status_that_waits_is_in_the_url_and_the_whole_choice_follows() -> None:
    session = Session()
    session.server_offset_ms = 1_700_000_000_000.0
    answer = session.set_status(Choice("invisible", text="at home"))
    assert session.parameters(0) == {"watch": "none", "status": "invisible"}
    session.received(established(serverTime=1_700_000_000_000), 0)
    [request] = session.outgoing(0)
    assert (request["type"], request["status"], request["text"]) == ("SET_STATUS", "invisible", "at home")
    session.received({"type": "SELF", "status": "invisible", "chosen": "invisible", "text": "at home"}, 0)
    session.received({"type": "ACK", "id": request["id"]}, 0)
    assert answer.done
    session.lost(1)
    assert session.parameters(1)["text"] == "at home", "the server has it: the URL repeats what SELF says"
    session.set_status(Choice("busy", ends_at=61.5))
    waiting = session.parameters(2)
    assert (waiting["status"], waiting["until"]) == ("busy", "1700000061500")
    assert "text" not in waiting
    session.set_status(Choice("auto"))
    assert "status" not in session.parameters(3)


def test_a_choice_that_the_server_would_refuse_is_not_in_the_url() -> None:
    for choice in (Choice("asleep"), Choice("busy", ends_at=-1.0), Choice("busy", ends_at=float("inf"))):  # type: ignore[arg-type]
        session = Session()
        session.set_status(choice)
        assert session.parameters(0) == {"watch": "none"}


def test_a_choice_that_ends_before_it_can_be_sent_is_dropped() -> None:
    session = session_that_watches()
    session.lost(1)
    answer = session.set_status(Choice("busy", ends_at=5.0))
    session.received(established(), 9)
    session.received({"type": "SELF", "status": "online", "chosen": "auto"}, 9)
    assert session.outgoing(9) == []
    assert answer.done


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


def test_a_session_is_up_to_date_once_all_who_were_online_are_back() -> None:
    session = session_that_watches("ada", "bob")
    session.received(snapshot(record("ada", 9), record("bob", 9, "offline")), 0)
    session.received(changes(), 0)
    session.lost(1)
    session.received(established("two", settling=15), 2)
    accept(session, 2)
    absent = [{"userId": key, "status": "offline", "since": 0, "version": 1} for key in ("ada", "bob")]
    session.received(snapshot(*absent), 2)
    session.received(changes(), 2)
    assert session.is_stale
    session.received(changes(record("ada", 2)), 3)
    assert not session.is_stale
    assert session.next_at(3) is None


def test_unknown_messages_and_fields_are_ignored() -> None:
    session = session_that_watches("ada")
    assert session.received({"type": "LATER", "users": [record("ada", 1)]}, 0) == []
    session.received(snapshot(record("ada", 1, later=True)), 0)
    assert session.user("ada").online


def test_nothing_is_forgotten_while_a_connection_opens_that_would_resume() -> None:
    session = session_that_watches("ada")
    session.received(snapshot(record("ada", 1)), 0)
    session.received(changes(position="p1"), 0)
    session.lost(1)
    assert session.next_at(1) == 121
    assert session.parameters(1)["position"] == "p1"
    session.tick(130)
    assert session.user("ada").online
    session.lost(131)
    session.tick(131)
    assert session.user("ada").status == "unknown"
    assert "position" not in session.parameters(0)


STALE = {"type": "CERTAINTY", "certainty": "stale", "since": 5}
LIVE = {"type": "CERTAINTY", "certainty": "live"}


def test_a_server_without_its_store_makes_the_connection_stale_until_it_is_certain_again() -> None:
    session = session_that_watches("ada")
    session.received(snapshot(record("ada", 5)), 0)
    session.received(changes(), 0)
    assert not session.is_stale
    assert session.received(STALE, 1) == [], "users stay as they were"
    assert (session.is_stale, session.is_caught_up, session.user("ada").certain) == (True, True, True)
    [change] = session.received(changes(record("ada", 6, "offline", certainty="stale")), 1)
    assert not change.current.certain
    [change] = session.received(LIVE, 2)
    assert (change.current.status, change.current.version, change.current.certain) == ("offline", 6, True)
    assert not session.is_stale


def test_each_connection_begins_with_the_certainty_of_its_first_message() -> None:
    session = session_that_watches("ada")
    session.received(snapshot(record("ada", 5)), 0)
    session.received(changes(record("ada", 6, "offline", certainty="stale")), 0)
    session.lost(1)
    session.received(established(resumed=True, staleSince=5), 2)
    session.received(changes(), 2)
    assert (session.is_stale, session.user("ada").certain) == (True, False)
    session.lost(3)
    session.received(established(resumed=True), 4)
    session.received(changes(), 4)
    accept(session, 4)
    assert (session.is_stale, session.user("ada").certain) == (False, True)


def test_a_reader_of_everyone_learns_who_arrived_while_the_server_was_away() -> None:
    session = session_that_watches(everyone=True)
    stream = ChangeStream(None, session.user, lambda: session.watches_everyone)

    def receive(message: dict[str, Any], now: float) -> list[tuple[str, str, str]]:
        stream.add(session.received(message, now))
        taken = iter(stream.take, None)
        return [(change.user, change.previous.status, change.current.status) for change in taken]

    assert receive(snapshot(record("ada", 5), record("bob", 6), watch="everyone"), 0) == [], "first answers"
    session.lost(1)
    assert receive(established("another", epoch="f"), 2) == []
    accept(session, 2)
    returned = snapshot(record("ada", 1), record("carl", 2), watch="everyone")
    assert receive(returned, 2) == [("carl", "offline", "online"), ("bob", "online", "offline")]
    assert receive(changes(record("carl", 3, "offline")), 3) == [("carl", "online", "offline")]

    session.lost(3)
    stream.add(session.tick(4 + LONG_AFTER_S))
    assert session.user("ada").status == "unknown"
    assert receive(established("third", epoch="g"), 200) == []
    accept(session, 200)
    returned = snapshot(record("ada", 1), record("dora", 2), watch="everyone")
    assert receive(returned, 200) == [("dora", "offline", "online")], "ada is as she was"
