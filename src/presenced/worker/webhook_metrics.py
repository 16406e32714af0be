"""Metrics of the server about webhooks, from the reports of the storage worker."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import Counter
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from presenced.runtime.clock import Clock
from presenced.runtime.metrics import Metrics
from presenced.webhooks.stats import BUCKETS_S, WebhookStats


class WebhookMetrics(Collector):
    """Counters that continue across restarts of the worker, which counts from its own start.

    The worker sorts requests into buckets and reports a count for each bucket. `Histogram` of the client library takes
    single observations only, so this collector writes the histogram of requests itself.
    """

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._last = WebhookStats()
        self._requests = [0] * (len(BUCKETS_S) + 1)
        self._seconds = 0.0
        registry = metrics.registry
        registry.register(self)
        self._counters = {
            name: Counter(f"presenced_webhooks_{name}", documentation, registry=registry)
            for name, documentation in (
                ("delivered", "Events that a receiver accepted."),
                ("failed", "Requests that were not answered with 2xx."),
                ("retried", "Events sent again, counted each time."),
                ("expelled", "Events that became dead letters because too many waited."),
                ("dropped", "Dead letters deleted because there were too many, or because of their age."),
                ("requests", "Requests to receivers."),
                ("seconds", "Total duration of requests to receivers."),
            )
        }
        metrics.gauge("presenced_webhooks_waiting", "Events that wait to be delivered.", lambda: self._last.waiting)
        metrics.gauge(
            "presenced_webhooks_dead", "Dead letters: events that could not be delivered.", lambda: self._last.dead
        )
        metrics.gauge(
            "presenced_webhooks_oldest_seconds",
            "Age of the oldest waiting event.",
            lambda: max(0.0, (clock.now().epoch_ms - self._last.oldest_ms) / 1000) if self._last.oldest_ms else 0.0,
        )

    def restart(self) -> None:
        """Prepare for the reports of a new worker, which counts from 0."""
        self._last = WebhookStats()

    def update(self, stats: WebhookStats) -> None:
        """Add what has happened since the last report."""
        for name, counter in self._counters.items():
            counter.inc(max(0, getattr(stats, name) - getattr(self._last, name)))
        # Strict: a worker that counts in other buckets is a bug.
        for index, (count, count_before) in enumerate(zip(stats.buckets, self._last.buckets, strict=True)):
            self._requests[index] += max(0, count - count_before)
        self._seconds += max(0.0, stats.seconds - self._last.seconds)
        self._last = stats

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram of requests; its buckets are cumulative."""
        bounds = [*map(str, BUCKETS_S), "+Inf"]
        yield HistogramMetricFamily(
            "presenced_webhooks_request_duration_seconds",
            "Duration of a request to a receiver, until its response or timeout.",
            buckets=list(zip(bounds, accumulate(self._requests), strict=True)),
            sum_value=self._seconds,
        )
