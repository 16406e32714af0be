"""What is noted of what happens, and what is given to the keeper."""

from __future__ import annotations

import pytest
from msgspec import structs
from tests.support.fakes import FakeConnection
from tests.support.recording import House, come_and_go

from presenced.node.service import PresenceService
from presenced.presence.choices import choice_of
from presenced.presence.claims import Claim
from presenced.presence.model import PLAIN, Change, Choice, Ending, Status, View
from presenced.storage import noted as module
from presenced.storage.noted import CROWDED, STATE_PERIOD
from presenced.storage.records import (
    RestoredChoices,
    RestoredDisplay,
    StoredChoice,
    StoredClaim,
    StoredRevocation,
    StoredSession,
    StoredUser,
)
from presenced.storage.write_behind import PERIOD


def test_a_user_who_comes_and_goes_at_once_is_one_fact_of_how_they_are_now_and_two_changes() -> None:
    house = House()
    house.close(house.open())
    house.pass_period()
    assert [(fact.user_id, fact.status) for fact in house.keeper.of(StoredUser)] == [("ada", "offline")]
    assert [fact.status for fact in house.keeper.of(Change)] == ["online", "offline"]
    (session,) = house.keeper.of(StoredSession)
    assert (session.reason, session.closed_ms > 0, session.address) == ("closed", True, "")


def test_users_and_sessions_are_given_at_once_and_again_a_while_later_changes_always_at_once() -> None:
    house = House()
    first = house.open()
    house.clock.advance(PERIOD)
    assert (len(house.keeper.of(StoredUser)), len(house.keeper.of(StoredSession))) == (1, 1)
    house.close(first)
    for _ in range(3):
        house.close(house.open())
        house.clock.advance(PERIOD)
    assert (len(house.keeper.of(StoredUser)), len(house.keeper.of(StoredSession))) == (1, 1)
    assert len(house.keeper.of(Change)) == 8
    house.clock.advance(STATE_PERIOD)
    assert [fact.status for fact in house.keeper.of(StoredUser)] == ["online", "offline"]
    assert [fact.reason for fact in house.keeper.of(StoredSession)] == ["", *["closed"] * 4]
    assert house.recorder.since is None


def test_at_the_end_all_is_given_at_once() -> None:
    house = House()
    connection = house.open()
    house.clock.advance(PERIOD)
    house.close(connection)
    house.recorder.finish()
    assert [fact.status for fact in house.keeper.of(StoredUser)] == ["online", "offline"]
    house.close(house.open("eve"))
    house.clock.advance(PERIOD)
    assert [fact.user_id for fact in house.keeper.of(StoredUser)] == ["ada", "ada", "eve"]
    assert house.recorder.waiting == 0


def test_nothing_is_given_and_no_timer_runs_while_nothing_happens() -> None:
    house = House(stats_interval=0)
    house.close(house.open())
    house.pass_period()
    given = len(house.keeper.facts)
    house.clock.advance(5)
    assert len(house.keeper.facts) == given
    assert house.recorder.flush not in house.node.timer


def test_facts_wait_while_the_keeper_takes_nothing_and_go_when_it_does() -> None:
    house = House()
    house.keeper.room = 0
    for _ in range(3):
        house.close(house.open())
    house.clock.advance(10)
    assert house.keeper.facts == []
    assert house.recorder.blocked
    house.keeper.room = 10
    house.recorder.flush()
    assert len(house.keeper.of(StoredUser)) == 1
    assert len(house.keeper.of(Change)) == 6
    assert house.recorder.since is None


def test_what_waits_is_bounded_and_the_newest_of_each_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    house = House(log_burst=0)
    house.keeper.room = 0
    for number in range(30):
        house.close(house.open("ada"))
        house.close(house.open(f"user{number}"))
    house.clock.advance(5)
    assert house.recorder.waiting <= 3 * 10
    house.keeper.room = 100
    house.clock.advance(5)
    changes = house.keeper.of(Change)
    assert len({change.user_id for change in changes}) == len(changes)
    assert ("user29", "offline") in [(change.user_id, change.status) for change in changes]
    assert house.node.metrics.registry.get_sample_value("presenced_storage_facts_dropped_total")


