"""Signatures of requests, as Standard Webhooks 1.0.0 defines them (`v1`, HMAC-SHA256).

https://github.com/standard-webhooks/standard-webhooks
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable

from presenced.errors import ConfigError

WHSEC_PREFIX = "whsec_"
"""Start of every secret."""

MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
"""Bounds of the key that a secret encodes. The server does not start with a shorter or longer one."""


def new_secret() -> str:
    """Return a new random secret of 32 bytes."""
    return WHSEC_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def decode_secret(secret: str) -> bytes:
    """Return the key that a secret encodes.

    Raises:
        ConfigError: The secret is invalid. The message does not show it.
    """
    try:
        key = base64.b64decode(secret.removeprefix(WHSEC_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(WHSEC_PREFIX) or not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ConfigError(
            f"webhook_secrets has an invalid secret: expected {WHSEC_PREFIX} and the base64 of {MIN_SECRET_BYTES} to "
            f"{MAX_SECRET_BYTES} bytes, as `presenced webhook secret` prints it"
        )
    return key


def signed_headers(keys: Iterable[bytes], message_id: str, epoch_s: int, body: bytes) -> dict[str, str]:
    """Return the three headers that authenticate a request.

    Args:
        keys: Keys to sign with. A receiver accepts the request if it knows one of them.
        message_id: Id of the request, without a full stop.
        epoch_s: Time of this attempt. Receivers reject an old one, so a retry gets a new time.
    """
    content = f"{message_id}.{epoch_s}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(epoch_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
