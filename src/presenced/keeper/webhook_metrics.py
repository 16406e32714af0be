"""What the keeper says of the webhooks, as metrics of the server."""

from __future__ import annotations

from prometheus_client import Counter

from presenced.clock import Clock
from presenced.metrics import Metrics
from presenced.webhooks.figures import WebhookFigures


class WebhookMetrics:
    """Counts on over the ends of keepers, which count from their own starts."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._last = WebhookFigures()
        registry = metrics.registry
        self._counters = {
            name: Counter(f"presenced_webhooks_{name}", documentation, registry=registry)
            for name, documentation in (
                ("delivered", "Events that a receiver took."),
                ("failed", "Requests that did not get a 2xx."),
                ("retried", "Events sent once more, each time."),
                ("expelled", "Events that went dead because too many waited."),
                ("dropped", "Dead letters deleted because there were too many, or for their age."),
                ("requests", "Requests to receivers."),
                ("seconds", "Seconds that these took together."),
            )
        }
        metrics.gauge("presenced_webhooks_waiting", "Events that wait to be delivered.", lambda: self._last.waiting)
        metrics.gauge("presenced_webhooks_dead", "Events that could not be delivered.", lambda: self._last.dead)
        metrics.gauge(
            "presenced_webhooks_oldest_seconds",
            "For how long the oldest of those that wait has.",
            lambda: max(0.0, (clock.now().epoch_ms - self._last.oldest_ms) / 1000) if self._last.oldest_ms else 0.0,
        )

    def begin(self) -> None:
        """There is a new keeper, which counts from 0."""
        self._last = WebhookFigures()

    def now(self, figures: WebhookFigures) -> None:
        """How it is."""
        for name, counter in self._counters.items():
            counter.inc(max(0, getattr(figures, name) - getattr(self._last, name)))
        self._last = figures
