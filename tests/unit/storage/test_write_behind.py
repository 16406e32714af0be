"""What is noted of what happens, and what is given to the keeper."""

from __future__ import annotations

import pytest
from msgspec import structs
from tests.support.fakes import FakeConnection
from tests.support.storing_harness import StoringHarness, come_and_go

from presenced.node.service import PresenceService
from presenced.presence.choices import choice_of
from presenced.presence.claims import Claim
from presenced.presence.model import PLAIN, Change, Choice, Ending, Status, View
from presenced.storage import noted as module
from presenced.storage.noted import CROWDED, STATE_PERIOD
from presenced.storage.records import (
    ChoiceFact,
    ChosenFact,
    ClaimFact,
    DisplayFact,
    RevocationFact,
    SessionFact,
    UserFact,
)
from presenced.storage.write_behind import PERIOD


def test_a_user_who_comes_and_goes_at_once_is_one_fact_of_how_they_are_now_and_two_changes() -> None:
    harness = StoringHarness()
    harness.close(harness.open())
    harness.pass_period()
    assert [(fact.user_id, fact.status) for fact in harness.keeper.of(UserFact)] == [("ada", "offline")]
    assert [fact.status for fact in harness.keeper.of(Change)] == ["online", "offline"]
    (session,) = harness.keeper.of(SessionFact)
    assert (session.reason, session.closed_ms > 0, session.address) == ("closed", True, "")


def test_users_and_sessions_are_given_at_once_and_again_a_while_later_changes_always_at_once() -> None:
    harness = StoringHarness()
    first = harness.open()
    harness.clock.advance(PERIOD)
    assert (len(harness.keeper.of(UserFact)), len(harness.keeper.of(SessionFact))) == (1, 1)
    harness.close(first)
    for _ in range(3):
        harness.close(harness.open())
        harness.clock.advance(PERIOD)
    assert (len(harness.keeper.of(UserFact)), len(harness.keeper.of(SessionFact))) == (1, 1)
    assert len(harness.keeper.of(Change)) == 8
    harness.clock.advance(STATE_PERIOD)
    assert [fact.status for fact in harness.keeper.of(UserFact)] == ["online", "offline"]
    assert [fact.reason for fact in harness.keeper.of(SessionFact)] == ["", *["closed"] * 4]
    assert harness.recorder.since is None


def test_at_the_end_all_is_given_at_once() -> None:
    harness = StoringHarness()
    connection = harness.open()
    harness.clock.advance(PERIOD)
    harness.close(connection)
    harness.recorder.finish()
    assert [fact.status for fact in harness.keeper.of(UserFact)] == ["online", "offline"]
    harness.close(harness.open("eve"))
    harness.clock.advance(PERIOD)
    assert [fact.user_id for fact in harness.keeper.of(UserFact)] == ["ada", "ada", "eve"]
    assert harness.recorder.waiting == 0


def test_nothing_is_given_and_no_timer_runs_while_nothing_happens() -> None:
    harness = StoringHarness(stats_interval=0)
    harness.close(harness.open())
    harness.pass_period()
    given = len(harness.keeper.facts)
    harness.clock.advance(5)
    assert len(harness.keeper.facts) == given
    assert harness.recorder.flush not in harness.node.timer


def test_facts_wait_while_the_keeper_takes_nothing_and_go_when_it_does() -> None:
    harness = StoringHarness()
    harness.keeper.room = 0
    for _ in range(3):
        harness.close(harness.open())
    harness.clock.advance(10)
    assert harness.keeper.facts == []
    assert harness.recorder.blocked
    harness.keeper.room = 10
    harness.recorder.flush()
    assert len(harness.keeper.of(UserFact)) == 1
    assert len(harness.keeper.of(Change)) == 6
    assert harness.recorder.since is None


def test_what_waits_is_bounded_and_the_newest_of_each_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    harness = StoringHarness(log_burst=0)
    harness.keeper.room = 0
    for number in range(30):
        harness.close(harness.open("ada"))
        harness.close(harness.open(f"user{number}"))
    harness.clock.advance(5)
    assert harness.recorder.waiting <= 3 * 10
    harness.keeper.room = 100
    harness.clock.advance(5)
    changes = harness.keeper.of(Change)
    assert len({change.user_id for change in changes}) == len(changes)
    assert ("user29", "offline") in [(change.user_id, change.status) for change in changes]
    assert harness.node.metrics.registry.get_sample_value("presenced_storage_facts_dropped_total")


