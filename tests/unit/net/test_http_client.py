"""URLs and addresses that the server itself sends requests to (attack A14)."""

from __future__ import annotations

import pytest

from presenced.errors import ConfigError
from presenced.net.http_client import HttpClient, HttpClientError, is_public


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
        "64:ff9b:1::a00:1",
        "::a00:1",
        "::ffff:0:10.0.0.1",
        "fec0::1",
        "2002:a00:1::1",
        "2001:0:a00:1::1",
        "nonsense",
    ],
)
def test_private_special_and_embedding_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_other_addresses_are_public(address: str) -> None:
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
        "https://example.com:99999/",
        "https://example.com:port/",
        "https://[::1/",
        "https://[example]/",
    ],
)
def test_an_invalid_url_is_an_error_that_names_the_setting(url: str) -> None:
    with pytest.raises(ConfigError, match="callback_url"):
        HttpClient("callback_url", url, timeout=1, allow_private=True)


def test_http_without_tls_needs_private_addresses_to_be_allowed() -> None:
    with pytest.raises(ConfigError, match="not https"):
        HttpClient("callback_url", "http://example.com/", timeout=1, allow_private=False)
    HttpClient("callback_url", "http://localhost:1/", timeout=1, allow_private=True)


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "169.254.169.254", "2130706433", "0x7f.1"])
async def test_private_addresses_are_refused_before_anything_is_sent(host: str) -> None:
    client = HttpClient("jwt_jwks_url", f"https://{host}:1/", timeout=2, allow_private=False)
    with pytest.raises(HttpClientError, match=r"private address|is not known"):
        await client.get()
    await client.close()
