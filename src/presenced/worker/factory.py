"""Makes the client of the storage worker from the settings."""

from __future__ import annotations

import secrets

from presenced.config.settings import Settings
from presenced.runtime.clock import Clock
from presenced.runtime.metrics import Metrics
from presenced.storage.records import start_position
from presenced.storage.url import database_url
from presenced.webhooks.config import webhook_config
from presenced.worker.client import WorkerClient
from presenced.worker.rpc import Setup


def make_worker_client(settings: Settings, clock: Clock, metrics: Metrics) -> WorkerClient | None:
    """Return the client for the database that the settings name; None if nothing is stored.

    Raises:
        ConfigError: The driver of the database is not installed, or a webhook's URL or secret is invalid.
    """
    if not (url := database_url(settings)):
        return None
    started_ms = clock.now().epoch_ms
    setup = Setup(
        url=url,
        node=settings.node_name,
        epoch=secrets.token_hex(4),
        started_ms=started_ms,
        position=start_position(started_ms),
        history_ms=int(settings.history_age * 1000),
        max_restored=settings.max_choices,
        webhooks=webhook_config(settings),
        settling_s=settings.settling,
        restore=True,
        cluster=settings.cluster_name if settings.backend else "",
    )
    return WorkerClient(
        setup=setup,
        clock=clock,
        metrics=metrics,
        log_format=settings.log_format,
        log_time=settings.log_time,
        node=settings.node_name if settings.backend else "",
    )
