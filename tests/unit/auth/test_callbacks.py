"""Callbacks: signatures, and how grants of a token and of the visibility callback combine."""

from __future__ import annotations

import hashlib
import hmac

from presenced.auth.callbacks import merge_grants, signature_headers
from presenced.auth.principal import Principal


def test_the_signature_covers_the_time_and_the_body() -> None:
    headers = signature_headers("secret", 1_700_000_000, b"{}")
    expected = hmac.digest(b"secret", b"1700000000.{}", hashlib.sha256).hex()
    assert headers == {"presenced-timestamp": "1700000000", "presenced-signature": f"v1={expected}"}


def test_a_callback_decides_visibility_and_cannot_lift_a_block_of_the_token() -> None:
    of_token = Principal("ada", block=frozenset({"eve"}), watch=frozenset({"bo"}), roles=("a", "b"))
    of_callback = Principal("ada", watch_everyone=True, rooms=frozenset({"lobby"}), block=frozenset({"mallory"}))
    merged = merge_grants(of_token, of_callback)
    assert merged.block == {"eve", "mallory"}
    assert (merged.watch, merged.watch_everyone, merged.rooms) == (None, True, frozenset({"lobby"}))
    assert merged.roles == ("a", "b")
