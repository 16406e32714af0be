"""Metrics of a server, in the Prometheus format.

Each server has its own registry, so that several can run in one process. Metrics that any part increments are declared
here. A part that can be asked for a number, such as how many connections are open, registers a gauge with `gauge`.

`docs/reference/metrics.md` is generated from the names and texts, in this order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from presenced.runtime.gc import Pauses

_DURATIONS_S = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)

METRICS_MEDIA_TYPE = CONTENT_TYPE_LATEST
"""Media type of `Metrics.exposition`."""


class Metrics:
    """Metrics of a server. They use base units, and no label has a value for each user or client."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        counter = partial(Counter, registry=self.registry)
        sizes = partial(Histogram, registry=self.registry, buckets=_SIZES)
        durations = partial(Histogram, registry=self.registry, buckets=_DURATIONS_S)

        # Connections.
        self.connections_opened = counter("presenced_connections_opened", "Connections that were opened.")
        self.connections_closed = counter(
            "presenced_connections_closed",
            "Connections that ended, by reason. closed, going_away, keep_session and lost come from the client. "
            "stopping and close codes in lower case come from the server.",
            ["reason"],
        )
        self.handshakes_refused = counter(
            "presenced_handshakes_refused", "WebSocket handshakes that were refused, by code.", ["code"]
        )
        self.connections_refused = counter(
            "presenced_connections_refused",
            "Connections and requests that were refused before a WebSocket was opened, by reason. full, behind, "
            "stopping: state of the server. address: limit of an address. forbidden_origin and misdirected include "
            "HTTP requests. All others are problem codes in lower case.",
            ["reason"],
        )
        self.authentications = counter(
            "presenced_authentications", "Tokens and tickets that were checked, by result.", ["result"]
        )
        self.sessions = counter(
            "presenced_sessions",
            "Connections of presenced.v1, by what happened to the session. new: it was created. resumed: the client "
            "received the missed changes. resynced: the client received a new snapshot.",
            ["how"],
        )
        self.messages_received = counter("presenced_messages_received", "Messages received from clients.")
        self.requests_refused = counter(
            "presenced_requests_refused", "Requests of presenced.v1 that were refused with ERROR, by name.", ["name"]
        )
        self.heartbeats_failed = counter("presenced_heartbeats_failed", "Clients that did not answer a ping.")

        # Broadcasts.
        self.changes = counter("presenced_changes", "Visible changes of status, by new status.", ["status"])
        self.deliveries = counter("presenced_deliveries", "Changes written to sockets of watchers.")
        self.sent_bytes = counter("presenced_sent_bytes", "Bytes of changes written to sockets of watchers.")
        self.flush_changes = sizes("presenced_flush_changes", "Number of changes in one flush.")
        self.flush_seconds = durations("presenced_flush_duration_seconds", "Duration of one flush.")
        self.writers_lost = counter("presenced_writers_lost", "Writer processes that died or hung, and were replaced.")

        # The HTTP API.
        self.api_answers = counter(
            "presenced_api_answers", "Responses of the HTTP API, by route and status.", ["route", "status"]
        )
        self.api_seconds = durations(
            "presenced_api_duration_seconds",
            "Duration of a request of the HTTP API, by route, without requests that wait for changes.",
            ["route"],
        )
        self.api_followers = Gauge(
            "presenced_api_followers",
            "Open requests of the HTTP API that wait for changes or stream them.",
            registry=self.registry,
        )

        # Storage.
        self.batches_stored = counter("presenced_storage_batches", "Batches of records written to the database.")
        self.batch_records = sizes("presenced_storage_batch_facts", "Number of records in one batch.")
        self.batch_seconds = durations(
            "presenced_storage_batch_duration_seconds", "Duration of writing one batch to the database."
        )
        self.storage_failures = counter(
            "presenced_storage_failures", "Failed attempts to write a batch, which were retried."
        )
        self.records_dropped = counter("presenced_storage_facts_dropped", "Records dropped because too many waited.")
        self.records_merged = counter(
            "presenced_storage_facts_merged",
            "Changes not stored, because too many waited and there was a newer one of the same user or room.",
        )
        self.records_unusable = counter(
            "presenced_storage_facts_unusable", "Records dropped because the database rejects them."
        )
        self.storage_workers_lost = counter(
            "presenced_storage_workers_lost", "Storage workers that died, and were replaced."
        )

        # The process.
        self.loop_lag = durations(
            "presenced_loop_lag_seconds", "Delay of the heartbeat tick, which shows how busy the event loop is."
        )
        self.gc_pauses = Pauses()
        self.gauge(
            "presenced_gc_paused_seconds",
            "Total time for which garbage collections stopped the process.",
            lambda: self.gc_pauses.seconds,
        )
        self.gauge(
            "presenced_gc_longest_pause_seconds",
            "Longest pause for a garbage collection since the start.",
            lambda: self.gc_pauses.longest,
        )

    def gauge(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each scrape."""
        Gauge(name, documentation, registry=self.registry).set_function(read)

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format (`METRICS_MEDIA_TYPE`)."""
        return generate_latest(self.registry)
