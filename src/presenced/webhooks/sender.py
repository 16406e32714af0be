"""One request to one endpoint."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from presenced.net.http_client import HttpClient, HttpClientError
from presenced.webhooks.backoff import retry_after
from presenced.webhooks.config import WebhookConfig
from presenced.webhooks.events import batch_id, encode_test
from presenced.webhooks.signing import key_of, signed_headers

GONE = 410
BUSY = frozenset({429, 502, 503, 504})
"""Statuses that say something about the receiver, and nothing about what it was sent."""


class Sent(NamedTuple):
    """How a request went."""

    status: int
    """Of the answer; 0 when there was none."""
    error: str
    """Empty when it was taken."""
    retry_after: float
    """Seconds for which the receiver wants to be left alone."""
    seconds: float


class Sender:
    """Sends to one endpoint.

    Raises:
        ConfigError: The URL or a secret can't be used.
    """

    def __init__(self, url: str, config: WebhookConfig) -> None:
        self._outgoing = HttpClient("webhook_urls", url, config.timeout, config.allow_private)
        self._keys = [key_of(secret) for secret in config.secrets]
        self.shown = shown(url)

    async def send(self, message_id: str, body: bytes, now_ms: int) -> Sent:
        """POST it, signed; never raises because of what the receiver does."""
        headers = signed_headers(self._keys, message_id, now_ms // 1000, body)
        began = time.monotonic()
        try:
            answer = await self._outgoing.post(body, headers)
        except HttpClientError as error:
            return Sent(0, str(error), 0.0, time.monotonic() - began)
        took = time.monotonic() - began
        if 200 <= answer.status < 300:
            return Sent(answer.status, "", 0.0, took)
        return Sent(
            answer.status, f"it answered with status {answer.status}", retry_after(answer.retry_after, now_ms), took
        )

    async def close(self) -> None:
        """Close the connection that was kept."""
        await self._outgoing.close()


class Tried(Struct, frozen=True, rename="camel"):
    """What came of a test event."""

    endpoint: str
    ok: bool
    status: int
    error: str
    seconds: float


async def try_all(config: WebhookConfig, now_ms: int) -> list[Tried]:
    """Send a test event to every endpoint, all at once and each once."""

    async def one(url: str) -> Tried:
        sender = Sender(url, config)
        body = encode_test(now_ms)
        try:
            sent = await sender.send(batch_id([url, str(now_ms)]), body, now_ms)
        finally:
            await sender.close()
        return Tried(sender.shown, not sent.error, sent.status, sent.error, round(sent.seconds, 3))

    return list(await asyncio.gather(*map(one, config.endpoints)))


def endpoint_key(url: str) -> str:
    """What an endpoint is called in the database, where a URL would be long, and may hold a secret."""
    return hashlib.blake2b(url.encode(), digest_size=8).hexdigest()


def shown(url: str) -> str:
    """The URL without its query, which may hold a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
