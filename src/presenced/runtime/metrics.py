"""What the server counts. One registry per server, so that two in one process don't mix."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from presenced.runtime.gc import Pauses

_SECONDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_CHANGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)

MEDIA_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Every metric by name. Base units; no label that grows with users or clients."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self.opened = Counter("presenced_connections_opened", "Connections opened.", registry=registry)
        self.closed = Counter(
            "presenced_connections_closed",
            "Connections ended, by reason: closed, going_away, keep_session and lost are the client's; stopping and "
            "the names of close codes in lower case are the server's.",
            ["reason"],
            registry=registry,
        )
        self.refused = Counter(
            "presenced_handshakes_refused", "WebSockets refused, by the name of the code.", ["code"], registry=registry
        )
        self.turned_away = Counter(
            "presenced_connections_refused",
            "Connections and requests refused before a WebSocket was opened, by reason: full, behind, stopping; "
            "address, at one of its limits; forbidden_origin and misdirected, also for requests of the HTTP side; "
            "otherwise the code of the problem in lower case.",
            ["reason"],
            registry=registry,
        )
        self.sessions = Counter(
            "presenced_sessions",
            "Connections of presenced.v1, by what became of their sessions: new, resumed, or told_again.",
            ["how"],
            registry=registry,
        )
        self.requests_refused = Counter(
            "presenced_requests_refused", "ERRORs of presenced.v1, by name.", ["name"], registry=registry
        )
        self.received = Counter("presenced_messages_received", "Messages from clients.", registry=registry)
        self.changes = Counter(
            "presenced_changes", "Changes of visible status, by the new status.", ["status"], registry=registry
        )
        self.deliveries = Counter("presenced_deliveries", "Changes handed to watchers' sockets.", registry=registry)
        self.sent = Counter("presenced_sent_bytes", "Bytes of changes handed to watchers' sockets.", registry=registry)
        self.flush_changes = Histogram(
            "presenced_flush_changes", "Changes in one flush.", buckets=_CHANGES, registry=registry
        )
        self.flush_seconds = Histogram(
            "presenced_flush_duration_seconds", "Time one flush took.", buckets=_SECONDS, registry=registry
        )
        self.authentications = Counter(
            "presenced_authentications",
            "Tokens and tickets shown, by what came of it.",
            ["result"],
            registry=registry,
        )
        self.api_answers = Counter(
            "presenced_api_answers",
            "Answers of the HTTP API, by route and status.",
            ["route", "status"],
            registry=registry,
        )
        self.api_seconds = Histogram(
            "presenced_api_duration_seconds",
            "Time an answer of the HTTP API took, but for those that wait for changes, by route.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.api_followers = Gauge(
            "presenced_api_followers",
            "Requests that wait for changes, or are told of them as they happen.",
            registry=registry,
        )
        self.writers_lost = Counter("presenced_writers_lost", "Writers that died or hung.", registry=registry)
        self.batches_stored = Counter("presenced_storage_batches", "Batches stored.", registry=registry)
        self.batch_records = Histogram(
            "presenced_storage_batch_facts", "Records in one batch.", buckets=_CHANGES, registry=registry
        )
        self.batch_seconds = Histogram(
            "presenced_storage_batch_duration_seconds",
            "Time in which a batch was stored.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.storage_failures = Counter(
            "presenced_storage_failures", "Attempts to store that failed and were repeated.", registry=registry
        )
        self.records_dropped = Counter(
            "presenced_storage_facts_dropped",
            "Records dropped because too many waited.",
            registry=registry,
        )
        self.records_merged = Counter(
            "presenced_storage_facts_merged",
            "Changes not stored because too many waited and a newer one of the same user or room did, too.",
            registry=registry,
        )
        self.records_unusable = Counter(
            "presenced_storage_facts_unusable", "Records that the database would never accept.", registry=registry
        )
        self.storage_workers_lost = Counter(
            "presenced_storage_workers_lost", "Storage workers that ended unexpectedly.", registry=registry
        )
        self.heartbeats_failed = Counter(
            "presenced_heartbeats_failed", "Clients that did not answer.", registry=registry
        )
        self.loop_lag = Histogram(
            "presenced_loop_lag_seconds", "How late the heartbeat tick was.", buckets=_SECONDS, registry=registry
        )
        self.gc_pauses = pauses = Pauses()
        self.gauge(
            "presenced_gc_paused_seconds", "Time that garbage collections held everything.", lambda: pauses.seconds
        )
        self.gauge("presenced_gc_longest_pause_seconds", "The longest of them.", lambda: pauses.longest)

    def gauge(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """A value read at each scrape."""
        Gauge(name, documentation, registry=self.registry).set_function(read)

    def exposition(self) -> bytes:
        """All of it in the Prometheus text format (`MEDIA_TYPE`)."""
        return generate_latest(self.registry)