def test_last_seen_is_known_of_who_was_forgotten_before_it_could_be_stored() -> None:
    house = House(log_age=1, heartbeat_interval=1, pong_timeout=1)
    house.keeper.room = 0
    house.close(house.open())
    left_ms = house.clock.now().epoch_ms
    for _ in range(3):
        house.clock.advance(100)
        house.node.closed(house.open("bob"), Ending.LOST, "lost")  # when the grace period ends, the log is trimmed
    house.clock.advance(100)
    assert house.node.directory.user("ada") is None, "forgotten"
    house.keeper.room = 10
    house.recorder.flush()
    seen = {fact.user_id: fact for fact in house.keeper.of(StoredUser)}
    assert (seen["ada"].status, seen["ada"].since_ms, seen["ada"].seen_ms) == ("offline", left_ms, left_ms)


def test_an_invisible_user_was_last_seen_on_becoming_invisible_even_if_the_fact_waits_long() -> None:
    house = House(log_age=1, heartbeat_interval=1, pong_timeout=1)
    house.keeper.room = 0
    application = PresenceService(house.node)
    connection = house.open()
    house.clock.advance(10)
    application.set_status("ada", Choice(Status.INVISIBLE, PLAIN))
    hidden_ms = house.clock.now().epoch_ms
    for _ in range(3):
        house.clock.advance(100)
        house.node.closed(house.open("bob"), Ending.LOST, "lost")
    house.close(connection)
    house.keeper.room = 10
    house.recorder.flush()
    seen = {fact.user_id: fact for fact in house.keeper.of(StoredUser)}
    assert (seen["ada"].status, seen["ada"].seen_ms) == ("offline", hidden_ms)


def test_who_is_invisible_was_last_seen_when_they_became_so() -> None:
    house = House()
    application = PresenceService(house.node)
    application.set_status("ada", Choice(Status.INVISIBLE, PLAIN))
    house.clock.advance(60)
    connection = house.open()
    house.pass_period()
    (*_, hidden) = house.keeper.of(StoredUser)
    assert (hidden.seen_ms, hidden.active_ms) == (0, 0), "nobody has seen them"
    application.set_status("ada", None)
    house.clock.advance(60)
    application.set_status("ada", Choice(Status.INVISIBLE, PLAIN))
    since = house.clock.now().epoch_ms
    house.clock.advance(60)
    house.close(connection)
    house.pass_period()
    (*_, left) = house.keeper.of(StoredUser)
    assert left.seen_ms == since, "that they left tells nobody that they were there"
    assert left.active_ms <= since


def test_changes_are_not_given_where_nobody_wants_them() -> None:
    house = House(history_age=0)
    house.open()
    house.pass_period()
    assert house.keeper.of(Change) == []
    assert len(house.keeper.of(StoredUser)) == 1


def test_addresses_are_kept_only_where_they_are_wanted() -> None:
    house = House(keep_addresses=True)
    house.open()
    house.pass_period()
    assert [fact.address for fact in house.keeper.of(StoredSession)] == ["192.0.2.1"]


def test_absent_users_are_found_in_the_live_state_although_facts_wait_to_be_stored() -> None:
    house = House()
    house.keeper.room = 0  # nothing is stored
    application = PresenceService(house.node)
    house.open("here")
    house.node.closed(house.open("awaited"), Ending.LOST, "lost")
    house.close(house.open("left"))
    application.set_status("hidden", Choice(Status.INVISIBLE, PLAIN))
    house.open("hidden")
    application.announce("announced", online=True)
    users = ["here", "awaited", "left", "hidden", "announced", "never"]
    assert house.recorder.absent(users, []) == (["left", "hidden", "never"], [])
    house.clock.advance(house.node.settings.grace_lost)
    assert house.recorder.absent(users, []) == (["awaited", "left", "hidden", "never"], [])


def test_rooms_that_nobody_is_in_are_absent() -> None:
    house = House()
    ada = house.open("ada", "presenced.v1")
    for name in ("lobby", "hall"):
        house.node.received(ada, f'{{"type":"JOIN","room":"{name}"}}')
    house.node.received(ada, '{"type":"LEAVE","room":"hall"}')
    assert house.recorder.absent([], ["lobby", "hall", "cellar"]) == ([], ["hall", "cellar"])


