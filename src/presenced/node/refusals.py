"""Refusals of HTTP requests: log lines and metrics."""

from __future__ import annotations

from presenced.errors import Problem
from presenced.net.refusals import Refusal
from presenced.node.event_log import EventLog
from presenced.runtime.metrics import Metrics
from presenced.runtime.text import quoted

_SETTINGS = {
    "full": "max_connections",
    "address": "address_connections, address_rate and trusted_proxies",
    "head_too_large": "max_head_size",
}
"""Settings behind refusals that name none of their own, by metric reason."""


class Refusals:
    """Logs and counts refusals.

    Bounds: `EventLog` for log lines; the names of `Problem` and the reasons in the server's own code for metrics.
    """

    def __init__(self, log: EventLog, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics

    def add(self, refusal: Refusal, origin: bytes) -> None:
        """Log and count the refusal of a request.

        Args:
            origin: Its `Origin` header; empty if absent.
        """
        reason = refusal.counts_as or refusal.problem.name.lower()
        self._metrics.turned_away.labels(reason).inc()
        if refusal.problem is Problem.REQUEST_TIMEOUT:
            return  # browsers open spare connections and let them time out, so nothing was refused
        setting = refusal.setting or _SETTINGS.get(reason, "")
        text = refusal.logged or quoted(refusal.detail)
        page = quoted(origin.decode("latin-1"))
        if not refusal.setting:
            text += f"; page {page}" if page else ""
            text += f"; see {setting}" if setting else ""
        self._log.turned_away(refusal.problem.status, refusal.problem.name, text, page, setting)
