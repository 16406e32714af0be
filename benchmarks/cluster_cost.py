"""How the cost of a cluster grows with its connections: computed from the recorded results of the other benchmarks.

Nothing is measured here. Each figure of the law comes from `results/`, and the pace of the nodes from their code:

    changes/s       R = connections x CHANGES_PER_CONNECTION, of all nodes together
    commits/s       K = what N nodes commit, at most one for each change, and at most what their pace allows
    reads/s         Q = of one node, at most one for each commit, and at most what its pace allows
    node's core     R/N x own + (R - R/N) x follow + Q x read
    store's core    R x item + K x commit + N x Q x store_read
    node's memory   base + users x replicated + connections/N x connection
    store's memory  log + users x stored
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.cluster_changes import BATCHES_PER_S
from benchmarks.load import LoadError
from benchmarks.report import Report, Table

from presenced.cluster.redis.pace import commit_pause_s, read_pause_s

RESULTS = Path(__file__).parent / "results"

CONNECTIONS = (10_000, 100_000, 1_000_000, 3_000_000, 5_000_000, 30_000_000)
PER_NODE = 100_000
"""Connections of one node."""

CHANGES_PER_CONNECTION = 0.003
"""Changes a second. A connection that lasts half an hour and is idle and active twice an hour makes 0.0022. The rest is
for choices, rooms and reconnects."""

CONNECTION_BYTES = 2_700
LOG_BYTES = 64e6
"""Memory of the store beside the users: its log, and itself."""

MAX_NODES = 64


class Law(NamedTuple):
    """Costs, in seconds of a core or in bytes."""

    own_s: float
    """A change for the node of its user."""
    follow_s: float
    """A change for each other node."""
    read_s: float
    """A read of the log, for the node that reads."""
    item_s: float
    """A change for the store."""
    commit_s: float
    """A commit for the store."""
    store_read_s: float
    """A read of the log, for the store."""
    replicated_bytes: float
    """A user of another node, on each node."""
    base_bytes: float
    """A node without users."""
    stored_bytes: float
    """A user in the store."""


class Cost(NamedTuple):
    """Cost of one size of a cluster."""

    nodes: int
    changes: float
    node_share: float
    node_bytes: float
    store_share: float
    store_bytes: float


def run(quick: bool) -> Report:
    """Compute the law from the results, and the table from the law."""
    law = law_of(_result("cluster_changes"), _result("cluster_store"), _result("cluster_start"))
    found = {connections: cost(law, connections) for connections in CONNECTIONS}
    largest = max(number for number, one in found.items() if one.nodes <= MAX_NODES)
    return Report(
        "How does the cost grow with connections, nodes and changes?",
        f"With {largest:,} connections on {found[largest].nodes} nodes, each node uses "
        f"{found[largest].node_share:.0%} of its core for the changes, and the store {found[largest].store_share:.0%}.",
        [
            Table(
                ["cost of", "for", "figure"],
                [
                    ["a change", "the node of its user", f"{law.own_s * 1e6:.0f} µs"],
                    ["a change", "each other node", f"{law.follow_s * 1e6:.0f} µs"],
                    ["a read of the log", "the node that reads", f"{law.read_s * 1e6:.0f} µs"],
                    ["a change", "the store", f"{law.item_s * 1e6:.1f} µs"],
                    ["a commit", "the store", f"{law.commit_s * 1e6:.0f} µs"],
                    ["a read of the log", "the store", f"{law.store_read_s * 1e6:.0f} µs"],
                    ["a user", "each node", f"{law.replicated_bytes:,.0f} bytes"],
                    ["a user", "the store", f"{law.stored_bytes:,.0f} bytes"],
                ],
            ),
            Table(
                ["connections", "nodes", "changes/s", "a node's core", "its memory", "the store's core", "its memory"],
                [
                    [
                        f"{connections:,}",
                        f"{one.nodes}" if one.nodes <= MAX_NODES else f"({one.nodes})",
                        f"{one.changes:,.0f}",
                        f"{one.node_share:.0%}",
                        f"{one.node_bytes / 1e9:.2f} GB",
                        f"{one.store_share:.0%}",
                        f"{one.store_bytes / 1e9:.2f} GB",
                    ]
                    for connections, one in found.items()
                ],
            ),
        ],
        [
            f"Computed, and not measured: {PER_NODE:,} connections a node, each of another user, which make "
            f"{CHANGES_PER_CONNECTION * 1e6:,.0f} changes/s for each million. Deliveries to watchers are extra, as on "
            "one server.",
            f"A cluster has at most {MAX_NODES} nodes, so the last row shows only why this way ends.",
        ],
        {"law": law._asdict(), "costs": {str(connections): one._asdict() for connections, one in found.items()}},
    )


def law_of(changes: dict[str, Any], store: dict[str, Any], start: dict[str, Any]) -> Law:
    """Return the costs that explain the results."""
    following = {(one["followers"], one["per_second"]): one for one in changes["following"]}
    rates = sorted({rate for followers, rate in following if followers == 1})
    low = rates[-2]  # one change in each batch, so that the cost of reads is seen
    one, many = 1, max(followers for followers, _ in following)
    follow = changes["rates"]["two nodes"]["other_s"]  # full batches, so that reads hardly count
    read = (following[one, low]["node"] - following[one, 0]["node"]) / BATCHES_PER_S - follow
    readers = following[many, low]["store"] - following[one, low]["store"]
    by_batch = {one["batch"]: one["store_s"] for one in store["commits"] if not one["bytes"]}
    single, largest = by_batch[1], max(by_batch)
    commit = (single - by_batch[largest]) / (1 - 1 / largest)
    most = max(start, key=int)
    return Law(
        own_s=changes["rates"]["one node"]["own_s"],
        follow_s=follow,
        read_s=read,
        item_s=single - commit,
        commit_s=commit,
        store_read_s=readers / (many - one) / BATCHES_PER_S,
        replicated_bytes=start[most]["bytes_each"],
        base_bytes=start["0"]["resident_bytes"],
        stored_bytes=store["loads"][max(store["loads"], key=int)]["store_bytes"],
    )


def cost(law: Law, connections: int) -> Cost:
    """Return the cost of so many connections."""
    nodes = max(2, -(-connections // PER_NODE))
    changes = connections * CHANGES_PER_CONNECTION
    commits = min(changes, nodes / commit_pause_s(nodes, 1, 1))
    reads = min(commits, 1 / read_pause_s(nodes, 1, 1))
    own = changes / nodes
    return Cost(
        nodes=nodes,
        changes=changes,
        node_share=own * law.own_s + (changes - own) * law.follow_s + reads * law.read_s,
        node_bytes=law.base_bytes + connections * law.replicated_bytes + connections / nodes * CONNECTION_BYTES,
        store_share=changes * law.item_s + commits * law.commit_s + nodes * reads * law.store_read_s,
        store_bytes=LOG_BYTES + connections * law.stored_bytes,
    )


def _result(name: str) -> dict[str, Any]:
    """Return the recorded figures of a benchmark.

    Raises:
        LoadError: There are none.
    """
    file = RESULTS / f"{name}.json"
    if not file.exists():
        raise LoadError(f"`python -m benchmarks {name}` has to run first")
    figures: dict[str, Any] = json.loads(file.read_text())["figures"]
    return figures
