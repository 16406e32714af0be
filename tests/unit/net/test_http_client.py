"""Requests of the server's own: where they may go (attack A14)."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from presenced.errors import ConfigError
from presenced.net.http_client import Outgoing, OutgoingError, is_public, signed


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.1.2.3",
        "192.0.2.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::1",
        "2001:0:a00:1::1",
        "nonsense",
    ],
)
def test_addresses_that_are_not_the_internet_s(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "https://",
        "https://a:b@example.com/",
        "gopher://x",
    ],
)
def test_urls_that_can_not_be_used(url: str) -> None:
    with pytest.raises(ConfigError, match="callback_url"):
        Outgoing("callback_url", url, 1, allow_private=True)


def test_without_tls_only_where_private_addresses_are_allowed() -> None:
    with pytest.raises(ConfigError, match="not https"):
        Outgoing("callback_url", "http://example.com/", 1, allow_private=False)
    Outgoing("callback_url", "http://localhost:1/", 1, allow_private=True)


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "169.254.169.254", "2130706433", "0x7f.1"])
async def test_private_addresses_are_refused_before_anything_is_sent(host: str) -> None:
    outgoing = Outgoing("jwt_jwks_url", f"https://{host}:1/", 2, allow_private=False)
    with pytest.raises(OutgoingError, match=r"private address|is not known"):
        await outgoing.get()
    await outgoing.close()


def test_the_signature_is_of_the_time_and_the_body() -> None:
    headers = signed("secret", 1_700_000_000, b"{}")
    expected = hmac.digest(b"secret", b"1700000000.{}", hashlib.sha256).hex()
    assert headers == {"presenced-timestamp": "1700000000", "presenced-signature": f"v1={expected}"}
