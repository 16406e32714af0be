"""State digests: nodes with the same records have the same ones after the same entry, and a difference is found."""

from __future__ import annotations

import random

import pytest

from presenced.cluster.replica.digest import CHECKPOINT_SHIFTS, CHECKPOINTS, StateDigest, compare
from presenced.presence.model import Status


def test_the_digest_depends_on_the_records_and_not_on_the_way_there() -> None:
    one, other = StateDigest(), StateDigest()
    one.add("ada", Status.ONLINE, 3)
    one.add("bob", Status.AWAY, 4)
    other.add("bob", Status.ONLINE, 2)
    other.add("ada", Status.ONLINE, 3)
    other.remove("bob", Status.ONLINE, 2)
    assert one.value != other.value
    other.add("bob", Status.AWAY, 4)
    assert one.value == other.value


@pytest.mark.parametrize("change", [("ada", Status.AWAY, 3), ("ada", Status.ONLINE, 4), ("eve", Status.ONLINE, 3)])
def test_every_part_of_a_record_counts(change: tuple[str, Status, int]) -> None:
    one, other = StateDigest(), StateDigest()
    one.add("ada", Status.ONLINE, 3)
    other.add(*change)
    assert one.value != other.value


class Follower:
    """Node that applies a log, and reports at times."""

    def __init__(self) -> None:
        self.digest = StateDigest()
        self.applied = 0

    def apply(self, n: int) -> None:
        self.digest.add(f"u{n}", Status.ONLINE, n)
        self.digest.applied(self.applied, n)
        self.applied = n

    @property
    def report(self) -> tuple[tuple[int, int], ...]:
        return self.digest.report(self.applied)


@pytest.mark.parametrize("behind", [0, 1, 100, 3_000, 30_000, 60_000])
def test_nodes_that_report_at_different_times_have_an_entry_in_common(behind: int) -> None:
    log = sorted(random.Random(behind).sample(range(1, 400_000), 100_000))
    ahead, late = Follower(), Follower()
    for n in log:
        ahead.apply(n)
        if n <= log[-1] - behind:
            late.apply(n)
    result = compare({"ahead": ahead.report, "late": late.report})
    assert result.compared == {"ahead", "late"}
    assert not result.differing


def test_a_report_has_a_bounded_length() -> None:
    node = Follower()
    for n in range(1, 300_000, 7):
        node.apply(n)
        assert len(node.report) <= CHECKPOINTS * len(CHECKPOINT_SHIFTS) + 1


def test_a_node_that_missed_an_entry_differs() -> None:
    one, other = Follower(), Follower()
    for n in range(1, 2_000):
        one.apply(n)
        if n != 1_000:
            other.apply(n)
    result = compare({"one": one.report, "other": other.report, "third": one.report})
    [(n, digests)] = result.differing.items()
    assert n == 1_999
    assert digests["one"] == digests["third"] != digests["other"]


def test_only_the_newest_common_entry_counts() -> None:
    one = ((100, 1), (200, 2))
    assert not compare({"one": one, "repaired": ((100, 9), (200, 2))}).differing
    assert compare({"one": one, "differs": ((100, 1), (200, 9))}).differing == {200: {"one": 2, "differs": 9}}
    alone = compare({"one": one, "far": ((300, 1),)})
    assert (alone.compared, alone.differing) == (frozenset(), {})


def test_a_cleared_digest_knows_nothing() -> None:
    node = Follower()
    for n in range(1, 1_000):
        node.apply(n)
    node.digest.clear()
    assert node.report == ((999, 0),)
