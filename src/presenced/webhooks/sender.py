"""Requests to one endpoint: signed, sent, and their responses evaluated. `delivery` decides what is sent, and when."""

from __future__ import annotations

import asyncio
import hashlib
import time
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from presenced.net.http_client import HttpClient, HttpClientError
from presenced.webhooks.config import WebhookConfig
from presenced.webhooks.events import batch_id, encode_test
from presenced.webhooks.signing import decode_secret, signed_headers

GONE = 410
"""Status with which a receiver asks for no more requests."""

BUSY = frozenset({429, 502, 503, 504})
"""Statuses that describe the state of the receiver, and not the content of the request."""

MAX_RETRY_AFTER_S = 86_400.0
"""Longest delay that a receiver can request. A longer one is shortened to this."""


class SendResult(NamedTuple):
    """Result of one request."""

    status: int
    """Status of the response; 0 if there was none."""
    error: str
    """Empty if the receiver accepted the request with 2xx."""
    retry_after_s: float
    """Seconds to wait before the next request, as the receiver asks."""
    duration_s: float
    """Seconds that the request took."""

    @property
    def is_refused(self) -> bool:
        """Whether the receiver rejected this content, and may well accept another."""
        return bool(self.error) and self.status not in (0, GONE) and self.status not in BUSY


class EndpointSender:
    """Signs requests and sends them to one endpoint, over a connection that stays open.

    Raises:
        ConfigError: The URL or a secret is invalid.
    """

    def __init__(self, url: str, config: WebhookConfig) -> None:
        self._client = HttpClient("webhook_urls", url, config.timeout_s, config.allow_private)
        self._keys = [decode_secret(secret) for secret in config.secrets]
        self.display_url = display_url(url)

    async def send(self, message_id: str, body: bytes, now_ms: int) -> SendResult:
        """POST a signed request. Never raises because of anything that the receiver does."""
        headers = signed_headers(self._keys, message_id, now_ms // 1000, body)
        began = time.monotonic()
        try:
            response = await self._client.post(body, headers)
        except HttpClientError as error:
            return SendResult(0, str(error), 0.0, time.monotonic() - began)
        duration_s = time.monotonic() - began
        if 200 <= response.status < 300:
            return SendResult(response.status, "", 0.0, duration_s)
        error_text = f"it answered with status {response.status}"
        return SendResult(response.status, error_text, parse_retry_after(response.retry_after, now_ms), duration_s)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()


async def send_test_events(config: WebhookConfig, now_ms: int) -> list[SendResult]:
    """Send a test event once to every endpoint, all at the same time. Return the results in the order of the URLs."""

    async def send_to(url: str) -> SendResult:
        sender = EndpointSender(url, config)
        try:
            return await sender.send(batch_id([url, str(now_ms)]), encode_test(now_ms), now_ms)
        finally:
            await sender.close()

    return list(await asyncio.gather(*map(send_to, config.urls)))


def endpoint_key(url: str) -> str:
    """Return the name of an endpoint in the database. A URL may be long, and may contain a secret."""
    return hashlib.blake2b(url.encode(), digest_size=8).hexdigest()


def display_url(url: str) -> str:
    """Return the URL for logs and people: without its query, which may contain a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def parse_retry_after(text: str, now_ms: int) -> float:
    """Return the seconds that a `Retry-After` header requests (RFC 9110 section 10.2.3); 0 if it is not valid."""
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(0.0, moment - now_ms / 1000), MAX_RETRY_AFTER_S)
