"""The write-behind: records collected from events, batches for the storage worker, and restored data."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import UNSET, Raw, structs
from tests.support.fakes import FakeConnection
from tests.support.nodes import request
from tests.support.storing_harness import StoringNode, change_often

from presenced.node.service import PresenceService
from presenced.presence.model import NO_DETAILS, Change, Choice, Ending, Status, View
from presenced.presence.status import Claim, choice_of
from presenced.storage import collected as module
from presenced.storage.collected import MAX_BATCH_RECORDS, STATE_PERIOD_S
from presenced.storage.records import (
    RestoredChoices,
    RestoredDisplay,
    StoredChoice,
    StoredClaim,
    StoredRevocation,
    StoredSession,
    StoredUser,
)
from presenced.storage.write_behind import FLUSH_DELAY_S

MERGED, DROPPED = "presenced_storage_facts_merged_total", "presenced_storage_facts_dropped_total"


def stored_choice(status: str, text: str = "", data: bytes = b"", until: int = 0) -> bytes:
    """Return a stored choice, which may be invalid."""
    return msgspec.json.encode(StoredChoice(text, "", Raw(data) if data else UNSET, until, status=status))


def test_a_user_who_connects_and_leaves_immediately_is_one_user_record_and_two_changes() -> None:
    storing = StoringNode()
    storing.close(storing.open())
    storing.pass_period()
    assert [(record.user_id, record.status) for record in storing.worker.of(StoredUser)] == [("ada", "offline")]
    assert [record.status for record in storing.worker.of(Change)] == ["online", "offline"]
    (session,) = storing.worker.of(StoredSession)
    assert (session.reason, bool(session.closed_ms), session.address) == ("closed", True, None)


def test_users_and_sessions_are_sent_immediately_then_once_per_period_and_changes_always_immediately() -> None:
    storing = StoringNode()
    first = storing.open()
    storing.clock.advance(FLUSH_DELAY_S)
    assert (len(storing.worker.of(StoredUser)), len(storing.worker.of(StoredSession))) == (1, 1)
    storing.close(first)
    for _ in range(3):
        storing.close(storing.open())
        storing.clock.advance(FLUSH_DELAY_S)
    assert (len(storing.worker.of(StoredUser)), len(storing.worker.of(StoredSession))) == (1, 1)
    assert len(storing.worker.of(Change)) == 8
    storing.clock.advance(STATE_PERIOD_S)
    assert [record.status for record in storing.worker.of(StoredUser)] == ["online", "offline"]
    assert [record.reason for record in storing.worker.of(StoredSession)] == ["", *["closed"] * 4]
    assert storing.write_behind.waiting_since is None


def test_when_the_server_stops_everything_is_sent_immediately() -> None:
    storing = StoringNode()
    connection = storing.open()
    storing.clock.advance(FLUSH_DELAY_S)
    storing.close(connection)
    storing.write_behind.finish()
    assert [record.status for record in storing.worker.of(StoredUser)] == ["online", "offline"]
    storing.close(storing.open("eve"))
    storing.clock.advance(FLUSH_DELAY_S)
    assert [record.user_id for record in storing.worker.of(StoredUser)] == ["ada", "ada", "eve"]
    assert storing.write_behind.waiting == 0


def test_nothing_is_sent_and_no_timer_runs_while_nothing_happens() -> None:
    storing = StoringNode(stats_interval=0)
    storing.close(storing.open())
    storing.pass_period()
    given = len(storing.worker.records)
    storing.clock.advance(5)
    assert len(storing.worker.records) == given
    assert storing.write_behind.flush not in storing.node.timer


def test_records_wait_while_the_worker_accepts_nothing_and_are_sent_later() -> None:
    storing = StoringNode()
    storing.worker.room = 0
    for _ in range(3):
        storing.close(storing.open())
    storing.clock.advance(10)
    assert storing.worker.records == []
    assert storing.write_behind.is_blocked
    storing.worker.room = 10
    storing.write_behind.flush()
    assert len(storing.worker.of(StoredUser)) == 1
    assert len(storing.worker.of(Change)) == 6
    assert storing.write_behind.waiting_since is None


def test_waiting_records_are_bounded_and_the_newest_of_each_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    storing = StoringNode(log_burst=0)
    storing.worker.room = 0
    for number in range(30):
        storing.close(storing.open("ada"))
        storing.close(storing.open(f"user{number}"))
    storing.clock.advance(5)
    assert storing.write_behind.waiting <= 3 * 10
    storing.worker.room = 100
    storing.clock.advance(5)
    changes = storing.worker.of(Change)
    assert len({change.user_id for change in changes}) == len(changes)
    assert ("user29", "offline") in [(change.user_id, change.status) for change in changes]
    assert storing.metric(DROPPED)


def test_at_the_bound_only_the_newest_change_of_each_user_stays_and_the_others_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 1000)
    storing = StoringNode(log_burst=0)
    storing.worker.room = 0
    made = change_often(storing, 3.0, 10_000, users=10)
    storing.clock.advance(1)
    storing.worker.room = 1000
    storing.clock.advance(5)
    changes = storing.worker.of(Change)
    assert len(changes) < 1000
    assert (len(changes) + storing.metric(MERGED), storing.metric(DROPPED)) == (made, 0)
    assert [change.position for change in changes] == sorted(change.position for change in changes)
    assert {change.user_id: change.status for change in changes} == {f"user{n}": "offline" for n in range(10)}
    last = {record.user_id: (record.status, record.version) for record in storing.worker.of(StoredUser)}
    assert last == {change.user_id: (change.status, change.version) for change in changes}
    assert storing.write_behind.waiting == 0
    assert storing.write_behind.waiting_since is None


def test_the_bound_holds_while_the_worker_accepts_batches_too_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 1000)
    storing = StoringNode(log_burst=0)
    application, users = PresenceService(storing.node), 0
    for _ in range(20):
        for _ in range(2 * MAX_BATCH_RECORDS):
            users += 1
            application.announce(f"user{users}", True)
        storing.clock.advance(FLUSH_DELAY_S)
        assert storing.write_behind.waiting <= 2 * (1000 + 2 * MAX_BATCH_RECORDS)
    assert storing.metric(DROPPED) > 0


def test_no_change_is_left_out_below_the_bound_and_none_waits_long() -> None:
    storing = StoringNode(log_burst=0)
    application = PresenceService(storing.node)
    waited, users = 0.0, 0
    for _ in range(50):
        for _ in range(round(10_000 * FLUSH_DELAY_S)):
            users += 1
            application.announce(f"user{users}", True)
        storing.clock.advance(FLUSH_DELAY_S)
        now = storing.clock.monotonic()
        waited = max(waited, now - (storing.write_behind.waiting_since or now))
    storing.clock.advance(2 * STATE_PERIOD_S)
    assert len(storing.worker.of(Change)) == len(storing.worker.of(StoredUser)) == users
    assert waited < 2 * STATE_PERIOD_S


def test_after_a_pause_of_the_worker_all_waiting_changes_are_sent_in_order() -> None:
    storing = StoringNode(log_burst=0)
    storing.worker.room = 0
    made = change_often(storing, 3.0, 4_500, users=10)
    storing.worker.room = 10_000
    storing.clock.advance(2)
    positions = [change.position for change in storing.worker.of(Change)]
    assert len(positions) == made
    assert positions == sorted(positions)


def test_the_age_of_the_oldest_record_does_not_grow_while_a_backlog_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BATCH_RECORDS", 20)
    storing = StoringNode(log_burst=0)
    storing.worker.room = 0
    change_often(storing, 1.0, 500, users=10)
    storing.worker.room = 10_000
    for _ in range(5):  # as many come as are sent, so the backlog never ends
        change_often(storing, 1.0, 1_000, users=10)
        assert storing.write_behind.waiting > 100
        assert storing.write_behind.waiting_since
        assert storing.clock.monotonic() - storing.write_behind.waiting_since < 2


def test_when_the_server_stops_a_backlog_is_sent_without_waiting_for_more() -> None:
    storing = StoringNode(log_burst=0)
    storing.worker.room = 0
    change_often(storing, 0.6, 10_000, users=10)
    storing.worker.room = 1000
    storing.write_behind.finish()
    storing.clock.advance((storing.write_behind.waiting // MAX_BATCH_RECORDS + 1) * FLUSH_DELAY_S)
    assert storing.write_behind.waiting == 0
    assert {(change.user_id, change.status) for change in storing.worker.of(Change)[-20:]} >= {
        (f"user{n}", "offline") for n in range(10)
    }


def test_last_seen_is_stored_for_a_user_evicted_from_the_directory() -> None:
    storing = StoringNode(log_age=1, heartbeat_interval=1, pong_timeout=1)
    storing.worker.room = 0
    storing.close(storing.open())
    left_ms = storing.clock.now().epoch_ms
    for _ in range(3):
        storing.clock.advance(100)
        storing.node.closed(storing.open("bob"), Ending.LOST, "lost")  # when the grace period ends, the log is trimmed
    storing.clock.advance(100)
    assert storing.node.directory.users.user("ada") is None, "forgotten"
    storing.worker.room = 10
    storing.write_behind.flush()
    seen = {record.user_id: record for record in storing.worker.of(StoredUser)}
    assert (seen["ada"].status, seen["ada"].since_ms, seen["ada"].seen_ms) == ("offline", left_ms, left_ms)


def test_an_invisible_user_was_last_seen_on_becoming_invisible_even_if_the_record_waits_long() -> None:
    storing = StoringNode(log_age=1, heartbeat_interval=1, pong_timeout=1)
    storing.worker.room = 0
    application = PresenceService(storing.node)
    connection = storing.open()
    storing.clock.advance(10)
    application.set_status("ada", Choice(Status.INVISIBLE, NO_DETAILS))
    hidden_ms = storing.clock.now().epoch_ms
    for _ in range(3):
        storing.clock.advance(100)
        storing.node.closed(storing.open("bob"), Ending.LOST, "lost")
    storing.close(connection)
    storing.worker.room = 10
    storing.write_behind.flush()
    seen = {record.user_id: record for record in storing.worker.of(StoredUser)}
    assert (seen["ada"].status, seen["ada"].seen_ms) == ("offline", hidden_ms)


def test_an_invisible_user_was_last_seen_on_becoming_invisible() -> None:
    storing = StoringNode()
    application = PresenceService(storing.node)
    application.set_status("ada", Choice(Status.INVISIBLE, NO_DETAILS))
    storing.clock.advance(60)
    connection = storing.open()
    storing.pass_period()
    (*_, hidden) = storing.worker.of(StoredUser)
    assert (hidden.seen_ms, hidden.active_ms) == (0, 0), "nobody has seen them"
    application.set_status("ada", None)
    storing.clock.advance(60)
    application.set_status("ada", Choice(Status.INVISIBLE, NO_DETAILS))
    since = storing.clock.now().epoch_ms
    storing.clock.advance(60)
    storing.close(connection)
    storing.pass_period()
    (*_, left) = storing.worker.of(StoredUser)
    assert left.seen_ms == since, "that they left tells nobody that they were there"
    assert left.active_ms <= since


def test_changes_are_not_sent_without_a_history_and_webhooks() -> None:
    storing = StoringNode(history_age=0)
    storing.open()
    storing.pass_period()
    assert storing.worker.of(Change) == []
    assert len(storing.worker.of(StoredUser)) == 1


def test_addresses_are_stored_only_with_keep_addresses() -> None:
    storing = StoringNode(keep_addresses=True)
    storing.open()
    storing.pass_period()
    assert [record.address for record in storing.worker.of(StoredSession)] == ["192.0.2.1"]


def test_absent_users_are_found_in_the_live_state_although_records_wait() -> None:
    storing = StoringNode()
    storing.worker.room = 0  # nothing is stored
    application = PresenceService(storing.node)
    storing.open("here")
    storing.node.closed(storing.open("awaited"), Ending.LOST, "lost")
    storing.close(storing.open("left"))
    application.set_status("hidden", Choice(Status.INVISIBLE, NO_DETAILS))
    storing.open("hidden")
    application.announce("announced", online=True)
    users = ["here", "awaited", "left", "hidden", "announced", "never"]
    assert storing.write_behind.absent(users, []) == (["left", "hidden", "never"], [])
    storing.clock.advance(storing.node.settings.grace_lost)
    assert storing.write_behind.absent(users, []) == (["awaited", "left", "hidden", "never"], [])


def test_empty_rooms_are_absent() -> None:
    storing = StoringNode()
    ada = storing.open("ada", "presenced.v1")
    for name in ("lobby", "hall"):
        storing.node.received(ada, f'{{"type":"JOIN","room":"{name}"}}')
    storing.node.received(ada, '{"type":"LEAVE","room":"hall"}')
    assert storing.write_behind.absent([], ["lobby", "hall", "cellar"]) == ([], ["hall", "cellar"])


def test_nobody_is_absent_while_the_server_stops() -> None:
    """The stop ends all connections, and users return after the restart. Others are not notified of them."""
    storing = StoringNode()
    ada = storing.open("ada", "presenced.v1")
    storing.node.received(ada, '{"type":"JOIN","room":"lobby"}')
    list(storing.node.drain())
    assert ada.closed_with
    assert storing.write_behind.absent(["ada", "never"], ["lobby"]) == ([], [])


def test_the_state_of_users_is_known_while_their_records_wait() -> None:
    storing = StoringNode()
    storing.worker.room = 0
    storing.close(storing.open())
    storing.clock.advance(FLUSH_DELAY_S)
    left_ms = storing.clock.now().epoch_ms - int(FLUSH_DELAY_S * 1000)
    found = storing.write_behind.waiting_of(["ada", "never"])
    assert {user_id: (record.status, record.seen_ms) for user_id, record in found.items()} == {
        "ada": ("offline", left_ms)
    }
    storing.worker.room = 9
    storing.write_behind.flush()
    assert storing.write_behind.waiting_of(["ada"]) == {}


def test_the_id_of_a_session_is_a_secret_and_is_not_stored() -> None:
    storing = StoringNode()
    connection = storing.open(subprotocol="presenced.v1")
    storing.pass_period()
    (session,) = storing.worker.of(StoredSession)
    assert session.protocol == "presenced.v1"
    assert len(session.session) == 32
    assert connection.session.session_id not in str(session)


def test_a_resumed_session_is_open_again() -> None:
    storing = StoringNode()
    first = storing.open(subprotocol="presenced.v1")
    storing.node.closed(first, Ending.LOST, "lost")
    storing.pass_period()
    second = FakeConnection(storing.node.closed)
    query = f"userId=ada&session={first.session.session_id}".encode()
    storing.node.opened(second, request(query, "presenced.v1"))
    storing.pass_period()
    lost, resumed = storing.worker.of(StoredSession)
    assert (lost.session_key, lost.reason, bool(lost.closed_ms)) == (first.connection_id, "lost", True)
    assert (resumed.session_key, resumed.connection_id) == (first.connection_id, second.connection_id)
    assert resumed.closed_ms is None


def test_a_replaced_connection_does_not_end_its_session() -> None:
    storing = StoringNode()
    first = storing.open(subprotocol="presenced.v1")
    second = FakeConnection(storing.node.closed)
    query = f"userId=ada&session={first.session.session_id}".encode()
    storing.node.opened(second, request(query, "presenced.v1"))
    assert first.closed_with
    storing.pass_period()
    assert storing.worker.of(StoredSession)[-1].closed_ms is None


def test_a_choice_restored_late_does_not_override_a_newer_one() -> None:
    storing = StoringNode(restored=False)
    ada, bob = storing.open("ada", "presenced.v1"), storing.open("bob", "presenced.v1")
    storing.node.received(ada, '{"type":"SET_STATUS","status":"busy"}')
    storing.node.received(ada, '{"type":"SET_STATUS","status":"auto"}')
    storing.clock.advance(1)
    away = stored_choice("away", "gone fishing")
    storing.write_behind.restore([RestoredChoices("ada", away), RestoredChoices("bob", away)])
    storing.write_behind.finish_restore(7)
    storing.pass_period()
    now = {record.user_id: record.status for record in storing.worker.of(StoredUser)}
    assert now == {"ada": "online", "bob": "away"}
    assert [m["status"] for m in bob.messages if m["type"] == "SELF"][-1] == "away"


def test_auto_chosen_since_the_start_overrides_a_choice_restored_late() -> None:
    """Others see no change, but `auto` is still a choice. A backend may make it, also for an absent user."""
    storing = StoringNode(restored=False)
    ada, _ = storing.open("ada", "presenced.v1"), storing.open("eve", "presenced.v1")
    storing.node.received(ada, '{"type":"SET_STATUS","status":"auto"}')
    application = PresenceService(storing.node)
    application.set_status("eve", None)
    application.set_status("fay", choice_of("auto"))
    stored = RestoredChoices(
        "ada", stored_choice("busy"), stored_choice("away", until=storing.clock.now().epoch_ms + 60_000)
    )
    storing.write_behind.restore(
        [stored, structs.replace(stored, user_id="eve"), structs.replace(stored, user_id="fay")]
    )
    storing.open("fay")
    assert [storing.node.directory.users.status(user_id) for user_id in ("ada", "eve", "fay")] == ["online"] * 3


def test_a_permanent_choice_restored_late_returns_when_a_temporary_one_ends() -> None:
    storing = StoringNode(restored=False)
    ada = storing.open("ada", "presenced.v1")
    storing.node.received(ada, '{"type":"SET_STATUS","status":"away","expiresIn":10}')
    ends = storing.clock.now().epoch_ms + 60_000
    storing.write_behind.restore(
        [RestoredChoices("ada", stored_choice("busy", "writing"), stored_choice("online", until=ends))]
    )
    storing.write_behind.finish_restore(0)
    assert storing.node.directory.users.status("ada") == "away"
    storing.clock.advance(10)
    assert [(m["status"], m.get("text")) for m in ada.messages if m["type"] == "SELF"][-1] == ("busy", "writing")


def test_nothing_of_a_user_who_was_erased_since_the_start_is_restored() -> None:
    storing = StoringNode(restored=False)
    application = PresenceService(storing.node)
    application.forget("ada")
    storing.write_behind.restore(
        [
            RestoredChoices("ada", stored_choice("busy", "secret")),
            StoredClaim("ada", "calendar", "busy", "secret"),
            RestoredDisplay("ada", b'{"name":"secret"}'),
        ]
    )
    storing.open("ada", "presenced.v1")
    storing.pass_period()
    assert storing.worker.of(Change)[-1].view == View(Status.ONLINE)


def test_a_claim_cleared_before_it_is_restored_stays_cleared() -> None:
    """The backend learns that there was none, and the stored claim is deleted."""
    storing = StoringNode(restored=False)
    application = PresenceService(storing.node)
    assert not application.clear_claim("ada", "calendar")
    storing.pass_period()
    assert storing.worker.of(StoredClaim) == [StoredClaim("ada", "calendar")], "without a status: deleted"
    storing.write_behind.restore([StoredClaim("ada", "calendar", "busy")])
    assert application.claims_of("ada") == ()


def test_a_row_with_a_status_that_cannot_be_chosen_is_not_restored() -> None:
    storing = StoringNode(restored=False)
    storing.write_behind.restore([RestoredChoices(status, stored_choice(status)) for status in ("offline", "gone")])
    for user_id in ("offline", "gone"):
        storing.open(user_id)
        assert storing.node.directory.users.status(user_id) == "online"


def test_display_data_is_restored_unless_it_is_invalid() -> None:
    storing = StoringNode()
    here, data = storing.open("here", "presenced.v1"), b'{"name":"Ada"}'
    broken = [b"{", b"[1]", b'{"a":1e999}', b'{"name":"' + b"x" * 1024 + b'"}', b'{"a":1}{']
    storing.write_behind.restore([RestoredDisplay(name, data) for name in ("here", "late")])
    storing.write_behind.restore([RestoredDisplay(f"broken{number}", given) for number, given in enumerate(broken)])
    for user_id in ("late", *(f"broken{number}" for number in range(len(broken)))):
        storing.open(user_id)
    storing.pass_period()
    assert [m.get("display") for m in here.messages if m["type"] == "SELF"] == [None, {"name": "Ada"}]
    given_of = {record.user_id: record.display for record in storing.worker.of(StoredUser) if record.display}
    assert given_of == {"here": data, "late": data}
    shown = {change.user_id: change.view.display for change in storing.worker.of(Change) if change.view.display}
    assert shown == given_of


def test_a_temporary_choice_is_restored_for_the_rest_of_its_time() -> None:
    storing = StoringNode()
    until = storing.clock.now().epoch_ms + 60_000
    storing.write_behind.restore(
        [
            RestoredChoices("ada", stored_choice("away"), stored_choice("busy", until=until)),
            RestoredChoices("eve", stored_choice("no")),
        ]
    )
    storing.open("ada")
    storing.open("eve")
    storing.pass_period()
    storing.clock.advance(60)
    assert [record.status for record in storing.worker.of(Change) if record.user_id == "ada"] == ["busy", "away"]
    assert [record.status for record in storing.worker.of(Change) if record.user_id == "eve"] == ["online"]


def test_claims_are_stored_and_restored_unless_set_or_cleared_since() -> None:
    storing = StoringNode(restored=False)
    storing.worker.room = 0
    application = PresenceService(storing.node)
    application.set_claim("ada", Claim("call", Status.BUSY))
    application.set_claim("ada", Claim("agent", Status.AWAY))
    application.clear_claim("ada", "agent")
    ends = storing.clock.now().epoch_ms + 60_000
    storing.write_behind.restore(
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
    storing.worker.room = 10
    storing.write_behind.flush()
    assert {(record.source, record.status) for record in storing.worker.of(StoredClaim)} == {
        ("call", "busy"),
        ("agent", ""),
    }
    storing.clock.advance(61)
    assert [claim.source for claim in application.claims_of("ada")] == ["call"]


def test_positions_continue_above_the_given_one() -> None:
    storing = StoringNode()
    storing.write_behind.finish_restore(1_000_000)
    storing.open()
    storing.pass_period()
    (change,) = storing.worker.of(Change)
    assert (change.position, change.version) == (1_000_001, 1_000_001)


def test_a_revocation_is_stored_unless_its_id_has_a_character_that_names_must_not_contain() -> None:
    storing = StoringNode()
    storing.write_behind.revoked(StoredRevocation("user", "ada", 1.0, 2.0))
    storing.write_behind.revoked(StoredRevocation("token", "\ud800", 1.0, 2.0))
    storing.pass_period()
    assert storing.worker.records == [StoredRevocation("user", "ada", 1.0, 2.0)]


def test_revocations_are_stored_for_users_in_all_scripts() -> None:
    storing = StoringNode()
    storing.write_behind.revoked(StoredRevocation("user", "\u5c71\u7530\u3000\u592a\u90ce", 1.0, 2.0))
    storing.pass_period()
    assert storing.worker.records == [StoredRevocation("user", "\u5c71\u7530\u3000\u592a\u90ce", 1.0, 2.0)]


def test_stored_data_is_restored_on_one_line_and_only_if_clients_can_parse_the_data() -> None:
    """An earlier version stored it unchanged, and another program may have written it."""
    storing = StoringNode()
    broken = b'{"a":\n\r 1,"b":'
    storing.write_behind.restore(
        [
            RestoredChoices("ada", stored_choice("away", data=broken + b"2}")),
            RestoredChoices("bob", stored_choice("away", data=broken)),
            StoredClaim("eve", "call", "busy", data=broken + b"[3]\n}", set_ms=1),
            RestoredDisplay("dee", broken + b"2}"),
        ]
    )
    for user_id in ("ada", "bob", "eve", "dee"):
        storing.open(user_id)
    storing.pass_period()
    shown = {change.user_id: change.view for change in storing.worker.of(Change)}
    assert {user_id: view.details.data for user_id, view in shown.items()} == {
        "ada": b'{"a":1,"b":2}',
        "bob": b"",
        "eve": b'{"a":1,"b":[3]}',
        "dee": b"",
    }
    assert shown["dee"].display == b'{"a":1,"b":2}'


def test_no_record_of_an_erased_user_is_sent() -> None:
    storing = StoringNode(log_burst=0)
    storing.worker.room = 0
    change_often(storing, 0.6, 10_000, users=1000)
    assert storing.write_behind.waiting > 1000
    storing.write_behind.forget("user7")
    storing.close(storing.open("ada"))
    storing.close(storing.open("bob"))
    storing.write_behind.forget("ada")
    storing.worker.room = 1000
    storing.clock.advance(2)
    assert storing.worker.of(Change)
    assert storing.write_behind.waiting == 0
    assert not [record for record in storing.worker.records if getattr(record, "user_id", "") in ("ada", "user7")]


def test_records_are_sent_after_all_that_waited_were_of_an_erased_user() -> None:
    storing = StoringNode()
    storing.worker.room = 0
    storing.open("ada")
    storing.clock.advance(1)
    storing.write_behind.forget("ada")
    assert (storing.write_behind.waiting, storing.write_behind.waiting_since) == (0, None)
    storing.clock.advance(2)
    storing.worker.room = 1000
    storing.open("bob")
    storing.pass_period()
    assert [record.user_id for record in storing.worker.of(StoredUser)] == ["bob"]


def test_a_claim_and_a_revocation_with_the_same_names_are_both_stored() -> None:
    storing = StoringNode()
    storage = storing.node.storage
    assert storage is not None
    storage.revoked(StoredRevocation("user", "calendar", 1.0, 2.0))
    storage.claimed("user", Claim("calendar", Status.BUSY))
    storing.pass_period()
    assert [record.subject for record in storing.worker.of(StoredRevocation)] == ["calendar"]
    assert [(record.user_id, record.source) for record in storing.worker.of(StoredClaim)] == [("user", "calendar")]
