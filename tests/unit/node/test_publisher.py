"""The publisher: results of many users that one event computes together."""

from __future__ import annotations

import pytest
from tests.support.node_harness import NodeHarness, statuses

from presenced.delivery import broadcaster
from presenced.presence.model import Ending


def test_a_watcher_that_a_mass_loss_makes_slow_is_notified_of_every_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """The room's changes take positions above those of all users, and the batch is flushed before the last user."""
    monkeypatch.setattr(broadcaster, "MAX_BATCH_EVENTS", 4)
    harness = NodeHarness()
    watcher = harness.enter("userId=watcher")
    members = [harness.enter(f"userId={number}&watch=none") for number in range(6)]
    for member in members:
        harness.send(member, "JOIN", room="lobby")
    for member in members:
        harness.end(member, Ending.LOST)
    harness.clock.advance(14.9)
    harness.new_messages(watcher)
    watcher.full_after, watcher.on_full = 1, lambda: harness.node.paused(watcher)
    harness.clock.advance(0.2)
    assert watcher.paused
    told = statuses(harness.new_messages(watcher))
    watcher.paused = False
    harness.node.resumed(watcher)
    assert sorted({*told, *statuses(harness.new_messages(watcher))}) == [(number, "offline") for number in range(6)]
