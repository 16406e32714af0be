"""Rules of a session of `presenced_client` that conversations with the node rarely reach."""

from __future__ import annotations

from itertools import count
from typing import Any

from tests.support.python_session import (
    LIMITS,
    LONG_AFTER_S,
    accept,
    changes,
    established,
    record,
    session_that_watches,
    snapshot,
)

from presenced_client.changes import ChangeStream
from presenced_client.desired_state import DesiredRoom
from presenced_client.self import Choice
from presenced_client.session import Session


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
    for choice in (Choice("asleep"), Choice("busy", ends_at=-1.0), Choice("busy", ends_at=float("inf"))):  # type: ignore[arg-type]  # invalid on purpose
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
