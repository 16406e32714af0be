"""Webhook metrics as Prometheus reads them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from presenced.runtime.metrics import Metrics
from presenced.testing import FakeClock
from presenced.webhooks.stats import WebhookStats
from presenced.worker.rpc import MESSAGE_HEADER, encode_message, to_server
from presenced.worker.webhook_metrics import WebhookMetrics


def samples(metrics: Metrics, name: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name.removeprefix(name), sample.labels.get("le", "")): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
        if sample.name.startswith(name)
    }


def report(shown: WebhookMetrics, figures: WebhookStats) -> None:
    """Encode and decode the report as the pipe does."""
    message = to_server.decode(encode_message(figures)[MESSAGE_HEADER.size :])
    assert isinstance(message, WebhookStats)
    shown.update(message)


def test_the_histogram_of_requests_continues_across_restarts_of_the_worker() -> None:
    metrics = Metrics()
    shown, figures = WebhookMetrics(metrics, FakeClock()), WebhookStats()
    for seconds in (0.005, 0.02, 0.02, 3.0):
        figures.count_request(seconds)
    report(shown, figures)
    report(shown, figures)  # nothing new
    shown.restart()  # another process, which counts from 0
    figures = WebhookStats()
    for seconds in (0.3, 60.0):
        figures.count_request(seconds)
    report(shown, figures)
    found = samples(metrics, "presenced_webhooks_request_duration_seconds")
    buckets = {float(bound): number for (suffix, bound), number in found.items() if suffix == "_bucket"}
    assert buckets == {
        0.01: 1, 0.025: 3, 0.05: 3, 0.1: 3, 0.25: 3, 0.5: 4, 1: 4, 2.5: 4, 5: 5, 10: 5, float("inf"): 6,
    }  # fmt: skip
    assert found["_count", ""] == 6 == samples(metrics, "presenced_webhooks_requests")["_total", ""]
    assert round(found["_sum", ""], 3) == 63.345


def test_the_histogram_exists_before_the_first_request() -> None:
    metrics = Metrics()
    WebhookMetrics(metrics, FakeClock())
    assert samples(metrics, "presenced_webhooks_request_duration_seconds")["_count", ""] == 0