def test_nobody_is_absent_while_the_server_stops() -> None:
    """Its connections end then, and its users return after the restart: nobody is notified that they have left."""
    house = House()
    ada = house.open("ada", "presenced.v1")
    house.node.received(ada, '{"type":"JOIN","room":"lobby"}')
    list(house.node.drain())
    assert ada.closed_with
    assert house.recorder.absent(["ada", "never"], ["lobby"]) == ([], [])


def test_how_users_are_is_known_while_it_waits_to_be_stored() -> None:
    house = House()
    house.keeper.room = 0
    house.close(house.open())
    house.clock.advance(PERIOD)
    left_ms = house.clock.now().epoch_ms - int(PERIOD * 1000)
    found = house.recorder.waiting_of(["ada", "never"])
    assert {user_id: (fact.status, fact.seen_ms) for user_id, fact in found.items()} == {"ada": ("offline", left_ms)}
    house.keeper.room = 9
    house.recorder.flush()
    assert house.recorder.waiting_of(["ada"]) == {}


def test_the_id_of_a_session_which_is_a_secret_is_not_kept() -> None:
    house = House()
    connection = house.open(subprotocol="presenced.v1")
    house.pass_period()
    (session,) = house.keeper.of(StoredSession)
    assert session.protocol == "presenced.v1"
    assert len(session.session) == 32
    assert connection.session.session_id not in str(session)


def test_a_session_that_is_resumed_goes_on() -> None:
    house = House()
    first = house.open(subprotocol="presenced.v1")
    house.node.closed(first, Ending.LOST, "lost")
    house.pass_period()
    second = FakeConnection(house.node.closed)
    query = f"userId=ada&session={first.session.session_id}".encode()
    house.node.opened(second, query, b"", "presenced.v1")
    house.pass_period()
    lost, resumed = house.keeper.of(StoredSession)
    assert (lost.key, lost.reason, bool(lost.closed_ms)) == (first.connection_id, "lost", True)
    assert (resumed.key, resumed.connection_id, resumed.closed_ms) == (first.connection_id, second.connection_id, 0)


def test_a_connection_that_another_one_replaces_does_not_end_the_session() -> None:
    house = House()
    first = house.open(subprotocol="presenced.v1")
    second = FakeConnection(house.node.closed)
    query = f"userId=ada&session={first.session.session_id}".encode()
    house.node.opened(second, query, b"", "presenced.v1")
    assert first.closed_with
    house.pass_period()
    assert house.keeper.of(StoredSession)[-1].closed_ms == 0


def test_a_choice_that_is_restored_late_does_not_override_what_a_user_chose_since() -> None:
    house = House(restored=False)
    ada, bob = house.open("ada", "presenced.v1"), house.open("bob", "presenced.v1")
    house.node.received(ada, '{"type":"SET_STATUS","status":"busy"}')
    house.node.received(ada, '{"type":"SET_STATUS","status":"auto"}')
    house.clock.advance(1)
    away = StoredChoice("away", "gone fishing")
    house.recorder.restore([RestoredChoices("ada", away, None), RestoredChoices("bob", away, None)])
    house.recorder.begin(7)
    house.pass_period()
    now = {fact.user_id: fact.status for fact in house.keeper.of(StoredUser)}
    assert now == {"ada": "online", "bob": "away"}
    assert [m["status"] for m in bob.messages if m["type"] == "SELF"][-1] == "away"


def test_auto_that_was_chosen_since_the_start_goes_before_a_choice_that_is_restored_late() -> None:
    """It changes nothing that others see, but is a choice all the same; also from a backend, or for an absent user."""
    house = House(restored=False)
    ada, _ = house.open("ada", "presenced.v1"), house.open("eve", "presenced.v1")
    house.node.received(ada, '{"type":"SET_STATUS","status":"auto"}')
    application = PresenceService(house.node)
    application.set_status("eve", None)
    application.set_status("fay", choice_of("auto"))
    stored = RestoredChoices(
        "ada", StoredChoice("busy"), StoredChoice("away", until_ms=house.clock.now().epoch_ms + 60_000)
    )
    house.recorder.restore([stored, structs.replace(stored, user_id="eve"), structs.replace(stored, user_id="fay")])
    house.open("fay")
    assert [house.node.directory.status(user_id) for user_id in ("ada", "eve", "fay")] == ["online"] * 3


