"""Configuration of webhooks, made from the settings."""

from __future__ import annotations

from msgspec import Struct

from presenced.config.settings import Settings
from presenced.errors import ConfigError
from presenced.net.http_client import HttpClient
from presenced.webhooks.signing import decode_secret

EVENTS = ("user.online", "user.offline", "user.status_changed", "room.occupied", "room.vacated")
"""Types of all events."""

MAX_ENDPOINTS = 16
"""Maximum number of URLs; more are an error. Each has its own copy of every event, and a connection."""

MAX_SECRETS = 2
"""Maximum number of secrets: one, or two while receivers change from one to the other."""


class WebhookConfig(Struct, frozen=True, array_like=True):
    """Configuration of all endpoints. It is sent to the storage worker. It holds secrets, and `repr` hides them."""

    urls: tuple[str, ...]
    secrets: tuple[str, ...]
    """One or two strings, `whsec_...`."""
    events: tuple[str, ...] = EVENTS
    """Types of the events to send."""
    allow_private: bool = False
    """Allow endpoints at private addresses, and without TLS."""
    timeout_s: float = 10.0
    """Timeout of one request."""
    batch_size: int = 100
    """Maximum number of events in one request."""
    batch_wait_s: float = 0.25
    """Seconds for which an event waits for others to fill its batch."""
    max_age_s: float = 86_400.0
    """Seconds for which an event is retried. Then it becomes a dead letter."""
    first_retry_s: float = 1.0
    """Longest delay after one failure. It doubles with each further failure."""
    max_retry_s: float = 300.0
    """Longest delay after any number of failures."""
    poll_s: float = 5.0
    """Seconds after which an idle endpoint checks the database although nothing has woken it."""
    max_waiting: int = 1_000_000
    """Maximum number of waiting events for one endpoint. Above it, the oldest become dead letters."""
    max_dead: int = 1_000_000
    """Maximum number of dead letters of one endpoint. Above it, the oldest are deleted."""

    def __repr__(self) -> str:
        return f"WebhookConfig({len(self.urls)} endpoints)"


def webhook_config(settings: Settings) -> WebhookConfig | None:
    """Return the configuration of webhooks; None if the settings name no URL.

    Raises:
        ConfigError: A URL, a secret or the name of an event is invalid.
    """
    if not settings.webhook_urls:
        return None
    if len(settings.webhook_urls) > MAX_ENDPOINTS:
        raise ConfigError(f"webhook_urls has {len(settings.webhook_urls)} URLs: expected at most {MAX_ENDPOINTS}")
    for url in settings.webhook_urls:
        HttpClient("webhook_urls", url, settings.webhook_timeout, settings.outgoing_private)
    if unknown := [name for name in settings.webhook_events if name not in EVENTS]:
        raise ConfigError(f"webhook_events has {unknown[0]!r}: expected some of {', '.join(EVENTS)}")
    return WebhookConfig(
        urls=tuple(dict.fromkeys(settings.webhook_urls)),
        secrets=_parse_secrets(settings.webhook_secrets.get_secret_value()),
        events=settings.webhook_events or EVENTS,
        allow_private=settings.outgoing_private,
        timeout_s=settings.webhook_timeout,
    )


def _parse_secrets(text: str) -> tuple[str, ...]:
    secrets = tuple(text.split())
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise ConfigError(f"webhook_secrets has {len(secrets)} secrets: expected one, or two while you replace one")
    for secret in secrets:
        decode_secret(secret)
    return secrets
