"""The journal: all changes in order, up to its bound, and a digest for comparison."""

import pytest
from msgspec import structs

from presenced.presence import journal as module
from presenced.presence.journal import Cursor, Journal
from presenced.presence.model import SEEN_OFFLINE, SEEN_ONLINE, Cause, Change, Status, StatusDetails, View
from presenced.runtime.instant import Instant


def change(position: int, user_id: str = "7", online: bool = True, was_version: int = 0) -> Change:
    view, was = (SEEN_ONLINE, Status.OFFLINE) if online else (SEEN_OFFLINE, Status.ONLINE)
    return Change(position, user_id, view, was, position, Instant(0, 0), 0, 0, Cause.CONNECT, was_version)


def nobody() -> list[Change]:
    return []


def test_changes_are_returned_in_order_page_by_page() -> None:
    journal = Journal(10)
    changes = [change(position) for position in (2, 3, 7, 9)]
    for each in changes:
        journal.append(each)
    assert journal.since(0, 3) == changes[:3]
    assert journal.since(7, 3) == changes[3:]
    assert journal.since(5, 3) == changes[2:], "a position may be that of a room"
    assert journal.since(9, 3) == []
    assert journal.newest_change_position == 9


def test_a_full_journal_drops_the_oldest_change_and_followers_detect_the_gap() -> None:
    journal = Journal(3)
    for position in range(1, 6):
        journal.append(change(position))
        assert len(journal) <= 3
    assert journal.since(1, 10) is None
    assert [c.position for c in journal.since(2, 10) or []] == [3, 4, 5]
    assert [c.position for c in journal.since(3, 1) or []] == [4]
    assert [c.position for c in journal.since(4, 10) or []] == [5]
    assert journal.newest_change_position == 5


def test_the_last_changes_of_one_user_are_returned_newest_first() -> None:
    journal = Journal(4)
    for position, user_id in enumerate("ababab", start=1):
        journal.append(change(position, user_id))
    assert [c.position for c in journal.last_of("b", 50)] == [6, 4]
    assert [c.position for c in journal.last_of("b", 1)] == [6]
    assert journal.last_of("c", 50) == []


def test_the_digest_is_a_sum_of_hashes_that_any_language_can_compute() -> None:
    """The first 8 bytes of `printf '%s\\0online\\0%s' 7 5 | sha256sum`, and of the same with 8 and 6."""
    journal = Journal(10)
    empty = journal.digest(nobody)
    assert empty
    assert (empty.position, empty.value, empty.users) == (0, 0, 0)
    journal.append(change(5, "7"))
    journal.append(change(6, "8"))
    digest = journal.digest(nobody)
    assert digest
    seven, eight = 0x58D57B7040E8DCA1, 0x795C745CBD3EF54C
    assert (digest.position, digest.value, digest.users) == (6, (seven + eight) % 2**64, 2)
    journal.append(change(8, "7", online=False, was_version=5))
    digest = journal.digest(nobody)
    assert digest
    assert (digest.position, digest.value, digest.users) == (8, eight, 1)


def test_the_digest_of_many_users_is_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HASHED_USERS", 2)
    everyone = [change(position, f"{position}") for position in range(1, 6)]
    journal = Journal(100)
    for each in everyone:
        journal.append(each)
    assert [journal.digest(lambda: list(everyone)), journal.digest(lambda: list(everyone))] == [None, None]
    journal.append(change(6, "new"))
    digest = journal.digest(lambda: list(everyone))
    assert digest
    assert (digest.position, digest.users) == (6, 6)


def test_blanking_a_user_leaves_only_what_followers_need() -> None:
    journal = Journal(3)
    view = View(Status.BUSY, StatusDetails(text="private"), ("phone",))
    for position in range(1, 5):
        journal.append(structs.replace(change(position, "ada" if position % 2 else "bo"), view=view, seen_ms=7))
    before = journal.digest(nobody)
    journal.erase_details("ada")
    assert journal.digest(nobody) == before
    found = journal.since(1, 10)
    assert found
    assert [(c.position, c.user_id, c.status) for c in found] == [
        (2, "bo", "busy"),
        (3, "ada", "busy"),
        (4, "bo", "busy"),
    ]
    assert [(c.view.details.text, c.view.devices, c.seen_ms) for c in found] == [
        ("private", ("phone",), 7),
        ("", (), 0),
        ("private", ("phone",), 7),
    ]


def test_each_event_has_its_own_position_above_an_earlier_start() -> None:
    journal = Journal(3)
    journal.advance(1000)
    assert [journal.next_position(), journal.next_position(), journal.position] == [1001, 1002, 1002]
    journal.advance(7)
    assert journal.next_position() == 1003


def test_cursors_of_a_session_compare_in_the_order_in_which_they_were_sent() -> None:
    assert Cursor(5) < Cursor(5, 1) < Cursor(5, 2) < Cursor(6)