def test_last_seen_is_known_of_who_was_forgotten_before_it_could_be_stored() -> None:
    harness = StoringHarness(log_age=1, heartbeat_interval=1, pong_timeout=1)
    harness.keeper.room = 0
    harness.close(harness.open())
    left_ms = harness.clock.now().epoch_ms
    for _ in range(3):
        harness.clock.advance(100)
        harness.node.closed(harness.open("bob"), Ending.LOST, "lost")  # when the grace period ends, the log is trimmed
    harness.clock.advance(100)
    assert harness.node.directory.user("ada") is None, "forgotten"
    harness.keeper.room = 10
    harness.recorder.flush()
    seen = {fact.user_id: fact for fact in harness.keeper.of(UserFact)}
    assert (seen["ada"].status, seen["ada"].since_ms, seen["ada"].seen_ms) == ("offline", left_ms, left_ms)


def test_an_invisible_user_was_last_seen_on_becoming_invisible_even_if_the_fact_waits_long() -> None:
    harness = StoringHarness(log_age=1, heartbeat_interval=1, pong_timeout=1)
    harness.keeper.room = 0
    application = PresenceService(harness.node)
    connection = harness.open()
    harness.clock.advance(10)
    application.set_status("ada", Choice(Status.INVISIBLE, PLAIN))
    hidden_ms = harness.clock.now().epoch_ms
    for _ in range(3):
        harness.clock.advance(100)
        harness.node.closed(harness.open("bob"), Ending.LOST, "lost")
    harness.close(connection)
    harness.keeper.room = 10
    harness.recorder.flush()
    seen = {fact.user_id: fact for fact in harness.keeper.of(UserFact)}
    assert (seen["ada"].status, seen["ada"].seen_ms) == ("offline", hidden_ms)


def test_who_is_invisible_was_last_seen_when_they_became_so() -> None:
    harness = StoringHarness()
    application = PresenceService(harness.node)
    application.set_status("ada", Choice(Status.INVISIBLE, PLAIN))
    harness.clock.advance(60)
    connection = harness.open()
    harness.pass_period()
    (*_, hidden) = harness.keeper.of(UserFact)
    assert (hidden.seen_ms, hidden.active_ms) == (0, 0), "nobody has seen them"
    application.set_status("ada", None)
    harness.clock.advance(60)
    application.set_status("ada", Choice(Status.INVISIBLE, PLAIN))
    since = harness.clock.now().epoch_ms
    harness.clock.advance(60)
    harness.close(connection)
    harness.pass_period()
    (*_, left) = harness.keeper.of(UserFact)
    assert left.seen_ms == since, "that they left tells nobody that they were there"
    assert left.active_ms <= since


def test_changes_are_not_given_where_nobody_wants_them() -> None:
    harness = StoringHarness(history_age=0)
    harness.open()
    harness.pass_period()
    assert harness.keeper.of(Change) == []
    assert len(harness.keeper.of(UserFact)) == 1


def test_addresses_are_kept_only_where_they_are_wanted() -> None:
    harness = StoringHarness(keep_addresses=True)
    harness.open()
    harness.pass_period()
    assert [fact.address for fact in harness.keeper.of(SessionFact)] == ["192.0.2.1"]


def test_absent_users_are_found_in_the_live_state_although_facts_wait_to_be_stored() -> None:
    harness = StoringHarness()
    harness.keeper.room = 0  # nothing is stored
    application = PresenceService(harness.node)
    harness.open("here")
    harness.node.closed(harness.open("awaited"), Ending.LOST, "lost")
    harness.close(harness.open("left"))
    application.set_status("hidden", Choice(Status.INVISIBLE, PLAIN))
    harness.open("hidden")
    application.announce("announced", online=True)
    users = ["here", "awaited", "left", "hidden", "announced", "never"]
    assert harness.recorder.absent(users, []) == (["left", "hidden", "never"], [])
    harness.clock.advance(harness.node.settings.grace_lost)
    assert harness.recorder.absent(users, []) == (["awaited", "left", "hidden", "never"], [])


def test_rooms_that_nobody_is_in_are_absent() -> None:
    harness = StoringHarness()
    ada = harness.open("ada", "presenced.v1")
    for name in ("lobby", "hall"):
        harness.node.received(ada, f'{{"type":"JOIN","room":"{name}"}}')
    harness.node.received(ada, '{"type":"LEAVE","room":"hall"}')
    assert harness.recorder.absent([], ["lobby", "hall", "cellar"]) == ([], ["hall", "cellar"])