def test_a_choice_for_good_that_is_restored_late_returns_when_one_for_a_time_ends() -> None:
    house = House(restored=False)
    ada = house.open("ada", "presenced.v1")
    house.node.received(ada, '{"type":"SET_STATUS","status":"away","expiresIn":10}')
    ends = house.clock.now().epoch_ms + 60_000
    house.recorder.restore(
        [RestoredChoices("ada", StoredChoice("busy", "writing"), StoredChoice("online", until_ms=ends))]
    )
    house.recorder.begin(0)
    assert house.node.directory.status("ada") == "away"
    house.clock.advance(10)
    assert [(m["status"], m.get("text")) for m in ada.messages if m["type"] == "SELF"][-1] == ("busy", "writing")


def test_nothing_of_a_user_who_was_erased_since_the_start_is_restored() -> None:
    house = House(restored=False)
    application = PresenceService(house.node)
    application.forget("ada")
    house.recorder.restore(
        [
            RestoredChoices("ada", StoredChoice("busy", "secret"), None),
            StoredClaim("ada", "calendar", "busy", "secret"),
            RestoredDisplay("ada", b'{"name":"secret"}'),
        ]
    )
    house.open("ada", "presenced.v1")
    house.pass_period()
    assert house.keeper.of(Change)[-1].view == View(Status.ONLINE)


def test_a_claim_that_is_cleared_before_it_is_restored_is_cleared_for_good() -> None:
    """The backend learns that there was none, and the stored claim is deleted."""
    house = House(restored=False)
    application = PresenceService(house.node)
    assert not application.clear_claim("ada", "calendar")
    house.pass_period()
    assert house.keeper.of(StoredClaim) == [StoredClaim("ada", "calendar")], "without a status: deleted"
    house.recorder.restore([StoredClaim("ada", "calendar", "busy")])
    assert application.claims_of("ada") == ()


def test_a_row_with_a_status_that_nobody_can_choose_is_not_restored() -> None:
    house = House(restored=False)
    house.recorder.restore([RestoredChoices(status, StoredChoice(status), None) for status in ("offline", "gone")])
    for user_id in ("offline", "gone"):
        house.open(user_id)
        assert house.node.directory.status(user_id) == "online"


def test_display_data_is_restored_unless_somebody_else_has_written_it() -> None:
    house = House()
    here, data = house.open("here", "presenced.v1"), b'{"name":"Ada"}'
    broken = [b"{", b"[1]", b'{"a":1e999}', b'{"name":"' + b"x" * 1024 + b'"}', b'{"a":1}{']
    house.recorder.restore([RestoredDisplay(name, data) for name in ("here", "late")])
    house.recorder.restore([RestoredDisplay(f"broken{number}", given) for number, given in enumerate(broken)])
    for user_id in ("late", *(f"broken{number}" for number in range(len(broken)))):
        house.open(user_id)
    house.pass_period()
    assert [m.get("display") for m in here.messages if m["type"] == "SELF"] == [None, {"name": "Ada"}]
    given_of = {fact.user_id: fact.display for fact in house.keeper.of(StoredUser) if fact.display}
    assert given_of == {"here": data, "late": data}
    told = {change.user_id: change.view.display for change in house.keeper.of(Change) if change.view.display}
    assert told == given_of


def test_a_timed_choice_is_restored_for_the_rest_of_its_time() -> None:
    house = House()
    until = house.clock.now().epoch_ms + 60_000
    house.recorder.restore(
        [
            RestoredChoices("ada", StoredChoice("away"), StoredChoice("busy", until_ms=until)),
            RestoredChoices("eve", StoredChoice("no"), None),
        ]
    )
    house.open("ada")
    house.open("eve")
    house.pass_period()
    house.clock.advance(60)
    assert [fact.status for fact in house.keeper.of(Change) if fact.user_id == "ada"] == ["busy", "away"]
    assert [fact.status for fact in house.keeper.of(Change) if fact.user_id == "eve"] == ["online"]


