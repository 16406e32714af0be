"""The law of what a cluster costs, computed from results of benchmarks."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.cluster_cost import Law, cost, law_of

LAW = Law(
    own_s=100e-6,
    follow_s=25e-6,
    read_s=150e-6,
    item_s=8e-6,
    commit_s=40e-6,
    store_read_s=25e-6,
    replicated_bytes=700,
    base_bytes=70e6,
    stored_bytes=250,
)


def results(law: Law) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return what the benchmarks would find if the law were right."""
    following = [
        {
            "followers": followers,
            "per_second": rate,
            "node": 0.001 + min(rate, 500) * law.read_s + rate * law.follow_s,
            "store": 0.002 + rate * law.item_s + min(rate, 500) * (law.commit_s + followers * law.store_read_s),
        }
        for followers in (1, 4)
        for rate in (0, 100, 500, 5_000)
    ]
    commits = [
        {"bytes": size, "batch": batch, "store_s": law.item_s + law.commit_s / batch + size * 1e-9}
        for size in (0, 2_000)
        for batch in (1, 20, 200)
    ]
    start = {
        str(users): {
            "resident_bytes": law.base_bytes + users * law.replicated_bytes,
            "bytes_each": law.replicated_bytes if users else None,
        }
        for users in (0, 100_000)
    }
    rates = {"one node": {"own_s": law.own_s}, "two nodes": {"other_s": law.follow_s}}
    changes = {"following": following, "rates": rates}
    store = {"commits": commits, "loads": {"100000": {"store_bytes": law.stored_bytes}}}
    return changes, store, start


def test_the_law_is_found_in_results_that_follow_it() -> None:
    assert tuple(law_of(*results(LAW))) == pytest.approx(tuple(LAW))


def test_each_node_pays_for_all_changes_and_users() -> None:
    million, three = cost(LAW, 1_000_000), cost(LAW, 3_000_000)
    assert (million.nodes, three.nodes) == (10, 30)
    assert three.changes == 3 * million.changes
    assert million.node_share > million.changes * LAW.follow_s
    assert three.node_bytes - million.node_bytes == pytest.approx(2_000_000 * LAW.replicated_bytes)


def test_reads_of_the_store_have_a_bound_for_any_number_of_nodes() -> None:
    """The nodes pause for longer, the more they are."""
    shares = [cost(LAW, connections) for connections in (1_000_000, 3_000_000, 6_000_000)]
    without_changes = [one.store_share - one.changes * LAW.item_s for one in shares]
    assert max(without_changes) < 0.65
    assert without_changes[1] == pytest.approx(without_changes[2], rel=0.01)
