"""The log of latest changes: a watcher gets each missed user once, bounded by entries and by age."""

from msgspec import structs

from presenced.presence.journal import RecentChanges
from presenced.presence.model import SEEN_ONLINE, Cause, Change, Status
from presenced.runtime.instant import Instant


class Log:
    """Log with the latest change of each user, as the directory knows it."""

    def __init__(self, max_entries: int = 100, max_age: float = 60.0) -> None:
        self.latest: dict[str, Change] = {}
        self.forgotten: list[str] = []
        self.log = RecentChanges(max_entries, max_age, self.is_latest, lambda c: self.forgotten.append(c.user_id))

    def is_latest(self, change: Change) -> bool:
        return self.latest.get(change.user_id) is change

    def add(self, position: int, user_id: str, at: float = 0.0) -> None:
        change = Change(position, user_id, SEEN_ONLINE, Status.OFFLINE, position, Instant(at, 0), 0, 0, Cause.CONNECT)
        self.latest[user_id] = change
        self.log.append(change)

    def since(self, position: int, limit: int = 1000) -> list[int] | None:
        found = self.log.since(position, limit)
        return None if found is None else [c.position for c in found]


def test_since_a_position_each_user_appears_once_with_the_last_change() -> None:
    log = Log()
    for position, user_id in enumerate("abacab", 1):
        log.add(position, user_id)
    assert log.since(0) == [4, 5, 6]
    assert log.since(4) == [5, 6]
    assert log.since(6) == []


def test_a_replaced_change_is_the_last_one_of_its_user_and_one_that_was_dropped_stays_dropped() -> None:
    log = Log(max_entries=4)
    for position, user_id in enumerate("abcde", 1):
        log.add(position, user_id)
    assert log.forgotten == ["a", "b"]
    for position in (2, 4):
        user_id = "abcde"[position - 1]
        log.latest[user_id] = structs.replace(log.latest[user_id], since_ms=9)
        log.log.replace(log.latest[user_id])
    assert log.since(2) == [3, 4, 5]
    assert [c.since_ms for c in log.log.since(2, 10) or []] == [0, 9, 0]


def test_the_rest_follows_after_the_last_position_of_a_page() -> None:
    log = Log()
    for position in range(1, 8):
        log.add(position, f"user{position}")
    assert log.since(0, 3) == [1, 2, 3]
    assert log.since(3, 3) == [4, 5, 6]
    assert log.since(6, 3) == [7]


def test_a_full_log_drops_obsolete_changes_first_and_nothing_is_missed() -> None:
    log = Log(max_entries=10)
    log.add(1, "steady")
    for position in range(2, 500):
        log.add(position, "restless")
        assert len(log.log) <= 10
    assert log.since(0) == [1, 499]
    assert log.forgotten == []


def test_the_log_does_not_reach_back_beyond_its_entries() -> None:
    log = Log(max_entries=10)
    for position in range(1, 101):
        log.add(position, f"user{position}")
        assert len(log.log) <= 10
    assert log.since(0) is None
    assert log.since(80) is None
    assert log.since(99) == [100]
    assert log.forgotten == [f"user{p}" for p in range(1, 101 - len(log.log))], "each told once, in order"


def test_the_log_does_not_reach_back_beyond_its_age() -> None:
    log = Log(max_age=60)
    log.add(1, "a", at=0)
    log.add(2, "b", at=30)
    log.log.trim(now=60)
    assert log.since(0) == [1, 2]
    log.log.trim(now=61)
    assert log.since(0) is None
    assert log.since(1) == [2]
    assert log.forgotten == ["a"]
    log.log.trim(now=1000)
    assert log.since(1) is None
    assert log.since(2) == []
