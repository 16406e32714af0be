"""Decisions that were cleared, and decisions about absent users, when nodes are cut off and the store loses data."""

from __future__ import annotations

import pytest
from tests.support.cluster_harness import ClusterHarness, ClusterNode

from presenced.cluster.replica import cleared_records
from presenced.cluster.replica.cleared_records import CLEARED_S
from presenced.cluster.stamps import MAX_CLEARED_CLAIMS
from presenced.presence.model import Choice, Status, StatusDetails
from presenced.presence.status import Claim, choice_of


def stored(cluster: ClusterHarness) -> set[str]:
    """Return the users with a record in the store."""
    return {user_id for shard in cluster.hub.shards for user_id in shard.users}


def decided(node: ClusterNode, user_id: str) -> tuple[object, ...]:
    """Return what a node knows about the decisions of a user."""
    user = node.node.directory.users.user(user_id)
    if user is None:
        return None, [], False
    return user.choice.status, [claim.source for claim in user.claims], user.announced


def cut_off(cluster: ClusterHarness, name: str) -> None:
    """Cut a node off from the store, until the others have declared it dead."""
    cluster.hub.cut(name)
    cluster.run(25, step=0.05)


def test_what_was_cleared_while_a_node_was_cut_off_does_not_return() -> None:
    cluster = ClusterHarness("abc")
    first, second = cluster.nodes["a"].service, cluster.nodes["b"].service
    first.set_status("ada", choice_of("busy"))
    first.set_claim("bob", Claim("calendar", Status.BUSY))
    first.announce("carl", online=True)
    cluster.run()
    cut_off(cluster, "c")
    second.set_status("ada", None)
    assert second.clear_claim("bob", "calendar")
    second.announce("carl", online=False)
    cluster.run()
    cluster.hub.heal("c")
    cluster.run(40, step=0.05)
    for node in cluster.nodes.values():
        assert [decided(node, user) for user in ("ada", "bob", "carl")] == [(None, [], False)] * 3
    assert cluster.statuses("carl") == dict.fromkeys("abc", "offline")


def test_what_was_cleared_does_not_return_after_the_store_has_lost_everything() -> None:
    cluster = ClusterHarness("abc")
    cluster.nodes["a"].service.set_status("ada", choice_of("busy"))
    cluster.run()
    cut_off(cluster, "c")
    cluster.nodes["b"].service.set_status("ada", None)
    cluster.run()
    cluster.hub.flush()
    cluster.run(10, step=0.05)
    cluster.hub.heal("c")
    cluster.run(40, step=0.05)
    assert [decided(node, "ada")[0] for node in cluster.nodes.values()] == [None, None, None]


def test_decisions_about_absent_users_survive_the_loss_of_everything() -> None:
    cluster = ClusterHarness("ab")
    cluster.nodes["a"].service.set_status("ada", choice_of("busy"))
    cluster.nodes["b"].service.set_claim("bob", Claim("calendar", Status.AWAY, priority=1))
    cluster.run()
    cluster.hub.flush()
    cluster.run(10, step=0.05)
    assert stored(cluster) == {"ada", "bob"}
    late = cluster.restart("c")
    late.connect("ada")
    late.connect("bob")
    cluster.run()
    assert cluster.statuses("ada") == dict.fromkeys("abc", "busy")
    assert cluster.statuses("bob") == dict.fromkeys("abc", "away")


def test_a_decision_that_the_store_has_lost_returns_when_its_user_comes_to_a_node_that_does_not_know_it() -> None:
    cluster = ClusterHarness("ab")
    cluster.nodes["a"].service.set_status("ada", choice_of("busy"))
    cluster.run()
    cluster.hub.flush()
    cluster.nodes["c"] = cluster.start("c")
    cluster.run(0.1)
    cluster.nodes["c"].connect("ada")
    cluster.run(5, step=0.01)
    assert cluster.statuses("ada") == dict.fromkeys("abc", "busy")


def test_a_record_that_only_says_that_something_was_cleared_is_deleted_later() -> None:
    cluster = ClusterHarness("abc")
    cluster.nodes["a"].service.set_status("ada", choice_of("busy"))
    cluster.run()
    cluster.nodes["b"].service.set_status("ada", None)
    cluster.run(CLEARED_S - 60, step=5)
    assert stored(cluster) == {"ada"}
    cluster.run(120, step=5)
    assert stored(cluster) == set()
    assert [list(node.node.directory.decided_users()) for node in cluster.nodes.values()] == [[], [], []]  # type: ignore[attr-defined]  # a `SharedDirectory`


