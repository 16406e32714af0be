"""Changes while very many come."""

from __future__ import annotations

from tests.support.recording import House, come_and_go

from presenced.node.service import PresenceService
from presenced.presence.model import Change
from presenced.storage.noted import CROWDED, CROWDED_PERIOD, PORTION
from presenced.storage.records import StoredUser
from presenced.storage.write_behind import PERIOD


def test_while_very_many_changes_come_those_that_a_newer_one_follows_are_left_out() -> None:
    house = House(log_burst=0)
    made = come_and_go(house, 3.0, 2 * CROWDED, users=10)
    house.clock.advance(CROWDED_PERIOD)
    changes = house.keeper.of(Change)
    left_out = house.node.metrics.registry.get_sample_value("presenced_storage_facts_merged_total")
    assert len(changes) + (left_out or 0) == made
    assert len(changes) < made / 5  # before it is seen that many come, all are given
    assert [change.position for change in changes] == sorted(change.position for change in changes)
    assert {change.user_id: change.status for change in changes} == {f"user{n}": "offline" for n in range(10)}
    last = {fact.user_id: (fact.status, fact.version) for fact in house.keeper.of(StoredUser)}
    assert last == {change.user_id: (change.status, change.version) for change in changes}
    assert house.recorder.waiting == 0
    assert house.recorder.since is None


def test_of_very_many_users_who_change_once_none_is_left_out_and_they_wait_little_longer_than_a_period() -> None:
    house = House(log_burst=0)
    application = PresenceService(house.node)
    waited, users = 0.0, 0
    for _ in range(100):
        for _ in range(round(2 * CROWDED * PERIOD)):
            users += 1
            application.announce(f"user{users}", True)
        house.clock.advance(PERIOD)
        waited = max(waited, house.clock.monotonic() - (house.recorder.since or house.clock.monotonic()))
    house.clock.advance(2 * CROWDED_PERIOD)
    assert len(house.keeper.of(Change)) == len(house.keeper.of(StoredUser)) == users
    assert waited < 2 * CROWDED_PERIOD


def test_changes_are_all_given_while_not_so_many_come() -> None:
    house = House(log_burst=0)
    made = come_and_go(house, 2.0, 0.9 * CROWDED, users=10)
    assert len(house.keeper.of(Change)) == made


def test_after_a_pause_of_the_keeper_all_changes_that_waited_are_given() -> None:
    house = House(log_burst=0)
    house.keeper.room = 0
    made = come_and_go(house, 3.0, 0.9 * CROWDED, users=10)
    house.keeper.room = 10_000
    house.clock.advance(2)
    assert len(house.keeper.of(Change)) == made


def test_at_the_end_what_was_to_be_merged_is_given_without_waiting_for_more() -> None:
    house = House(log_burst=0)
    come_and_go(house, 0.6, 2 * CROWDED, users=10)
    house.recorder.finish()
    house.clock.advance(house.recorder.waiting // PORTION * PERIOD)
    assert house.recorder.waiting == 0
    assert {(change.user_id, change.status) for change in house.keeper.of(Change)[-10:]} == {
        (f"user{n}", "offline") for n in range(10)
    }