def test_nobody_is_absent_while_the_server_stops() -> None:
    """Its connections end then, and its users return after the restart: nobody is notified that they have left."""
    harness = StoringHarness()
    ada = harness.open("ada", "presenced.v1")
    harness.node.received(ada, '{"type":"JOIN","room":"lobby"}')
    list(harness.node.drain())
    assert ada.closed_with
    assert harness.recorder.absent(["ada", "never"], ["lobby"]) == ([], [])


def test_how_users_are_is_known_while_it_waits_to_be_stored() -> None:
    harness = StoringHarness()
    harness.keeper.room = 0
    harness.close(harness.open())
    harness.clock.advance(PERIOD)
    left_ms = harness.clock.now().epoch_ms - int(PERIOD * 1000)
    found = harness.recorder.waiting_of(["ada", "never"])
    assert {user_id: (fact.status, fact.seen_ms) for user_id, fact in found.items()} == {"ada": ("offline", left_ms)}
    harness.keeper.room = 9
    harness.recorder.flush()
    assert harness.recorder.waiting_of(["ada"]) == {}


def test_the_id_of_a_session_which_is_a_secret_is_not_kept() -> None:
    harness = StoringHarness()
    connection = harness.open(subprotocol="presenced.v1")
    harness.pass_period()
    (session,) = harness.keeper.of(SessionFact)
    assert session.protocol == "presenced.v1"
    assert len(session.session) == 32
    assert connection.session.session_id not in str(session)


def test_a_session_that_is_resumed_goes_on() -> None:
    harness = StoringHarness()
    first = harness.open(subprotocol="presenced.v1")
    harness.node.closed(first, Ending.LOST, "lost")
    harness.pass_period()
    second = FakeConnection(harness.node.closed)
    query = f"userId=ada&session={first.session.session_id}".encode()
    harness.node.opened(second, query, b"", "presenced.v1")
    harness.pass_period()
    lost, resumed = harness.keeper.of(SessionFact)
    assert (lost.key, lost.reason, bool(lost.closed_ms)) == (first.connection_id, "lost", True)
    assert (resumed.key, resumed.connection_id, resumed.closed_ms) == (first.connection_id, second.connection_id, 0)


def test_a_connection_that_another_one_replaces_does_not_end_the_session() -> None:
    harness = StoringHarness()
    first = harness.open(subprotocol="presenced.v1")
    second = FakeConnection(harness.node.closed)
    query = f"userId=ada&session={first.session.session_id}".encode()
    harness.node.opened(second, query, b"", "presenced.v1")
    assert first.closed_with
    harness.pass_period()
    assert harness.keeper.of(SessionFact)[-1].closed_ms == 0


def test_a_choice_that_is_restored_late_does_not_override_what_a_user_chose_since() -> None:
    harness = StoringHarness(restored=False)
    ada, bob = harness.open("ada", "presenced.v1"), harness.open("bob", "presenced.v1")
    harness.node.received(ada, '{"type":"SET_STATUS","status":"busy"}')
    harness.node.received(ada, '{"type":"SET_STATUS","status":"auto"}')
    harness.clock.advance(1)
    away = ChoiceFact("away", "gone fishing")
    harness.recorder.restore([ChosenFact("ada", away, None), ChosenFact("bob", away, None)])
    harness.recorder.begin(7)
    harness.pass_period()
    now = {fact.user_id: fact.status for fact in harness.keeper.of(UserFact)}
    assert now == {"ada": "online", "bob": "away"}
    assert [m["status"] for m in bob.messages if m["type"] == "SELF"][-1] == "away"


def test_auto_that_was_chosen_since_the_start_goes_before_a_choice_that_is_restored_late() -> None:
    """It changes nothing that others see, but is a choice all the same; also from a backend, or for an absent user."""
    harness = StoringHarness(restored=False)
    ada, _ = harness.open("ada", "presenced.v1"), harness.open("eve", "presenced.v1")
    harness.node.received(ada, '{"type":"SET_STATUS","status":"auto"}')
    application = PresenceService(harness.node)
    application.set_status("eve", None)
    application.set_status("fay", choice_of("auto"))
    stored = ChosenFact("ada", ChoiceFact("busy"), ChoiceFact("away", until_ms=harness.clock.now().epoch_ms + 60_000))
    harness.recorder.restore([stored, structs.replace(stored, user_id="eve"), structs.replace(stored, user_id="fay")])
    harness.open("fay")
    assert [harness.node.directory.status(user_id) for user_id in ("ada", "eve", "fay")] == ["online"] * 3


