"""Factory of the server's side of the keeper."""

from __future__ import annotations

import secrets
import socket

from presenced.config.settings import Settings
from presenced.runtime.clock import Clock
from presenced.runtime.metrics import Metrics
from presenced.storage.records import start_position
from presenced.storage.url import database_url
from presenced.webhooks.config import webhook_config
from presenced.worker.client import WorkerClient
from presenced.worker.rpc import Setup

START_PATIENCE = 3.0
"""Seconds for which the server waits for stored data before it accepts connections."""


def make_worker_client(settings: Settings, clock: Clock, metrics: Metrics) -> WorkerClient | None:
    """Return the keeper that the settings ask for; None if nothing is stored.

    Raises:
        ConfigError: The driver of the database is not installed, or a webhook's URL or secret is invalid.
    """
    if not (url := database_url(settings)):
        return None
    started_ms = clock.now().epoch_ms
    node = settings.node or f"{socket.gethostname()[:58]}:{settings.port}"
    setup = Setup(
        url,
        node,
        secrets.token_hex(4),
        started_ms,
        start_position(started_ms),
        int(settings.history_age * 1000),
        settings.max_choices,
        webhook_config(settings),
        settings.grace_lost,
        restore=True,
    )
    return WorkerClient(setup, clock, metrics, START_PATIENCE, (settings.log_format, settings.log_time))
