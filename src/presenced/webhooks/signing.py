"""Signatures by Standard Webhooks 1.0.0 (https://github.com/standard-webhooks/standard-webhooks): `v1`, HMAC-SHA256."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable

from presenced.errors import ConfigError

PREFIX = "whsec_"
LEAST, MOST = 24, 64
"""Bytes of a secret."""


def new_secret() -> str:
    """A fresh one."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The bytes that a secret stands for.

    Raises:
        ConfigError: It can't be used; the text does not show it.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not LEAST <= len(key) <= MOST:
        raise ConfigError(
            f"webhook_secrets has one that can't be used: expected {PREFIX} and the base64 of {LEAST} to {MOST} bytes, "
            "as `presenced webhook secret` makes it"
        )
    return key


def signed_headers(keys: Iterable[bytes], message_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """The three headers of a request.

    Args:
        keys: There is a signature by each.
        message_id: Without a full stop.
        seconds: The time of the attempt, since 1970.
    """
    content = f"{message_id}.{seconds}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
