"""Names of positions and sessions that all nodes understand."""

from __future__ import annotations

import pytest

from presenced.cluster.backend import Registration
from presenced.cluster.marks import Mark, Marks
from presenced.cluster.names import SharedNames, home_of, slot_of
from presenced.presence.journal import Cursor, Journal


def names(slot: int = 7, position: int = 900) -> SharedNames:
    """Return the names of a node in this slot, whose journal is at this position."""
    journal = Journal(10)
    journal.position = position
    found = SharedNames("", journal)
    found.registered(Registration(slot, "1f", 0, 0, "0a1b"))
    found.marks = Marks(600)
    return found


def test_a_position_names_the_cluster_and_the_node() -> None:
    ours = names()
    assert ours.position(17) == "0a1b-071f.17"
    assert ours.position(17, 2) == "0a1b-071f.17-2"
    assert ours.cursor("0a1b-071f.17") == (17, 0)
    assert ours.cursor("0a1b-071f.17-2") == (17, 2)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "0a1b",
        "0a1b-17",
        "0a1b-071f.",
        "0a1b-071f.x",
        "0a1b-071f.1-2-3",
        "0a1b-071f.901",
        "other-071f.17",
        "0a1b-.1",
    ],
)
def test_another_text_is_no_position(bad: str) -> None:
    assert names().cursor(bad) is None


def test_a_position_of_another_node_is_translated() -> None:
    ours = names()
    assert ours.marks is not None
    ours.marks.add(Mark("031c", 40, (12,)), 0.0)
    ours.marks.add(Mark(ours.home, 850, (11,)), 0.0)
    assert ours.cursor("0a1b-031c.44-1") == (850, 0)
    assert ours.cursor("0a1b-031c.39") is None
    assert ours.cursor("0a1b-041c.44") is None


def test_a_session_names_the_node_where_it_opened() -> None:
    session_id = names().new_session()
    home, _, secret = session_id.partition(".")
    assert (home, slot_of(home), len(secret)) == ("071f", 7, 22)
    assert slot_of(home_of(3, "zz9")) == 3
    assert [slot_of(text) for text in ("", "7", "ab12", "07", "07A", "07-")] == [-1] * 6


def test_a_client_has_a_snapshot_if_it_has_received_the_end_of_it() -> None:
    ours, end = names(), Cursor(40, 2)
    assert not ours.is_before("0a1b-031c.40-2", "031c", end)
    assert not ours.is_before("0a1b-031c.41", "031c", end)
    assert ours.is_before("0a1b-031c.40-1", "031c", end)
    assert ours.is_before("0a1b-041c.99", "031c", end), "it is of the node before"
    assert ours.is_before("", "031c", end)
    assert not ours.is_before("", "031c", Cursor(0)), "there was no snapshot"
