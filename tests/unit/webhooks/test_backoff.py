"""Delays before retries."""

from __future__ import annotations

import pytest

from presenced.webhooks.delivery import retry_delay
from presenced.webhooks.sender import MAX_RETRY_AFTER_S, parse_retry_after

MOMENT = 1_445_412_480_000
"""Wed, 21 Oct 2015 07:28:00 GMT."""


def test_the_longest_delay_doubles_up_to_a_bound() -> None:
    longest = [retry_delay(failures, 1, 300, 1) for failures in range(1, 12)]
    assert longest == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert retry_delay(10_000, 1, 300, 1) == 300


def test_the_jitter_is_full() -> None:
    assert retry_delay(5, 1, 300, 0) == 0
    assert retry_delay(5, 1, 300, 0.25) == 4


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("99999999999999999999", MAX_RETRY_AFTER_S),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", MAX_RETRY_AFTER_S),
        ("", 0),
        ("-5", 0),
        ("soon", 0),
        ("٣", 0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(text: str, seconds: float) -> None:
    assert parse_retry_after(text, MOMENT) == seconds
