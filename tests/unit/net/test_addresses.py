"""Addresses of clients, behind proxies and for limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.errors import ConfigError
from presenced.net.addresses import MAX_HOPS, TrustedProxies, limit_key

NGINX = TrustedProxies(["10.0.0.0/8", "::1"])
RFC_7239 = TrustedProxies(["10.0.0.0/8"], by_rfc_7239=True)


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ([b"203.0.113.7"], "203.0.113.7"),
        ([b"198.51.100.1, 203.0.113.7"], "203.0.113.7"),  # the client invented the first one
        ([b"198.51.100.1", b"203.0.113.7"], "203.0.113.7"),
        ([b"203.0.113.7, 10.1.2.3"], "203.0.113.7"),  # two trusted proxies
        ([b"203.0.113.7:1234"], "203.0.113.7"),
        ([b"[2001:db8::7]:1234"], "2001:db8::7"),
        ([b"2001:db8::7"], "2001:db8::7"),
        ([b"::ffff:203.0.113.7"], "203.0.113.7"),
        ([b"203.0.113.7, unknown"], "10.0.0.1"),
        ([b"203.0.113.7, nonsense, 10.1.2.3"], "10.1.2.3"),
        ([b""], "10.0.0.1"),
        ([], "10.0.0.1"),
        ([b"10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        ([b"203.0.113.7," + b"10.0.0.2," * MAX_HOPS + b"10.0.0.3"], "10.0.0.2"),
    ],
)
def test_the_client_is_the_last_hop_that_is_no_trusted_proxy(forwarded_for: list[bytes], client: str) -> None:
    assert NGINX.client("10.0.0.1", forwarded_for) == client


def test_the_header_of_an_untrusted_peer_is_ignored() -> None:
    assert NGINX.client("192.0.2.1", [b"203.0.113.7"]) == "192.0.2.1"
    assert TrustedProxies([]).client("127.0.0.1", [b"203.0.113.7"]) == "127.0.0.1"
    assert not TrustedProxies([])


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([b"for=203.0.113.7"], "203.0.113.7"),
        ([b'For="[2001:db8::7]:4711";proto=https'], "2001:db8::7"),
        ([b"for=198.51.100.1, for=203.0.113.7;by=10.0.0.1"], "203.0.113.7"),
        ([b"for=198.51.100.1", b"for=10.9.9.9"], "198.51.100.1"),
        ([b"for=_hidden"], "10.0.0.1"),
        ([b"proto=https"], "10.0.0.1"),
        ([b"for=1.1.1.1;for=2.2.2.2"], "10.0.0.1"),
    ],
)
def test_the_client_in_the_header_of_rfc_7239(forwarded: list[bytes], client: str) -> None:
    assert RFC_7239.client("10.0.0.1", forwarded) == client


def test_an_ipv6_address_is_limited_by_its_64_and_an_embedded_ipv4_address_by_itself() -> None:
    assert limit_key("2001:db8:1:2::1") == limit_key("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert limit_key("2001:db8:1:3::1") != limit_key("2001:db8:1:2::1")
    assert limit_key("::ffff:192.0.2.1") == limit_key("192.0.2.1") == "192.0.2.1"
    assert limit_key("fe80::1%eth0") == "fe80::/64"
    assert limit_key("unix") == "unix"


@pytest.mark.parametrize("address", ["::1", "127.0.0.1", "127.0.0.2", "::ffff:127.0.0.1"])
def test_addresses_of_this_machine_are_not_limited(address: str) -> None:
    assert limit_key(address) == ""


@pytest.mark.parametrize("entry", ["proxy", "10.0.0.0/33", "*"])
def test_an_entry_that_is_not_a_network_is_an_error(entry: str) -> None:
    with pytest.raises(ConfigError, match="expected an address or a network"):
        TrustedProxies([entry])


@given(st.lists(st.binary(max_size=40), max_size=4), st.sampled_from([NGINX, RFC_7239]))
def test_every_header_yields_an_address(values: list[bytes], proxies: TrustedProxies) -> None:
    assert not limit_key(proxies.client("10.0.0.1", values)).endswith("/0")
    assert proxies.client("192.0.2.1", values) == "192.0.2.1"
