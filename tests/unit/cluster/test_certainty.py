"""A node that has lost the store says so, and marks what other nodes may have changed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.cluster_harness import ClusterHarness, ClusterNode
from tests.support.fakes import FakeConnection
from tests.support.node_harness import statuses, types

from presenced.cluster.memory.hub import MemoryHub
from presenced.cluster.sharding import shard_of
from presenced.delivery.batch import Batch
from presenced.presence.model import Ending


def watched(node: ClusterNode, *users: str) -> dict[str, tuple[str, bool]]:
    """Return status and mark of each user, as a new client of the node sees them."""
    client = node.enter("userId=new&watch=none")
    messages = node.send(client, "WATCH", id=1, users=list(users))
    node.end(client, Ending.CLOSED)
    records = [user for message in messages for user in message.get("users", [])]
    return {str(record["userId"]): (record["status"], "certainty" in record) for record in records}


def certainty(node: ClusterNode, client: FakeConnection) -> list[dict[str, Any]]:
    """Return the messages about certainty since the last call."""
    return [m for m in node.new_messages(client) if m["type"] == "CERTAINTY"]


def test_a_node_without_the_store_is_stale_until_it_has_read_what_happened() -> None:
    cluster = ClusterHarness()
    here, there = cluster.nodes["a"], cluster.nodes["b"]
    watcher, other = here.watch("ada", "bob", "carl"), there.watch("ada")
    here.connect("ada")
    bob = there.connect("bob")
    cluster.run()
    here.new_messages(watcher)
    lost_ms = cluster.clock.now().epoch_ms
    cluster.hub.cut("a")
    cluster.run(5, step=0.05)
    [stale] = certainty(here, watcher)
    assert stale["certainty"] == "stale"
    assert lost_ms <= stale["since"] <= lost_ms + 4_000
    assert watched(here, "ada", "bob", "nobody") == {
        "ada": ("online", False),
        "bob": ("online", True),
        "nobody": ("offline", True),
    }
    there.end(bob)
    there.connect("carl")
    cluster.run(3, step=0.05)
    assert here.new_messages(watcher) == []
    cluster.hub.heal("a")
    cluster.run(2, step=0.05)
    messages = [m for m in here.new_messages(watcher) if m["type"] in ("CERTAINTY", "PRESENCE_CHANGES")]
    assert statuses(messages) == [("bob", "offline"), ("carl", "online")], "only differences"
    assert messages[-1] == {"type": "CERTAINTY", "certainty": "live"}
    assert not any("certainty" in user for message in messages for user in message.get("users", []))
    assert watched(here, "ada", "bob") == {"ada": ("online", False), "bob": ("offline", False)}
    assert certainty(there, other) == [], "the other node has never lost the store"


def test_a_watcher_that_becomes_slow_when_the_node_loses_the_store_receives_what_happened_meanwhile() -> None:
    cluster = ClusterHarness()
    here = cluster.nodes["a"]
    watcher = here.watch("ada")
    cluster.run()
    cluster.hub.cut("a")
    here.connect("ada")  # not committed, so not shown until the node is on its own
    here.new_messages(watcher)
    send = watcher.send_batch

    def fill_up(batch: Batch) -> int:
        size = send(batch)
        watcher.paused = True
        here.node.paused(watcher)
        return size

    watcher.send_batch = fill_up  # type: ignore[method-assign]  # a transport that is full after one message
    cluster.run(5, step=0.05)
    watcher.send_batch = send  # type: ignore[method-assign]  # as above
    assert types(here.new_messages(watcher)) == ["CERTAINTY"]
    watcher.paused = False
    here.node.resumed(watcher)
    assert statuses(here.new_messages(watcher)) == [("ada", "online")]


def test_a_node_whose_store_is_full_is_on_its_own_until_there_is_memory_again() -> None:
    cluster = ClusterHarness()
    here, there = cluster.nodes["a"], cluster.nodes["b"]
    watcher, other = here.watch("ada", "bob"), there.watch("ada", "bob")
    bob = there.connect("bob")
    cluster.run()
    here.new_messages(watcher)
    there.new_messages(other)
    cluster.hub.is_out_of_memory = True
    ada = here.connect("ada")
    cluster.run(1.5)
    messages = here.new_messages(watcher)
    assert statuses(messages) == [("ada", "online")]
    assert [m["certainty"] for m in messages if m["type"] == "CERTAINTY"] == ["stale"]
    assert any("out of memory" in warning for warning in here.cluster.warnings)
    cluster.run(40, step=0.05)
    assert here.new_messages(watcher) == []
    assert statuses(there.new_messages(other)) == [], "nobody is shown offline, and nobody is declared dead"
    here.end(ada)
    cluster.run(0.1)
    assert statuses(here.new_messages(watcher)) == [("ada", "offline")]
    here.connect("ada")
    there.end(bob)
    cluster.hub.is_out_of_memory = False
    cluster.run(2, step=0.05)
    assert statuses(there.new_messages(other))[-1] in (("ada", "online"), ("bob", "offline"))
    messages = here.new_messages(watcher)
    assert ("bob", "offline") in statuses(messages)
    assert [m["certainty"] for m in messages if m["type"] == "CERTAINTY"] == ["live"]
    assert cluster.statuses("ada") == {"a": "online", "b": "online"}
    assert cluster.statuses("bob") == {"a": "offline", "b": "offline"}
    assert here.cluster.warnings == []


@pytest.mark.parametrize("shards", [1, 4])
def test_a_store_that_is_full_has_one_batch_of_a_node_in_flight(shards: int) -> None:
    """Also when the node becomes local while it waits for memory: the store's link would refuse a second batch."""
    cluster = ClusterHarness(shards=shards)
    here, there = cluster.nodes["a"], cluster.nodes["b"]
    people = [here.enter(f"userId=user {number}&watch=none") for number in range(8)]
    watcher = there.watch(*(f"user {number}" for number in range(8)))
    cluster.run()
    cluster.hub.is_out_of_memory = True
    for turn in range(150):
        here.send(people[turn % 8], "SET_STATUS", status=("busy", "away")[turn % 16 // 8])
        cluster.run(0.02)
    cluster.hub.is_out_of_memory = False
    cluster.run(2, step=0.05)
    there.new_messages(watcher)
    assert {cluster.statuses(f"user {number}")["b"] for number in range(8)} <= {"busy", "away"}
    assert all(len(set(cluster.statuses(f"user {number}").values())) == 1 for number in range(8))


@pytest.mark.parametrize("freed_after_s", [0.9, 1.0, 1.05, 1.1, 1.3])
def test_a_store_that_has_memory_again_while_a_batch_is_on_its_way_accepts_it(freed_after_s: float) -> None:
    cluster = ClusterHarness()
    here = cluster.nodes["a"]
    cluster.hub.set_delay("a", 0.05)
    cluster.run(4, step=0.05)
    cluster.hub.is_out_of_memory = True
    here.connect("ada")
    for _ in range(round(freed_after_s / 0.01)):
        cluster.run(0.01, step=0.005)
    cluster.hub.is_out_of_memory = False
    here.connect("bob")
    cluster.run(5, step=0.05)
    here.connect("carl")
    cluster.run(1, step=0.05)
    for user_id in ("ada", "bob", "carl"):
        assert cluster.statuses(user_id) == {"a": "online", "b": "online"}
    assert here.cluster.warnings == []


def test_a_store_that_is_full_ends_being_so_without_a_change() -> None:
    cluster = ClusterHarness()
    node = cluster.nodes["a"]
    cluster.hub.is_out_of_memory = True
    ada = node.connect("ada")
    cluster.run(2)
    node.end(ada)  # now nothing differs from what the store has
    cluster.hub.is_out_of_memory = False
    cluster.run(2, step=0.05)
    assert not node.cluster.is_local


def test_a_user_of_this_node_is_certain_and_no_longer_when_gone() -> None:
    cluster = ClusterHarness()
    node = cluster.nodes["a"]
    ada = node.connect("ada")
    cluster.nodes["b"].connect("bob")
    cluster.run()
    cluster.hub.cut("a")
    cluster.run(5, step=0.05)
    bob = node.connect("bob")
    assert watched(node, "ada", "bob") == {"ada": ("online", False), "bob": ("online", False)}
    node.end(ada)
    node.end(bob)
    assert watched(node, "ada", "bob") == {"ada": ("offline", True), "bob": ("online", True)}


def test_a_short_loss_is_not_mentioned() -> None:
    cluster = ClusterHarness()
    node = cluster.nodes["a"]
    watcher = node.watch("ada")
    cluster.hub.fail_over()
    cluster.run(5, step=0.05)
    assert certainty(node, watcher) == []


def test_an_emptied_store_is_read_again_before_the_node_is_certain() -> None:
    cluster = ClusterHarness()
    node = cluster.nodes["a"]
    watcher = node.watch("ada")
    cluster.nodes["b"].connect("ada")
    cluster.run()
    node.new_messages(watcher)
    cluster.hub.is_reachable = False
    cluster.run(5, step=0.05)
    cluster.hub.flush()
    cluster.hub.is_reachable = True
    cluster.run(25, step=0.05)
    messages = node.new_messages(watcher)
    assert types([m for m in messages if m["type"] == "CERTAINTY"]) == ["CERTAINTY", "CERTAINTY"]
    assert statuses(messages) == [], "nobody is shown offline"
    assert watched(node, "ada") == {"ada": ("online", False)}


def test_only_users_of_a_lost_shard_are_marked_and_the_node_is_stale_until_the_last_is_back() -> None:
    """A Cluster has lost one master, and then another one: the node reports neither the second nor the first return."""
    cluster = ClusterHarness("")
    hub = MemoryHub(cluster.clock, shards=2)
    node, other = ClusterNode("a", hub, cluster.clock), ClusterNode("b", hub, cluster.clock)
    cluster.run(1, step=0.05)
    assert node.cluster.is_ready
    users = ["ada", "bob", "carl", "dora", "eve", "frank"]
    for user in users:
        other.connect(user)
    cluster.run()
    of_first = {user for user in users if shard_of(user, 2) == 0}
    assert 0 < len(of_first) < len(users)
    watcher = node.watch("ada")
    node.backend.kill()  # from here on, the test reports for it
    newest = [10**9, 10**9]

    def marked() -> set[str]:
        return {user for user, (_, is_marked) in watched(node, *users).items() if is_marked}

    node.cluster.disconnected(1)
    cluster.run(1.1, step=0.05)
    assert (len(certainty(node, watcher)), marked()) == (1, set(users) - of_first)
    node.cluster.disconnected(0)
    cluster.run(1.1, step=0.05)
    assert (len(certainty(node, watcher)), marked()) == (0, set(users))
    node.cluster.reconnected(1, 0)
    assert marked() == set(users), "it is reached, but not read"
    node.cluster.entries(1, (), newest[1])
    assert (len(certainty(node, watcher)), marked()) == (0, of_first)
    node.cluster.reconnected(0, 0)
    node.cluster.entries(0, (), newest[0])
    assert ([m["certainty"] for m in certainty(node, watcher)], marked()) == (["live"], set())


def test_answers_of_the_service_are_marked_too() -> None:
    cluster = ClusterHarness()
    node = cluster.nodes["a"]
    node.connect("ada")
    cluster.nodes["b"].connect("bob")
    cluster.run()
    scope = node.service.scope_of(None)

    def marked() -> dict[str, bool]:
        users = ["ada", "bob", "nobody"]
        return {
            user: scope.record(user, change).certainty == "stale"
            for user, change in zip(users, scope.last_changes(users), strict=True)
        }

    assert marked() == {"ada": False, "bob": False, "nobody": False}
    cluster.hub.cut("a")
    cluster.run(5, step=0.05)
    assert marked() == {"ada": False, "bob": True, "nobody": True}
    assert node.service.stale_since_ms > 0
    cluster.hub.heal("a")
    cluster.run(2, step=0.05)
    assert marked() == {"ada": False, "bob": False, "nobody": False}
    assert node.service.stale_since_ms == 0


def test_a_commit_whose_entry_is_still_to_be_read_is_not_forgotten_after_a_reconnect() -> None:
    """A commit may be answered before an earlier read. A user who leaves in between must be proposed again."""
    cluster = ClusterHarness()
    here = cluster.nodes["a"]
    cluster.run(4, step=0.05)
    replica = here.cluster.shards[0].replica
    read = replica.apply
    replica.apply = lambda entry, when: None  # type: ignore[method-assign]
    ada = here.connect("ada")
    cluster.run(0.02)
    assert "ada" in replica.unread_users()
    replica.verify()
    assert "ada" in replica._outbox.unread().users
    here.end(ada)
    replica.apply = read  # type: ignore[method-assign]
