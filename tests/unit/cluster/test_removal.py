"""Removal of a dead node: nothing delays it, and a node that cannot do it does not take it on."""

from __future__ import annotations

import pytest
from tests.support.cluster_harness import LEASE_S, ClusterHarness

from presenced.cluster.backend import State
from presenced.presence.model import Choice, Status

OUT_WITHIN_S = LEASE_S + 2
"""Seconds after the death of a node within which its users are offline."""


def until_offline(cluster: ClusterHarness, user_id: str, name: str, limit: float) -> float:
    """Let time pass until a node shows a user as offline. Return the seconds."""
    began = cluster.clock.monotonic()
    while cluster.statuses(user_id)[name] != "offline":
        cluster.run(0.25, step=0.05)
        assert cluster.clock.monotonic() - began < limit
    return cluster.clock.monotonic() - began


def test_constant_changes_do_not_delay_the_removal() -> None:
    cluster = ClusterHarness("ab")
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    for number in range(1_000):
        a.connect(f"x{number}")
    b.connect("busy")
    cluster.run(4, step=0.05)
    b.backend.commit_pause_s = 0.01
    a.kill()
    cluster.run(LEASE_S - 0.5, step=0.05)
    for turn in range(1_000):
        b.service.set_status("busy", Choice((Status.BUSY, Status.AWAY)[turn % 2]))
        cluster.run(0.002)
    assert not any(cluster.statuses(f"x{number}")["b"] != "offline" for number in range(1_000))
    assert len(cluster.hub.shards[0].nodes) == 1


@pytest.mark.parametrize("leaves_after_s", [5, 12, 14, 15])
def test_a_node_that_stops_leaves_the_removal_to_another(leaves_after_s: float) -> None:
    cluster = ClusterHarness("abc")
    cluster.nodes["a"].connect("ada")
    cluster.run(4, step=0.05)
    cluster.nodes.pop("a").kill()
    cluster.run(leaves_after_s, step=0.05)
    leaving = cluster.nodes.pop("b")
    leaving.cluster.leave(17)
    cluster.run(2, step=0.05)
    leaving.kill()
    until_offline(cluster, "ada", "c", limit=OUT_WITHIN_S - leaves_after_s)


def test_a_node_that_stops_hands_on_a_removal_that_it_has_begun() -> None:
    cluster = ClusterHarness("abc")
    for number in range(1_000):
        cluster.nodes["a"].connect(f"x{number}")
    cluster.run(4, step=0.05)
    cluster.hub.set_delay("c", 0.3)
    cluster.nodes.pop("a").kill()
    while not any(node.state is State.DEAD for node in cluster.hub.shards[0].nodes.values()):
        cluster.run(0.005)
    leaving = cluster.nodes.pop("b")
    leaving.cluster.leave(17)
    cluster.run(2, step=0.05)
    leaving.kill()
    cluster.run(8, step=0.05)
    assert not any(cluster.statuses(f"x{number}")["c"] != "offline" for number in range(1_000))


def test_a_node_that_loads_takes_no_removal_on() -> None:
    cluster = ClusterHarness("ab")
    for number in range(200):
        cluster.nodes["b"].connect(f"y{number}")
    cluster.nodes["a"].connect("ada")
    cluster.run(4, step=0.05)
    cluster.hub.page_size, cluster.hub.delay = 1, 0.05
    cluster.nodes["c"] = cluster.start("c")
    cluster.run(4, step=0.05)
    assert cluster.nodes["c"].cluster.state == State.LOADING
    cluster.hub.set_delay("b", 0.2)  # so the node that loads would be the first
    cluster.nodes.pop("a").kill()
    until_offline(cluster, "ada", "b", limit=OUT_WITHIN_S + 1)
