"""What of the settings the webhooks need."""

from __future__ import annotations

from msgspec import Struct

from presenced.config.settings import Settings
from presenced.errors import ConfigError
from presenced.net.http_client import HttpClient
from presenced.webhooks.signing import key_of

EVENTS = ("user.online", "user.offline", "user.status_changed", "room.occupied", "room.vacated")
"""All there are."""

MAX_ENDPOINTS = 16
"""URLs at most: each has its own copy of every event, and a connection."""

MAX_SECRETS = 2
"""One to sign with, and the other one while receivers change from one to the other."""


class WebhookConfig(Struct, frozen=True, array_like=True):
    """How webhooks are sent. Crosses to the keeper; it holds secrets, and does not show them. Durations are seconds."""

    endpoints: tuple[str, ...]
    """URLs."""
    secrets: tuple[str, ...]
    """One or two, `whsec_...`."""
    events: tuple[str, ...] = EVENTS
    allow_private: bool = False
    timeout: float = 10.0
    """For one request."""
    batch_size: int = 100
    """Events in a request at most."""
    batch_wait: float = 0.25
    """How long an event may wait for others to go with it."""
    max_age: float = 86_400.0
    """How long an event is tried again."""
    first_retry: float = 1.0
    """The longest pause after one failure; doubled by each further one."""
    last_retry: float = 300.0
    """It is not doubled beyond this."""
    idle_wait: float = 5.0
    """After it an endpoint looks for work although nobody woke it."""
    max_waiting: int = 1_000_000
    """Events that wait, per endpoint; with one more the oldest go dead."""
    max_dead: int = 1_000_000
    """Dead letters, per endpoint; with one more the oldest are deleted."""

    def __repr__(self) -> str:
        return f"WebhookConfig({len(self.endpoints)} endpoints)"


def webhook_config(settings: Settings) -> WebhookConfig | None:
    """What the settings say; None when there are no webhooks.

    Raises:
        ConfigError: A URL, a secret or the name of an event can't be used.
    """
    if not settings.webhook_urls:
        return None
    if len(settings.webhook_urls) > MAX_ENDPOINTS:
        raise ConfigError(f"webhook_urls has {len(settings.webhook_urls)} URLs; at most {MAX_ENDPOINTS} can be told")
    for url in settings.webhook_urls:
        HttpClient("webhook_urls", url, settings.webhook_timeout, settings.outgoing_private)
    if unknown := [name for name in settings.webhook_events if name not in EVENTS]:
        raise ConfigError(f"webhook_events has {unknown[0]!r}: events are {', '.join(EVENTS)}")
    return WebhookConfig(
        tuple(dict.fromkeys(settings.webhook_urls)),
        secrets_of(settings.webhook_secrets.get_secret_value()),
        settings.webhook_events or EVENTS,
        settings.outgoing_private,
        settings.webhook_timeout,
    )


def secrets_of(text: str) -> tuple[str, ...]:
    """The secrets in the setting's text.

    Raises:
        ConfigError: There is none, there are too many, or one can't be used.
    """
    found = tuple(text.split())
    if not 1 <= len(found) <= MAX_SECRETS:
        raise ConfigError(f"webhook_secrets has {len(found)} secrets: expected one, or two while you change it")
    for secret in found:
        key_of(secret)
    return found
