"""Limits for one address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.config.settings import Settings
from presenced.net import throttle as throttles
from presenced.net.throttle import Throttle
from presenced.runtime.limits import Buckets

HERE, THERE = "192.0.2.1", "192.0.2.2"


def make(**settings: object) -> Throttle:
    return Throttle(Settings.model_validate({"host": "192.0.2.99", "insecure": True, **settings}))


def test_a_burst_passes_and_then_the_rate() -> None:
    buckets = Buckets(rate=2, burst=3, max_keys=10)
    assert [buckets.take("a", 0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.wait("a", 0.25) == 0.25
    assert buckets.take("b", 0) == 0
    assert buckets.take("a", 0.5) == 0
    assert buckets.take("a", 0.5) == 0.5
    assert buckets.wait("unknown", 7) == 0


def test_the_bucket_used_least_recently_is_evicted() -> None:
    buckets = Buckets(rate=1, burst=1, max_keys=2)
    for key in "abac":
        buckets.take(key, 0)
    assert len(buckets) == 2
    assert buckets.wait("a", 0) == 0, "evicted: `a` was refused the second time, which is not a use"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 2)), max_size=60))
def test_burst_and_rate_bound_everything_that_passes(steps: list[tuple[str, float]]) -> None:
    buckets, now, passed = Buckets(rate=3, burst=5, max_keys=100), 0.0, dict.fromkeys("abc", 0)
    for key, pause in steps:
        now += pause
        passed[key] += buckets.take(key, now) == 0
        assert passed[key] <= 5 + 3 * now + 1e-6


def test_a_server_on_loopback_without_proxies_limits_no_address() -> None:
    local = Throttle(Settings())
    assert local.is_disabled
    assert local.key(HERE, []) == ""
    assert not make().is_disabled
    assert not Throttle(Settings(trusted_proxies=("127.0.0.1",))).is_disabled


def test_addresses_of_this_machine_are_never_limited() -> None:
    throttle = make(address_burst=1)
    key = throttle.key("127.0.0.1", [])
    assert key == ""
    assert not any(throttle.admit_handshake(key, 0) for _ in range(10))
    assert all(throttle.admit_connection(key) for _ in range(10_000))


def test_handshakes_of_one_address_are_limited() -> None:
    throttle = make(address_rate=0.5, address_burst=2)
    assert [throttle.admit_handshake(HERE, 0) is None for _ in range(3)] == [True, True, False]
    refused = throttle.admit_handshake(HERE, 0)
    assert refused
    assert refused.retry_after == 2
    assert throttle.admit_handshake(THERE, 0) is None
    assert throttle.admit_handshake(HERE, 2) is None


def test_failures_block_an_address_for_a_while() -> None:
    throttle = make(address_failure_rate=0.1, address_failure_burst=3)
    for _ in range(3):
        assert throttle.admit_handshake(HERE, 0) is None
        throttle.count_failure(HERE, 0)
    refused = throttle.admit_handshake(HERE, 0)
    assert refused
    assert refused.retry_after == 10
    assert "failed authentications" in refused.detail
    assert throttle.admit_handshake(THERE, 0) is None
    assert throttle.admit_handshake(HERE, 10) is None


def test_open_connections_of_one_address_are_limited() -> None:
    throttle = make(address_connections=2)
    assert [throttle.admit_connection(HERE) for _ in range(3)] == [True, True, False]
    assert throttle.admit_connection(THERE)
    throttle.release_connection(HERE)
    assert throttle.admit_connection(HERE)
    for key in (HERE, HERE, THERE, ""):
        throttle.release_connection(key)
    assert not throttle._connections, "an address without connections occupies no memory"


def test_the_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttles, "MAX_ADDRESSES", 100)
    throttle = make()
    for number in range(300):
        key = throttle.key(f"10.0.{number // 256}.{number % 256}", [])
        throttle.admit_handshake(key, 0)
        throttle.count_failure(key, 0)
    assert len(throttle._handshakes) == len(throttle._failures) == 100