def test_a_choice_for_good_that_is_restored_late_returns_when_one_for_a_time_ends() -> None:
    harness = StoringHarness(restored=False)
    ada = harness.open("ada", "presenced.v1")
    harness.node.received(ada, '{"type":"SET_STATUS","status":"away","expiresIn":10}')
    ends = harness.clock.now().epoch_ms + 60_000
    harness.recorder.restore([ChosenFact("ada", ChoiceFact("busy", "writing"), ChoiceFact("online", until_ms=ends))])
    harness.recorder.begin(0)
    assert harness.node.directory.status("ada") == "away"
    harness.clock.advance(10)
    assert [(m["status"], m.get("text")) for m in ada.messages if m["type"] == "SELF"][-1] == ("busy", "writing")


def test_nothing_of_a_user_who_was_erased_since_the_start_is_restored() -> None:
    harness = StoringHarness(restored=False)
    application = PresenceService(harness.node)
    application.forget("ada")
    harness.recorder.restore(
        [
            ChosenFact("ada", ChoiceFact("busy", "secret"), None),
            ClaimFact("ada", "calendar", "busy", "secret"),
            DisplayFact("ada", b'{"name":"secret"}'),
        ]
    )
    harness.open("ada", "presenced.v1")
    harness.pass_period()
    assert harness.keeper.of(Change)[-1].view == View(Status.ONLINE)


def test_a_claim_that_is_cleared_before_it_is_restored_is_cleared_for_good() -> None:
    """The backend learns that there was none, and the stored claim is deleted."""
    harness = StoringHarness(restored=False)
    application = PresenceService(harness.node)
    assert not application.clear_claim("ada", "calendar")
    harness.pass_period()
    assert harness.keeper.of(ClaimFact) == [ClaimFact("ada", "calendar")], "without a status: deleted"
    harness.recorder.restore([ClaimFact("ada", "calendar", "busy")])
    assert application.claims_of("ada") == ()


def test_a_row_with_a_status_that_nobody_can_choose_is_not_restored() -> None:
    harness = StoringHarness(restored=False)
    harness.recorder.restore([ChosenFact(status, ChoiceFact(status), None) for status in ("offline", "gone")])
    for user_id in ("offline", "gone"):
        harness.open(user_id)
        assert harness.node.directory.status(user_id) == "online"


def test_display_data_is_restored_unless_somebody_else_has_written_it() -> None:
    harness = StoringHarness()
    here, data = harness.open("here", "presenced.v1"), b'{"name":"Ada"}'
    broken = [b"{", b"[1]", b'{"a":1e999}', b'{"name":"' + b"x" * 1024 + b'"}', b'{"a":1}{']
    harness.recorder.restore([DisplayFact(name, data) for name in ("here", "late")])
    harness.recorder.restore([DisplayFact(f"broken{number}", given) for number, given in enumerate(broken)])
    for user_id in ("late", *(f"broken{number}" for number in range(len(broken)))):
        harness.open(user_id)
    harness.pass_period()
    assert [m.get("display") for m in here.messages if m["type"] == "SELF"] == [None, {"name": "Ada"}]
    given_of = {fact.user_id: fact.display for fact in harness.keeper.of(UserFact) if fact.display}
    assert given_of == {"here": data, "late": data}
    told = {change.user_id: change.view.display for change in harness.keeper.of(Change) if change.view.display}
    assert told == given_of


def test_a_timed_choice_is_restored_for_the_rest_of_its_time() -> None:
    harness = StoringHarness()
    until = harness.clock.now().epoch_ms + 60_000
    harness.recorder.restore(
        [
            ChosenFact("ada", ChoiceFact("away"), ChoiceFact("busy", until_ms=until)),
            ChosenFact("eve", ChoiceFact("no"), None),
        ]
    )
    harness.open("ada")
    harness.open("eve")
    harness.pass_period()
    harness.clock.advance(60)
    assert [fact.status for fact in harness.keeper.of(Change) if fact.user_id == "ada"] == ["busy", "away"]
    assert [fact.status for fact in harness.keeper.of(Change) if fact.user_id == "eve"] == ["online"]


