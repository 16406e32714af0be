"""The token bucket and the best pace."""

from presenced.runtime.limits import Bucket, Pace


def test_a_burst_goes_through_and_then_the_rate() -> None:
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
