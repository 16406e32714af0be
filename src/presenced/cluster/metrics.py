"""Metrics of a node in a cluster. Without the setting `backend` they do not exist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from prometheus_client import Counter, Gauge, Histogram

from presenced.cluster.node_shard import NodeShard
from presenced.runtime.metrics import Metrics

_COMMITS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_ROUND_TRIPS_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
_ITEMS = (1, 2, 5, 10, 20, 50, 100, 200)

STATES = ("loading", "ready", "local", "leaving")
"""Values of the label `state`."""


class Measured(Protocol):
    """Values of a node that the gauges read (`cluster.cluster`)."""

    @property
    def name(self) -> str:
        """Name of this node."""

    @property
    def state(self) -> str:
        """One of `STATES`."""

    @property
    def live_nodes(self) -> int:
        """Number of registered nodes that are not dead, this one included."""

    @property
    def shards(self) -> Sequence[NodeShard]:
        """The shards of the node."""

    @property
    def lag_s(self) -> float:
        """Seconds since the node had read all of the log."""


class ClusterMetrics:
    """Counters and histograms that the cluster and the backend increment, and gauges that read the cluster."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        counter = partial(Counter, registry=metrics.registry)
        histogram = partial(Histogram, registry=metrics.registry)
        items = counter(
            "presenced_cluster_items",
            "Changes read from the log of the store. from: own for those of this node, other for those of other nodes.",
            ["from"],
        )
        self.items_own = items.labels("own")
        self.items_other = items.labels("other")
        self.commit_seconds = histogram(
            "presenced_cluster_commit_seconds",
            "Duration of a commit, from sending it to the reply of the store.",
            buckets=_COMMITS_S,
        )
        self.batch_items = histogram("presenced_cluster_batch_items", "Number of changes in a commit.", buckets=_ITEMS)
        self._refused = counter(
            "presenced_cluster_refused",
            "Changes of commits that the store has not accepted, so that the node decided again, by reason.",
            ["reason"],
        )
        for reason in ("conflict", "unknown", "fenced"):
            self._refused.labels(reason)
        self._reloads = counter(
            "presenced_cluster_reloads", "Loads of everything that the store has, by reason.", ["reason"]
        )
        for reason in ("registered", "log", "keys"):
            self._reloads.labels(reason)
        self.removed_nodes = counter(
            "presenced_cluster_removed_nodes", "Dead nodes whose users this node has taken out."
        )
        self.fenced = counter(
            "presenced_cluster_fenced",
            "Times that the store refused this node, because it was declared dead or the store was emptied.",
        )
        self.store_rtt_seconds = histogram(
            "presenced_cluster_store_rtt_seconds",
            "Duration of a round trip to the store, measured once a second.",
            buckets=_ROUND_TRIPS_S,
        )

    def refused(self, reason: str, items: int) -> None:
        """Count changes that were not accepted: `conflict`, `unknown` or `fenced`."""
        if items:
            self._refused.labels(reason).inc(items)

    def reloading(self, reason: str) -> None:
        """Count a load: `registered`, `log` or `keys`."""
        self._reloads.labels(reason).inc()

    def watch(self, cluster: Measured) -> None:
        """Add the gauges, which read the cluster at each scrape."""
        gauge = self._metrics.gauge
        info = Gauge(
            "presenced_cluster_node_info",
            "Always 1. The label node is the name of this node.",
            ["node"],
            registry=self._metrics.registry,
        )
        info.labels(cluster.name).set(1)
        state = Gauge(
            "presenced_cluster_state",
            "1 for the state of this node, 0 for the others. local: the store is out of reach or out of memory, and "
            "the node shows only what happens on it.",
            ["state"],
            registry=self._metrics.registry,
        )

        def is_in(name: str) -> Callable[[], float]:
            return lambda: float(cluster.state == name)

        for name in STATES:
            state.labels(name).set_function(is_in(name))
        gauge("presenced_cluster_nodes", "Registered nodes that are not dead.", lambda: cluster.live_nodes)
        gauge(
            "presenced_cluster_lag_items",
            "Numbers that the store has given and this node has not read. They may jump.",
            lambda: sum(shard.behind for shard in cluster.shards),
        )
        gauge("presenced_cluster_lag_seconds", "Age of this node's knowledge of the others.", lambda: cluster.lag_s)
        gauge(
            "presenced_cluster_unsettled",
            "Users who are shown as before, because the store has lost something about them.",
            lambda: sum(shard.replica.unsettled for shard in cluster.shards),
        )
        gauge(
            "presenced_cluster_retained_contributions",
            "Contributions of nodes that the store has lost, and that still count here.",
            lambda: sum(shard.replica.retained for shard in cluster.shards),
        )
        gauge(
            "presenced_cluster_records",
            "User records that this node holds.",
            lambda: sum(len(shard.replica.records) for shard in cluster.shards),
        )
