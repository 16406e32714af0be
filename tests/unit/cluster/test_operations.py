"""What operators see of a node in a cluster: its readiness, metrics and figures; and that it stops when they ask."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.support.cluster_harness import ClusterHarness, ClusterNode

from presenced.cluster import messages
from presenced.cluster.members import figures_of
from presenced.cluster.messages import Drain
from presenced.cluster.metrics import STATES
from presenced.cluster.replica.digest import compare


def sample(node: ClusterNode, name: str, **labels: str) -> Any:
    """Return the value of a metric, without `presenced_cluster_`."""
    return node.node.metrics.registry.get_sample_value(f"presenced_cluster_{name}", labels)


def states(node: ClusterNode) -> list[str]:
    return [state for state in STATES if sample(node, "state", state=state)]


def test_a_node_is_not_ready_until_it_has_loaded_everything() -> None:
    cluster = ClusterHarness()
    late = cluster.start("c")
    assert states(late) == ["loading"]
    [reason] = late.service.not_ready()
    assert "loading" in reason
    cluster.run()
    assert late.service.not_ready() == []
    assert states(late) == ["ready"]


def test_a_node_reports_its_name_the_number_of_nodes_and_the_age_of_what_it_knows() -> None:
    cluster = ClusterHarness("abc")
    cluster.run(2, step=0.05)
    name, nodes, lag_s = cluster.nodes["a"].service.cluster() or ("", 0, 0.0)
    assert (name, nodes) == ("a", 3)
    assert 0 <= lag_s <= 1.1
    cluster.hub.cut("a")
    cluster.run(30, step=0.05)
    assert (cluster.nodes["a"].service.cluster() or ("", 0, 0.0))[2] > 28
    assert cluster.nodes["a"].service.not_ready() == [], "an outage of the store must not take out all nodes"
    assert states(cluster.nodes["a"]) == ["local"]
    assert sample(cluster.nodes["b"], "nodes") == 2, "a is declared dead"


def test_changes_are_counted_by_the_node_that_made_them() -> None:
    cluster = ClusterHarness()
    cluster.nodes["a"].connect("ada")
    cluster.nodes["b"].connect("bob")
    cluster.nodes["b"].connect("carl")
    cluster.run()
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    assert (sample(a, "items_total", **{"from": "own"}), sample(a, "items_total", **{"from": "other"})) == (1, 2)
    assert (sample(b, "items_total", **{"from": "own"}), sample(b, "items_total", **{"from": "other"})) == (2, 1)
    assert sample(b, "records") == 3
    assert sample(b, "batch_items_sum") == 2
    assert sample(b, "commit_seconds_count") == sample(b, "batch_items_count") >= 1
    assert sample(b, "lag_items") == 0


def test_two_nodes_that_change_a_user_at_once_conflict() -> None:
    cluster = ClusterHarness()
    cluster.hub.set_delay("a", 0.01)
    cluster.nodes["a"].connect("ada")
    cluster.run(0.002)
    cluster.nodes["b"].connect("ada")
    cluster.run()
    assert sum(sample(node, "refused_total", reason="conflict") for node in cluster.nodes.values()) == 1


def test_a_lost_reply_and_a_dead_node_are_counted() -> None:
    cluster = ClusterHarness()
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    cluster.hub.lose_replies("a")
    a.connect("ada")
    cluster.run(3, step=0.01)
    assert sample(a, "refused_total", reason="unknown") == 1
    assert sample(b, "reloads_total", reason="registered") == 1
    cluster.hub.cut("a")
    cluster.run(20, step=0.05)
    assert sample(b, "removed_nodes_total") == 1
    cluster.hub.heal("a")
    cluster.run(5, step=0.05)
    assert sample(a, "fenced_total") == 1
    assert sample(a, "reloads_total", reason="registered") == 2
    assert sample(a, "removed_nodes_total") == 0


def test_users_about_whom_the_store_has_lost_something_are_counted_until_it_is_settled() -> None:
    cluster = ClusterHarness()
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    before = cluster.hub.writes
    a.connect("ada")
    cluster.run()
    a.kill()  # otherwise it would write again at once what the store has lost
    cluster.hub.fail_over(lost_writes=cluster.hub.writes - before)
    cluster.run(1)
    assert (sample(b, "unsettled"), sample(b, "retained_contributions")) == (1, 1)
    assert cluster.statuses("ada")["b"] == "online"
    cluster.run(30, step=0.05)
    assert (sample(b, "unsettled"), sample(b, "retained_contributions")) == (0, 0)
    assert cluster.statuses("ada")["b"] == "offline"


def test_figures_have_a_start_and_digests_that_agree() -> None:
    cluster = ClusterHarness("abc")
    for number in range(20):
        cluster.nodes["abc"[number % 3]].connect(f"u{number}")
    cluster.run(7, step=0.01)
    members = cluster.nodes["a"].cluster.nodes
    figures = {member.name: figures_of(member) for member in members}
    assert all(its.started_ms > 0 and its.lag_s <= 1.1 for its in figures.values())
    result = compare({name: its.digests for name, its in figures.items()})
    assert result.compared == {"a", "b", "c"}
    assert not result.differing
    assert any(value for _, value in figures["a"].digests)


def test_only_the_incarnation_that_is_asked_stops() -> None:
    cluster = ClusterHarness()
    asked: list[str] = []
    for name, node in cluster.nodes.items():
        node.cluster.on_drain = partial(asked.append, name)
    [b] = [member for member in cluster.nodes["a"].cluster.nodes if member.name == "b"]
    a = cluster.nodes["a"].backend
    a.send(b.slot, messages.encode_node_message(Drain("of a former node")))
    a.send(b.slot, b"unknown")
    cluster.run()
    assert asked == []
    a.send(b.slot, messages.encode_node_message(Drain(b.incarnation)))
    cluster.run()
    assert asked == ["b"]