def test_claims_are_kept_and_restored_but_for_those_that_were_set_or_cleared_since() -> None:
    house = House(restored=False)
    house.keeper.room = 0
    application = PresenceService(house.node)
    application.set_claim("ada", Claim("call", Status.BUSY))
    application.set_claim("ada", Claim("agent", Status.AWAY))
    application.clear_claim("ada", "agent")
    ends = house.clock.now().epoch_ms + 60_000
    house.recorder.restore(
        [
            StoredClaim("ada", "call", "away", set_ms=1),
            StoredClaim("ada", "agent", "away", set_ms=1),
            StoredClaim("ada", "calendar", "away", "lunch", priority=3, set_ms=1, until_ms=ends),
            StoredClaim("ada", "broken", "invisible"),
            StoredClaim("ada", "over", "busy", until_ms=1),
        ]
    )
    found = {claim.source: claim.status for claim in application.claims_of("ada")}
    assert found == {"call": Status.BUSY, "calendar": Status.AWAY}
    house.keeper.room = 10
    house.recorder.flush()
    assert {(fact.source, fact.status) for fact in house.keeper.of(StoredClaim)} == {("call", "busy"), ("agent", "")}
    house.clock.advance(61)
    assert [claim.source for claim in application.claims_of("ada")] == ["call"]


def test_positions_go_on_from_where_they_are_told_to() -> None:
    house = House()
    house.recorder.begin(1_000_000)
    house.open()
    house.pass_period()
    (change,) = house.keeper.of(Change)
    assert (change.position, change.version) == (1_000_001, 1_000_001)


def test_what_was_revoked_is_kept_unless_its_id_can_not_be_read() -> None:
    house = House()
    house.recorder.revoked("user", "ada", 1.0, 2.0)
    house.recorder.revoked("token", "\ud800", 1.0, 2.0)
    house.pass_period()
    assert house.keeper.facts == [StoredRevocation("user", "ada", 1.0, 2.0)]


def test_revocations_are_remembered_for_users_in_all_scripts() -> None:
    house = House()
    house.recorder.revoked("user", "\u5c71\u7530\u3000\u592a\u90ce", 1.0, 2.0)
    house.pass_period()
    assert house.keeper.facts == [StoredRevocation("user", "\u5c71\u7530\u3000\u592a\u90ce", 1.0, 2.0)]


def test_stored_data_is_passed_on_in_one_line_and_only_if_clients_can_read_it() -> None:
    """An earlier version stored it unchanged, and another program may have written it."""
    house = House()
    broken = b'{"a":\n\r 1,"b":'
    house.recorder.restore(
        [
            RestoredChoices("ada", StoredChoice("away", data=broken + b"2}"), None),
            RestoredChoices("bob", StoredChoice("away", data=broken), None),
            StoredClaim("eve", "call", "busy", data=broken + b"[3]\n}", set_ms=1),
            RestoredDisplay("dee", broken + b"2}"),
        ]
    )
    for user_id in ("ada", "bob", "eve", "dee"):
        house.open(user_id)
    house.pass_period()
    shown = {change.user_id: change.view for change in house.keeper.of(Change)}
    assert {user_id: view.custom.data for user_id, view in shown.items()} == {
        "ada": b'{"a":1,"b":2}',
        "bob": b"",
        "eve": b'{"a":1,"b":[3]}',
        "dee": b"",
    }
    assert shown["dee"].display == b'{"a":1,"b":2}'


@pytest.mark.parametrize("crowd", [False, True])
def test_nothing_that_waits_is_left_of_who_is_erased(crowd: bool) -> None:
    house = House(log_burst=0)
    if crowd:
        come_and_go(house, 0.6, 2 * CROWDED, users=1000)
        house.keeper.facts.clear()
        assert house.recorder.waiting > 1000
        house.recorder.forget("user7")
    house.close(house.open("ada"))
    house.close(house.open("bob"))
    house.recorder.forget("ada")
    house.pass_period()
    assert house.keeper.facts
    assert not [fact for fact in house.keeper.facts if getattr(fact, "user_id", "") in ("ada", "user7")]
