"""Changes while very many come."""

from __future__ import annotations

from tests.support.storing_harness import StoringHarness, come_and_go

from presenced.node.service import PresenceService
from presenced.presence.model import Change
from presenced.storage.noted import CROWDED, CROWDED_PERIOD, PORTION
from presenced.storage.records import UserFact
from presenced.storage.write_behind import PERIOD


def test_while_very_many_changes_come_those_that_a_newer_one_follows_are_left_out() -> None:
    harness = StoringHarness(log_burst=0)
    made = come_and_go(harness, 3.0, 2 * CROWDED, users=10)
    harness.clock.advance(CROWDED_PERIOD)
    changes = harness.keeper.of(Change)
    left_out = harness.node.metrics.registry.get_sample_value("presenced_storage_facts_merged_total")
    assert len(changes) + (left_out or 0) == made
    assert len(changes) < made / 5  # before it is seen that many come, all are given
    assert [change.position for change in changes] == sorted(change.position for change in changes)
    assert {change.user_id: change.status for change in changes} == {f"user{n}": "offline" for n in range(10)}
    last = {fact.user_id: (fact.status, fact.version) for fact in harness.keeper.of(UserFact)}
    assert last == {change.user_id: (change.status, change.version) for change in changes}
    assert harness.recorder.waiting == 0
    assert harness.recorder.since is None


def test_of_very_many_users_who_change_once_none_is_left_out_and_they_wait_little_longer_than_a_period() -> None:
    harness = StoringHarness(log_burst=0)
    application = PresenceService(harness.node)
    waited, users = 0.0, 0
    for _ in range(100):
        for _ in range(round(2 * CROWDED * PERIOD)):
            users += 1
            application.announce(f"user{users}", True)
        harness.clock.advance(PERIOD)
        waited = max(waited, harness.clock.monotonic() - (harness.recorder.since or harness.clock.monotonic()))
    harness.clock.advance(2 * CROWDED_PERIOD)
    assert len(harness.keeper.of(Change)) == len(harness.keeper.of(UserFact)) == users
    assert waited < 2 * CROWDED_PERIOD


def test_changes_are_all_given_while_not_so_many_come() -> None:
    harness = StoringHarness(log_burst=0)
    made = come_and_go(harness, 2.0, 0.9 * CROWDED, users=10)
    assert len(harness.keeper.of(Change)) == made


def test_after_a_pause_of_the_keeper_all_changes_that_waited_are_given() -> None:
    harness = StoringHarness(log_burst=0)
    harness.keeper.room = 0
    made = come_and_go(harness, 3.0, 0.9 * CROWDED, users=10)
    harness.keeper.room = 10_000
    harness.clock.advance(2)
    assert len(harness.keeper.of(Change)) == made


def test_at_the_end_what_was_to_be_merged_is_given_without_waiting_for_more() -> None:
    harness = StoringHarness(log_burst=0)
    come_and_go(harness, 0.6, 2 * CROWDED, users=10)
    harness.recorder.finish()
    harness.clock.advance(harness.recorder.waiting // PORTION * PERIOD)
    assert harness.recorder.waiting == 0
    assert {(change.user_id, change.status) for change in harness.keeper.of(Change)[-10:]} == {
        (f"user{n}", "offline") for n in range(10)
    }
