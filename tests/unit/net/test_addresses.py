"""Where a client is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.errors import ConfigError
from presenced.net.addresses import MAX_HOPS, Proxies, counted

NGINX = Proxies(["10.0.0.0/8", "::1"])
RFC_7239 = Proxies(["10.0.0.0/8"], by_rfc_7239=True)


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ([b"203.0.113.7"], "203.0.113.7"),
        ([b"198.51.100.1, 203.0.113.7"], "203.0.113.7"),  # the first one the client made up
        ([b"198.51.100.1", b"203.0.113.7"], "203.0.113.7"),
        ([b"203.0.113.7, 10.1.2.3"], "203.0.113.7"),  # two proxies of ours
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
def test_a_trusted_proxy_is_believed_and_what_the_client_says_is_not(forwarded_for: list[bytes], client: str) -> None:
    assert NGINX.client("10.0.0.1", forwarded_for) == client


def test_nobody_else_is_believed() -> None:
    assert NGINX.client("192.0.2.1", [b"203.0.113.7"]) == "192.0.2.1"
    assert Proxies([]).client("127.0.0.1", [b"203.0.113.7"]) == "127.0.0.1"
    assert not Proxies([])


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
def test_forwarded_of_rfc_7239(forwarded: list[bytes], client: str) -> None:
    assert RFC_7239.client("10.0.0.1", forwarded) == client


def test_ipv6_counts_by_64_and_ipv4_in_it_as_ipv4() -> None:
    assert counted("2001:db8:1:2::1").key == counted("2001:db8:1:2:ffff::9").key == "2001:db8:1:2::/64"
    assert counted("2001:db8:1:3::1").key != counted("2001:db8:1:2::1").key
    assert counted("::ffff:192.0.2.1") == counted("192.0.2.1")
    assert counted("fe80::1%eth0").key == "fe80::/64"
    assert counted("::1").is_loopback
    assert counted("127.0.0.2").is_loopback
    assert not counted("unix").is_loopback


@pytest.mark.parametrize("entry", ["proxy", "10.0.0.0/33", "*"])
def test_an_entry_that_is_no_network_is_an_error(entry: str) -> None:
    with pytest.raises(ConfigError, match="expected an address or a network"):
        Proxies([entry])


@given(st.lists(st.binary(max_size=40), max_size=4), st.sampled_from([NGINX, RFC_7239]))
def test_whatever_the_header_holds_there_is_an_address(values: list[bytes], proxies: Proxies) -> None:
    assert not counted(proxies.client("10.0.0.1", values)).key.endswith("/0")
    assert proxies.client("192.0.2.1", values) == "192.0.2.1"
