"""Metrics of a server, in the Prometheus format. Each server has its own registry, also two in one process."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from presenced.runtime.gc import Pauses

_SECONDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_CHANGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)

MEDIA_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Metrics of a server. They use base units, and no label has a value for each user or client."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self.opened = Counter("presenced_connections_opened", "Connections that were opened.", registry=registry)
        self.closed = Counter(
            "presenced_connections_closed",
            "Connections that ended, by reason. closed, going_away, keep_session and lost come from the client. "
            "stopping and close codes in lower case come from the server.",
            ["reason"],
            registry=registry,
        )
        self.refused = Counter(
            "presenced_handshakes_refused",
            "WebSocket handshakes that were refused, by code.",
            ["code"],
            registry=registry,
        )
        self.turned_away = Counter(
            "presenced_connections_refused",
            "Connections and requests that were refused before a WebSocket was opened, by reason. full, behind, "
            "stopping: state of the server. address: limit of an address. forbidden_origin and misdirected include "
            "HTTP requests. All others are problem codes in lower case.",
            ["reason"],
            registry=registry,
        )
        self.sessions = Counter(
            "presenced_sessions",
            "Connections of presenced.v1, by what happened to the session. new: it was created. resumed: the client "
            "got the missed changes. told_again: the client got a new snapshot.",
            ["how"],
            registry=registry,
        )
        self.requests_refused = Counter(
            "presenced_requests_refused",
            "Requests of presenced.v1 that were refused with ERROR, by name.",
            ["name"],
            registry=registry,
        )
        self.received = Counter("presenced_messages_received", "Messages received from clients.", registry=registry)
        self.changes = Counter(
            "presenced_changes", "Visible changes of status, by new status.", ["status"], registry=registry
        )
        self.deliveries = Counter("presenced_deliveries", "Changes written to sockets of watchers.", registry=registry)
        self.sent = Counter(
            "presenced_sent_bytes", "Bytes of changes written to sockets of watchers.", registry=registry
        )
        self.flush_changes = Histogram(
            "presenced_flush_changes", "Number of changes in one flush.", buckets=_CHANGES, registry=registry
        )
        self.flush_seconds = Histogram(
            "presenced_flush_duration_seconds", "Duration of one flush.", buckets=_SECONDS, registry=registry
        )
        self.authentications = Counter(
            "presenced_authentications",
            "Tokens and tickets that were checked, by result.",
            ["result"],
            registry=registry,
        )
        self.api_answers = Counter(
            "presenced_api_answers",
            "Responses of the HTTP API, by route and status.",
            ["route", "status"],
            registry=registry,
        )
        self.api_seconds = Histogram(
            "presenced_api_duration_seconds",
            "Duration of a request of the HTTP API, by route, without requests that wait for changes.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.api_followers = Gauge(
            "presenced_api_followers",
            "Open requests of the HTTP API that wait for changes or stream them.",
            registry=registry,
        )
        self.writers_lost = Counter(
            "presenced_writers_lost", "Writer processes that died or hung, and were replaced.", registry=registry
        )
        self.batches_stored = Counter(
            "presenced_storage_batches", "Batches of facts written to the database.", registry=registry
        )
        self.batch_facts = Histogram(
            "presenced_storage_batch_facts", "Number of facts in one batch.", buckets=_CHANGES, registry=registry
        )
        self.batch_seconds = Histogram(
            "presenced_storage_batch_duration_seconds",
            "Duration of writing one batch to the database.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.storage_failures = Counter(
            "presenced_storage_failures", "Failed attempts to write a batch, which were retried.", registry=registry
        )
        self.facts_dropped = Counter(
            "presenced_storage_facts_dropped",
            "Facts dropped because too many waited. Most of them were superseded by newer facts.",
            registry=registry,
        )
        self.facts_merged = Counter(
            "presenced_storage_facts_merged",
            "Changes not stored under load, because a newer one of the same user or room followed immediately.",
            registry=registry,
        )
        self.facts_unusable = Counter(
            "presenced_storage_facts_unusable", "Facts dropped because the database rejects them.", registry=registry
        )
        self.keepers_lost = Counter(
            "presenced_keepers_lost", "Storage workers that died, and were replaced.", registry=registry
        )
        self.heartbeats_failed = Counter(
            "presenced_heartbeats_failed", "Clients that did not answer a ping.", registry=registry
        )
        self.loop_lag = Histogram(
            "presenced_loop_lag_seconds",
            "Delay of the heartbeat tick, which shows how busy the event loop is.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.gc_pauses = pauses = Pauses()
        self.gauge(
            "presenced_gc_paused_seconds",
            "Total time for which garbage collections stopped the process.",
            lambda: pauses.seconds,
        )
        self.gauge(
            "presenced_gc_longest_pause_seconds",
            "Longest pause for a garbage collection since the start.",
            lambda: pauses.longest,
        )

    def gauge(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each scrape."""
        Gauge(name, documentation, registry=self.registry).set_function(read)

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format (`MEDIA_TYPE`)."""
        return generate_latest(self.registry)
