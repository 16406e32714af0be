"""The PROXY protocol, version 2."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.net.proxy_protocol import MAX_PROXY_HEADER_BYTES, SIGNATURE, parse_proxy_header


def header(family: int, addresses: bytes, command: int = 0x21, more: bytes = b"") -> bytes:
    body = addresses + more
    return SIGNATURE + bytes([command, family << 4 | 1]) + len(body).to_bytes(2, "big") + body


def ports() -> bytes:
    return (1234).to_bytes(2, "big") + (3001).to_bytes(2, "big")


def test_a_header_names_the_client() -> None:
    four = ipaddress.ip_address("203.0.113.7").packed + ipaddress.ip_address("10.0.0.1").packed + ports()
    made = header(1, four, more=b"\x04\x00\x01x")
    found = parse_proxy_header(made + b"GET / HTTP/1.1")
    assert found
    assert (found.size, found.address) == (len(made), "203.0.113.7")
    six = ipaddress.ip_address("2001:db8::7").packed * 2 + ports()
    found = parse_proxy_header(header(2, six))
    assert found
    assert found.address == "2001:db8::7"
    for made in (header(0, b"", command=0x20), header(3, b"x" * 216)):
        found = parse_proxy_header(made)
        assert found
        assert found.address is None
    for size in range(len(header(1, four))):
        assert parse_proxy_header(header(1, four)[:size]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2\r\n",
        header(1, b"x" * 12, command=0x31),
        header(1, b"x" * 12, command=0x22),
        header(1, b"x" * 11),
        header(2, b"x" * 35),
        header(1, b"x" * (MAX_PROXY_HEADER_BYTES + 1)),
    ],
)
def test_other_bytes_are_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="PROXY protocol"):
        parse_proxy_header(data)


@given(st.binary(max_size=64), st.booleans())
def test_all_input_is_a_header_the_start_of_one_or_an_error(data: bytes, signed: bool) -> None:
    data = SIGNATURE + data if signed else data
    try:
        found = parse_proxy_header(data)
    except ValueError:
        return
    assert found is None or 16 <= found.size <= len(data)
