"""Factory of the server's side of the keeper."""

from __future__ import annotations

import secrets
import socket

from presenced.clock import Clock
from presenced.keeper.link import KeeperLink
from presenced.keeper.messages import Setup
from presenced.metrics import Metrics
from presenced.settings import Settings
from presenced.storage.address import database_url
from presenced.storage.facts import start_position
from presenced.webhooks.config import webhook_config

START_PATIENCE = 3.0
"""Seconds for which the server waits for stored data before it accepts connections."""


def make_keeper(settings: Settings, clock: Clock, metrics: Metrics) -> KeeperLink | None:
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
    return KeeperLink(setup, clock, metrics, START_PATIENCE, (settings.log_format, settings.log_time))