def test_at_the_bound_the_oldest_record_about_something_cleared_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleared_records, "MAX_CLEARED", 10)
    cluster = ClusterHarness("ab")
    users = [f"u{number}" for number in range(15)]
    for user in users:
        cluster.nodes["a"].service.set_status(user, choice_of("busy"))
        cluster.run()
        cluster.nodes["b"].service.set_status(user, None)
        cluster.run()
    cluster.run(5, step=0.05)
    assert stored(cluster) == set(users[5:])


def test_an_end_that_was_known_does_not_replace_a_decision_made_before_it_on_a_node_that_was_cut_off() -> None:
    cluster = ClusterHarness("ab")
    now = cluster.clock.now()
    until_ms = now.epoch_ms + 60_000
    cluster.nodes["a"].service.set_claim("ada", Claim("calendar", Status.BUSY, StatusDetails(until_ms=until_ms), 1))
    cluster.nodes["a"].service.set_status("bob", Choice(Status.AWAY), 60.0)
    cluster.run()
    cut_off(cluster, "b")
    cluster.nodes["b"].service.set_claim("ada", Claim("calendar", Status.AWAY, priority=1))
    cluster.nodes["b"].service.set_status("bob", Choice(Status.BUSY), 600.0)
    cluster.run(60, step=0.05)
    cluster.hub.heal("b")
    cluster.run(20, step=0.05)
    assert [decided(node, "ada")[1] for node in cluster.nodes.values()] == [["calendar"], ["calendar"]]
    assert [decided(node, "bob")[0] for node in cluster.nodes.values()] == [Status.BUSY, Status.BUSY]


def test_a_claim_replaces_one_of_a_node_whose_clock_is_ahead() -> None:
    cluster = ClusterHarness("ab")
    cluster.nodes["a"].service.set_claim("ada", Claim("calendar", Status.BUSY, priority=1))
    cluster.run()
    cluster.clock.step_wall_clock(-5)
    cluster.nodes["b"].service.set_claim("ada", Claim("calendar", Status.AWAY, priority=1))
    cluster.run()
    cluster.nodes["a"].connect("ada")
    cluster.run()
    assert cluster.statuses("ada") == {"a": "away", "b": "away"}


def test_cleared_claims_of_one_user_are_bounded() -> None:
    cluster = ClusterHarness("ab")
    for number in range(MAX_CLEARED_CLAIMS + 5):
        cluster.nodes["a"].service.set_claim("ada", Claim(f"meeting-{number}", Status.BUSY))
        cluster.run()
        cluster.nodes["b"].service.clear_claim("ada", f"meeting-{number}")
        cluster.run()
    [user] = [user for shard in cluster.hub.shards for user in shard.users.values()]
    known = cluster.nodes["a"].cluster.replica_of("ada").records["ada"].stamped
    assert user.user_id == "ada"
    assert known is not None
    assert sorted(claim.source for claim in known.claims) == sorted(
        f"meeting-{number}" for number in range(5, MAX_CLEARED_CLAIMS + 5)
    )


def test_a_choice_that_is_lost_at_a_bound_is_lost_on_all_nodes_and_in_the_store() -> None:
    cluster = ClusterHarness("ab", max_choices=2)
    for user in ("ada", "bob", "carl"):
        cluster.nodes["a"].service.set_status(user, choice_of("busy"))
        cluster.run()
    cluster.run(1)
    assert [decided(node, "ada")[0] for node in cluster.nodes.values()] == [None, None]
    assert cluster.nodes["a"].cluster.replica_of("ada").has_only_cleared("ada")
    items = [item.user_id for logged in cluster.hub.shards[0].log for item in logged.entry.items]
    assert items.count("ada") == 2, "one node has committed that"
    cluster.nodes["b"].connect("ada")
    cluster.run()
    assert cluster.statuses("ada") == {"a": "online", "b": "online"}


def test_a_user_with_a_choice_stays_when_other_users_fill_the_log_of_recent_changes() -> None:
    """The user's sessions were on a node that died, so no event of this node has noted that the user is absent."""
    cluster = ClusterHarness("abc", log_size=2)
    cluster.nodes["a"].service.set_status("ada", choice_of("busy"))
    cluster.nodes["b"].connect("ada")
    cluster.run()
    cluster.nodes["b"].kill()
    cluster.run(20, step=0.05)
    for number in range(10):
        cluster.nodes["a"].end(cluster.nodes["a"].connect(f"u{number}"))
        cluster.run()
    cluster.nodes["c"].connect("ada")
    cluster.run()
    assert (cluster.statuses("ada")["a"], cluster.statuses("ada")["c"]) == ("busy", "busy")
