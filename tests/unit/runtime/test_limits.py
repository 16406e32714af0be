"""The bounded map, the token bucket and the best pace."""

import pytest

from presenced.runtime.limits import BoundedMap, Bucket, Pace


def test_a_full_map_evicts_the_entry_that_was_set_least_recently() -> None:
    entries: BoundedMap[str, int] = BoundedMap(2)
    assert entries.set("a", 1) is None
    assert entries.set("b", 2) is None
    assert entries.get("a") == 1, "reading does not renew an entry"
    assert entries.set("a", 3) is None, "a key that is present needs no room"
    assert entries.set("c", 4) == ("b", 2)
    assert (list(entries), len(entries)) == (["a", "c"], 2)
    assert "b" not in entries
    assert entries.get("b") is None


def test_a_map_without_room_evicts_each_entry_immediately() -> None:
    entries: BoundedMap[str, None] = BoundedMap(0)
    assert entries.set("a", None) == ("a", None)
    assert len(entries) == 0


def test_pop_removes_an_entry_once() -> None:
    entries: BoundedMap[str, int] = BoundedMap(2, ttl=5)
    entries.set("a", 1, now=0)
    assert entries.pop("a", now=4.9) == 1
    assert entries.pop("a", now=4.9) is None
    assert "a" not in entries


def test_an_entry_expires_after_the_ttl_unless_set_again() -> None:
    entries: BoundedMap[str, int] = BoundedMap(9, ttl=5)
    entries.set("a", 1, now=0)
    entries.set("b", 2, now=1)
    entries.set("a", 3, now=2)
    assert (entries.get("b", now=5.9), entries.get("a", now=6.9)) == (2, 3)
    assert (entries.get("b", now=6), entries.pop("a", now=7)) == (None, None)


def test_expired_entries_leave_room() -> None:
    entries: BoundedMap[str, int] = BoundedMap(2, ttl=5)
    entries.set("a", 1, now=0)
    entries.set("b", 2, now=1)
    assert entries.set("c", 3, now=5) is None, "a has expired"
    assert entries.set("d", 4, now=5) == ("b", 2)
    entries.expire(now=10)
    assert len(entries) == 0


@pytest.mark.parametrize("now", [0.0, 1e9])
def test_without_a_ttl_nothing_expires(now: float) -> None:
    entries: BoundedMap[str, int] = BoundedMap(2)
    entries.set("a", 1)
    entries.expire(now)
    assert entries.get("a", now) == 1


def test_a_burst_passes_and_then_the_rate() -> None:
    bucket = Bucket(burst=3, now=0)
    assert [bucket.take(2, 3, 0) for _ in range(5)] == [True, True, True, False, False]
    assert [bucket.take(2, 3, 0.5) for _ in range(2)] == [True, False]
    assert [bucket.take(2, 3, 100) for _ in range(4)] == [True, True, True, False], "no more is saved up than a burst"


def test_a_refused_request_costs_nothing() -> None:
    bucket = Bucket(burst=1, now=0)
    assert bucket.take(1, 1, 0)
    assert not any(bucket.take(1, 1, 0.1 * n) for n in range(9))
    assert bucket.take(1, 1, 1.01)


def test_the_best_second_counts() -> None:
    pace = Pace()
    assert pace.best == Pace.LEAST
    for _ in range(3000):
        pace.count(10.0)
    for _ in range(1500):
        pace.count(11.5)
    assert pace.best == 3000
