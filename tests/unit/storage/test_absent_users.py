"""Rows of absent users, and rows after decisions that change nothing for others."""

from __future__ import annotations

import pytest
from tests.support.storing_harness import StoringNode

from presenced.node.service import PresenceService
from presenced.presence.model import NO_DETAILS, Choice, Status
from presenced.presence.status import choice_of
from presenced.storage import collected as module
from presenced.storage.records import RestoredChoices, RestoredDisplay, StoredClaim, StoredUser, choice_json


def test_a_choice_that_others_do_not_see_is_stored_with_a_version_that_replaces_the_row() -> None:
    """The user left before the restart. Nothing visible has happened since, so the user has no version yet."""
    storing = StoringNode()
    storing.write_behind.finish_restore(1_000)  # the row has a version up to this
    PresenceService(storing.node).set_status("ada", Choice(Status.INVISIBLE, NO_DETAILS))
    storing.pass_period()
    PresenceService(storing.node).set_status("ada", None)
    storing.open()
    storing.pass_period()
    hidden, shown = storing.worker.of(StoredUser)
    assert 1_000 <= hidden.version < shown.version
    assert (hidden.status, shown.status) == ("offline", "online")


@pytest.mark.parametrize("is_waiting", [False, True])
def test_a_choice_that_is_cleared_while_the_user_is_absent_is_stored_as_cleared(is_waiting: bool) -> None:
    """The user is evicted together with the choice."""
    storing = StoringNode(log_age=1, heartbeat_interval=1, pong_timeout=1)
    application, display = PresenceService(storing.node), b'{"name":"Ada"}'
    storing.write_behind.restore([RestoredDisplay("ada", display)])
    connection = storing.open()
    application.set_status("ada", choice_of("busy"))
    storing.pass_period()
    storing.worker.room = 0 if is_waiting else 1000
    storing.close(connection)
    left_ms = storing.clock.now().epoch_ms
    storing.clock.advance(100)
    storing.node.publisher.expire()  # trims the log of recent changes
    application.set_status("ada", None)
    assert storing.node.directory.users.user("ada") is None, "evicted"
    storing.worker.room = 1000
    storing.clock.advance(2)
    records = [record for record in storing.worker.of(StoredUser) if record.user_id == "ada"]
    assert records[0].chosen
    assert (records[-1].chosen, records[-1].status, records[-1].display) == (b"", "offline", display)
    assert [record.version for record in records] == sorted(record.version for record in records)
    assert max(record.seen_ms for record in records) == left_ms, "the row keeps the latest time"


def test_events_that_change_nothing_of_an_unknown_user_make_no_row() -> None:
    storing = StoringNode()
    application = PresenceService(storing.node)
    application.announce("ada", online=False)
    application.clear_claim("ada", "calendar")
    application.disconnect("ada")
    application.forget_display("ada")
    storing.pass_period()
    assert storing.worker.records == []


def test_a_record_without_a_version_does_not_get_ahead_of_a_newer_one_of_its_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_BATCH_RECORDS", 1)
    storing = StoringNode(log_burst=0)
    application = PresenceService(storing.node)
    storing.worker.room = 1
    application.announce("bob", online=True)
    application.set_status("ada", choice_of("busy"))
    storing.pass_period()
    assert [record.user_id for record in storing.worker.of(StoredUser)] == ["bob"], "ada is due, and waits"
    application.set_status("ada", None)
    assert storing.node.directory.users.user("ada") is None, "evicted"
    storing.open("ada")
    application.announce("bob", online=False)  # a newer version
    storing.worker.room = 1000
    storing.clock.advance(2)
    records = [record for record in storing.worker.of(StoredUser) if record.user_id == "ada"]
    assert [record.version for record in records] == sorted(record.version for record in records)
    assert records[-1].status == "online"


def test_restored_data_is_not_stored_again() -> None:
    """The row may belong to another server, which has shown the user since."""
    storing = StoringNode(restored=False)
    storing.write_behind.restore(
        [
            RestoredChoices("ada", choice_json(choice_of("busy"))),
            StoredClaim("bob", "calendar", "away", set_ms=1),
            RestoredDisplay("ada", b'{"name":"Ada"}'),
        ]
    )
    storing.write_behind.finish_restore(7)
    storing.pass_period()
    assert storing.worker.records == []
    storing.open("ada")
    storing.pass_period()
    (record,) = storing.worker.of(StoredUser)
    assert (record.status, bool(record.chosen), bool(record.display)) == ("busy", True, True)
