"""A store that evicts keys: nodes notice it, and write again what was in them."""

from __future__ import annotations

import pytest
from tests.support.cluster_harness import ClusterHarness
from tests.support.node_harness import statuses


@pytest.mark.parametrize("lost", ["record", "contribution"])
def test_a_lost_key_is_written_again_and_nobody_is_shown_offline(lost: str) -> None:
    cluster = ClusterHarness()
    here, there = cluster.nodes["a"], cluster.nodes["b"]
    watcher = there.watch("ada", "bob")
    here.connect("ada")
    there.connect("bob")
    cluster.run(2, step=0.05)
    assert statuses(there.new_messages(watcher))[-1][1] == "online"
    slot = here.cluster.shards[0].replica.slot
    if lost == "record":
        cluster.hub.evict(0, "ada")
    else:
        cluster.hub.evict_contributions(0, slot)
    cluster.run(5, step=0.05)
    store = cluster.hub.shards[0]
    assert "ada" in store.users
    assert (slot, "ada") in store.sessions
    late = cluster.start("c")
    cluster.run(40, step=0.05)
    assert late.node.directory.users.status("ada").value == "online"
    assert cluster.statuses("ada") == {"a": "online", "b": "online"}
    assert statuses(there.new_messages(watcher)) == []


def test_a_store_in_order_is_not_read_again() -> None:
    cluster = ClusterHarness()
    node = cluster.nodes["a"]
    loads = 0

    def count() -> None:
        nonlocal loads
        loads += 1

    node.cluster.on_loaded = count
    for number in range(40):
        tab = node.connect(f"user{number % 7}")
        cluster.run(0.4, step=0.05)
        node.end(tab)
    cluster.run(10, step=0.05)
    assert loads == 0