def test_claims_are_kept_and_restored_but_for_those_that_were_set_or_cleared_since() -> None:
    harness = StoringHarness(restored=False)
    harness.keeper.room = 0
    application = PresenceService(harness.node)
    application.set_claim("ada", Claim("call", Status.BUSY))
    application.set_claim("ada", Claim("agent", Status.AWAY))
    application.clear_claim("ada", "agent")
    ends = harness.clock.now().epoch_ms + 60_000
    harness.recorder.restore(
        [
            ClaimFact("ada", "call", "away", set_ms=1),
            ClaimFact("ada", "agent", "away", set_ms=1),
            ClaimFact("ada", "calendar", "away", "lunch", priority=3, set_ms=1, until_ms=ends),
            ClaimFact("ada", "broken", "invisible"),
            ClaimFact("ada", "over", "busy", until_ms=1),
        ]
    )
    found = {claim.source: claim.status for claim in application.claims_of("ada")}
    assert found == {"call": Status.BUSY, "calendar": Status.AWAY}
    harness.keeper.room = 10
    harness.recorder.flush()
    assert {(fact.source, fact.status) for fact in harness.keeper.of(ClaimFact)} == {("call", "busy"), ("agent", "")}
    harness.clock.advance(61)
    assert [claim.source for claim in application.claims_of("ada")] == ["call"]


def test_positions_go_on_from_where_they_are_told_to() -> None:
    harness = StoringHarness()
    harness.recorder.begin(1_000_000)
    harness.open()
    harness.pass_period()
    (change,) = harness.keeper.of(Change)
    assert (change.position, change.version) == (1_000_001, 1_000_001)


def test_what_was_revoked_is_kept_unless_its_id_can_not_be_read() -> None:
    harness = StoringHarness()
    harness.recorder.revoked("user", "ada", 1.0, 2.0)
    harness.recorder.revoked("token", "\ud800", 1.0, 2.0)
    harness.pass_period()
    assert harness.keeper.facts == [RevocationFact("user", "ada", 1.0, 2.0)]


def test_revocations_are_remembered_for_users_in_all_scripts() -> None:
    harness = StoringHarness()
    harness.recorder.revoked("user", "\u5c71\u7530\u3000\u592a\u90ce", 1.0, 2.0)
    harness.pass_period()
    assert harness.keeper.facts == [RevocationFact("user", "\u5c71\u7530\u3000\u592a\u90ce", 1.0, 2.0)]


def test_stored_data_is_passed_on_in_one_line_and_only_if_clients_can_read_it() -> None:
    """An earlier version stored it unchanged, and another program may have written it."""
    harness = StoringHarness()
    broken = b'{"a":\n\r 1,"b":'
    harness.recorder.restore(
        [
            ChosenFact("ada", ChoiceFact("away", data=broken + b"2}"), None),
            ChosenFact("bob", ChoiceFact("away", data=broken), None),
            ClaimFact("eve", "call", "busy", data=broken + b"[3]\n}", set_ms=1),
            DisplayFact("dee", broken + b"2}"),
        ]
    )
    for user_id in ("ada", "bob", "eve", "dee"):
        harness.open(user_id)
    harness.pass_period()
    shown = {change.user_id: change.view for change in harness.keeper.of(Change)}
    assert {user_id: view.custom.data for user_id, view in shown.items()} == {
        "ada": b'{"a":1,"b":2}',
        "bob": b"",
        "eve": b'{"a":1,"b":[3]}',
        "dee": b"",
    }
    assert shown["dee"].display == b'{"a":1,"b":2}'


@pytest.mark.parametrize("crowd", [False, True])
def test_nothing_that_waits_is_left_of_who_is_erased(crowd: bool) -> None:
    harness = StoringHarness(log_burst=0)
    if crowd:
        come_and_go(harness, 0.6, 2 * CROWDED, users=1000)
        harness.keeper.facts.clear()
        assert harness.recorder.waiting > 1000
        harness.recorder.forget("user7")
    harness.close(harness.open("ada"))
    harness.close(harness.open("bob"))
    harness.recorder.forget("ada")
    harness.pass_period()
    assert harness.keeper.facts
    assert not [fact for fact in harness.keeper.facts if getattr(fact, "user_id", "") in ("ada", "user7")]
