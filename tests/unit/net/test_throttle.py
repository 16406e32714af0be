"""How much may come from one address."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.config.settings import Settings
from presenced.net import throttle as gate
from presenced.net.proxy_protocol import MAX_LENGTH, SIGNATURE, parse
from presenced.net.throttle import Throttle
from presenced.runtime.limits import Buckets

HERE, THERE = "192.0.2.1", "192.0.2.2"


def make(**settings: object) -> Throttle:
    return Throttle(Settings.model_validate({"host": "192.0.2.99", "insecure": True, **settings}))


def test_buckets_let_through_a_burst_and_then_a_rate() -> None:
    buckets = Buckets(rate=2, burst=3, max_keys=10)
    assert [buckets.take("a", 0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.wait("a", 0.25) == 0.25
    assert buckets.take("b", 0) == 0
    assert buckets.take("a", 0.5) == 0
    assert buckets.take("a", 0.5) == 0.5
    assert buckets.wait("unknown", 7) == 0


def test_buckets_forget_the_key_used_longest_ago() -> None:
    buckets = Buckets(rate=1, burst=1, max_keys=2)
    for key in "abac":
        buckets.take(key, 0)
    assert len(buckets) == 2
    assert buckets.wait("a", 0) == 0, "forgotten: `a` was refused the second time, which is no use"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 2)), max_size=60))
def test_no_more_passes_than_burst_and_rate_allow(steps: list[tuple[str, float]]) -> None:
    buckets, now, passed = Buckets(rate=3, burst=5, max_keys=100), 0.0, dict.fromkeys("abc", 0)
    for key, pause in steps:
        now += pause
        passed[key] += buckets.take(key, now) == 0
        assert passed[key] <= 5 + 3 * now + 1e-6


def test_where_only_this_machine_may_connect_nothing_is_counted() -> None:
    open_gate = Throttle(Settings())
    assert open_gate.is_open
    assert open_gate.key(HERE, []) == ""
    assert not make().is_open
    assert not Throttle(Settings(trusted_proxies=("127.0.0.1",))).is_open


def test_this_machine_does_not_count_elsewhere_either() -> None:
    harness = make(address_burst=1)
    key = harness.key("127.0.0.1", [])
    assert key == ""
    assert not any(harness.handshake(key, 0) for _ in range(10))
    assert all(harness.came(key) for _ in range(10_000))


def test_handshakes_of_one_address() -> None:
    harness = make(address_rate=0.5, address_burst=2)
    assert [harness.handshake(HERE, 0) is None for _ in range(3)] == [True, True, False]
    refused = harness.handshake(HERE, 0)
    assert refused
    assert refused.retry_after == 2
    assert harness.handshake(THERE, 0) is None
    assert harness.handshake(HERE, 2) is None


def test_failures_bar_an_address_for_a_while() -> None:
    harness = make(address_failure_rate=0.1, address_failure_burst=3)
    for _ in range(3):
        assert harness.handshake(HERE, 0) is None
        harness.failed(HERE, 0)
    refused = harness.handshake(HERE, 0)
    assert refused
    assert refused.retry_after == 10
    assert "failed authentications" in refused.detail
    assert harness.handshake(THERE, 0) is None
    assert harness.handshake(HERE, 10) is None


def test_connections_of_one_address() -> None:
    harness = make(address_connections=2)
    assert [harness.came(HERE) for _ in range(3)] == [True, True, False]
    assert harness.came(THERE)
    harness.left(HERE)
    assert harness.came(HERE)
    for key in (HERE, HERE, THERE, ""):
        harness.left(key)
    assert not harness._connections


def test_the_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_ADDRESSES", 100)
    harness = make()
    for number in range(300):
        key = harness.key(f"10.0.{number // 256}.{number % 256}", [])
        harness.handshake(key, 0)
        harness.failed(key, 0)
    assert len(harness._handshakes) == len(harness._failures) == 100


def header(family: int, addresses: bytes, command: int = 0x21, more: bytes = b"") -> bytes:
    body = addresses + more
    return SIGNATURE + bytes([command, family << 4 | 1]) + len(body).to_bytes(2, "big") + body


def ports() -> bytes:
    return (1234).to_bytes(2, "big") + (3001).to_bytes(2, "big")


def test_a_proxy_header_names_the_client() -> None:
    four = ipaddress.ip_address("203.0.113.7").packed + ipaddress.ip_address("10.0.0.1").packed + ports()
    made = header(1, four, more=b"\x04\x00\x01x")
    found = parse(made + b"GET / HTTP/1.1")
    assert found
    assert (found.size, found.address) == (len(made), "203.0.113.7")
    six = ipaddress.ip_address("2001:db8::7").packed * 2 + ports()
    found = parse(header(2, six))
    assert found
    assert found.address == "2001:db8::7"
    for made in (header(0, b"", command=0x20), header(3, b"x" * 216)):
        found = parse(made)
        assert found
        assert found.address is None
    for size in range(len(header(1, four))):
        assert parse(header(1, four)[:size]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2\r\n",
        header(1, b"x" * 12, command=0x31),
        header(1, b"x" * 12, command=0x22),
        header(1, b"x" * 11),
        header(2, b"x" * 35),
        header(1, b"x" * (MAX_LENGTH + 1)),
    ],
)
def test_what_is_no_proxy_header_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="PROXY protocol"):
        parse(data)


@given(st.binary(max_size=64), st.booleans())
def test_whatever_comes_is_a_header_the_begin_of_one_or_an_error(data: bytes, signed: bool) -> None:
    data = SIGNATURE + data if signed else data
    try:
        found = parse(data)
    except ValueError:
        return
    assert found is None or 16 <= found.size <= len(data)
