"""Figures that the benchmarks of pages compute from their observations."""

from __future__ import annotations

import pytest
from benchmarks.busy_pages import percentile
from benchmarks.friends import Frame, Outage, Start, code_lines, outage_of, start_of
from benchmarks.libraries import ARRIVING, LEAVING
from benchmarks.load import LoadError
from benchmarks.pages import BYTES_PER_SECOND, ROUND_TRIP, Direction

FRIENDS = ["bo", LEAVING, ARRIVING]
RIGHT = {"bo": "online", LEAVING: "offline", ARRIVING: "online"}
BEFORE: Frame = (0.0, ["online", "online", "offline"])


def outage(*frames: Frame) -> Outage:
    return outage_of([BEFORE, *frames], FRIENDS, RIGHT, 1_000.0, 2_000.0)


def test_empty_lines_and_comments_are_no_code() -> None:
    assert code_lines('import "x";\n\n  // why\nrun(); // how\n') == 2


def test_a_start_ends_with_the_first_right_dot_and_with_the_last() -> None:
    frames = [(110.0, ["unknown", "unknown"]), (130.0, ["unknown", "offline"]), (150.0, ["online", "offline"])]
    assert start_of(frames, ["online", "offline"], 100.0) == Start(30.0, 50.0)


def test_a_page_that_is_never_right_has_no_start() -> None:
    with pytest.raises(LoadError):
        start_of([(110.0, ["online", "online"])], ["online", "offline"], 100.0)


def test_a_page_that_keeps_its_dots_does_not_flicker() -> None:
    found = outage((3_000.0, ["online", "online", "online"]), (4_500.0, ["online", "offline", "online"]))
    assert found == Outage(listening_s=1.0, arrived_s=2.0, left_s=3.5, right_s=3.5, flickers=0, wrong_s=0.0)


def test_a_friend_who_stayed_and_is_shown_offline_is_a_flicker() -> None:
    found = outage((3_000.0, ["offline", "offline", "online"]), (3_500.0, ["online", "offline", "online"]))
    assert (found.flickers, found.wrong_s, found.right_s) == (1, 0.5, 2.5)


def test_only_a_state_that_lasts_counts_as_right() -> None:
    arrives_twice = [(3_000.0, "online"), (3_200.0, "offline"), (3_400.0, "online")]
    found = outage(*((at, ["online", "offline", state]) for at, state in arrives_twice))
    assert found.arrived_s == 2.4


def test_frames_before_the_end_of_the_server_do_not_count() -> None:
    assert outage((500.0, ["offline", "online", "offline"]), (600.0, BEFORE[1])).flickers == 0


def test_a_percentile_is_one_of_the_values() -> None:
    assert [percentile([3.0, 1.0, 2.0, 4.0], percent) for percent in (0, 50, 99, 100)] == [1.0, 3.0, 4.0, 4.0]


def test_connections_of_the_slow_network_share_its_bandwidth() -> None:
    direction = Direction()
    size = round(BYTES_PER_SECOND)
    assert direction.arrival(10.0, size) == pytest.approx(11.0 + ROUND_TRIP / 2)
    assert direction.arrival(10.5, size) == pytest.approx(12.0 + ROUND_TRIP / 2)
    assert direction.arrival(20.0, size) == pytest.approx(21.0 + ROUND_TRIP / 2)
