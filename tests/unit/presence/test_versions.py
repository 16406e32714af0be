"""Versions from one clock, which a cluster can supply."""

from presenced.presence.directory import Directory
from presenced.presence.journal import Journal
from presenced.presence.model import Ending, Status
from presenced.presence.session import Grace
from presenced.presence.users import Limits
from presenced.presence.versions import VersionClock, VersionCounter
from presenced.runtime.instant import Instant

NOW = Instant(1.0, 1000)


class TensClock(VersionCounter):
    """`VersionClock` of a possible cluster, in which other nodes draw numbers in between."""

    def next(self, after: int) -> int:
        self.newest = max(self.newest, after) // 10 * 10 + 10
        return self.newest


def directory(versions: VersionClock | None = None, log_entries: int = 1000) -> Directory[str]:
    return Directory(Grace(0, 0), Limits(log_entries, 600, 0), Journal(1000), versions)


def version_after(subject: Directory[str], user_id: str) -> int:
    change = subject.open(user_id, user_id, NOW).change
    assert change
    return change.version


def test_versions_are_taken_from_the_clock_of_the_directory() -> None:
    clock = TensClock()
    subject = directory(clock)
    assert [version_after(subject, user_id) for user_id in ("ada", "bob")] == [10, 20]
    clock.advance(1234)
    gone = subject.close("ada", "ada", Ending.CLOSED, NOW).change
    assert gone
    assert (gone.version, gone.was_version, gone.position) == (1240, 10, 3)


def test_versions_and_positions_are_counted_separately() -> None:
    subject = directory()
    subject.users.journal.next_position()  # something in a room
    change = subject.open("ada", "1", NOW).change
    assert change
    assert (change.version, change.position) == (1, 2)


def test_the_version_of_an_unknown_user_is_between_the_last_and_the_next_one_of_the_user() -> None:
    """The record of an unknown user has this version."""
    subject = directory(log_entries=2)
    version_after(subject, "ada")
    gone = subject.close("ada", "ada", Ending.CLOSED, NOW).change
    for number in range(5):
        version_after(subject, f"{number}")
    assert subject.users.user("ada") is None, "forgotten"
    assert subject.users.status("ada") is Status.OFFLINE
    assert gone
    versions = subject.users.versions.of_unknown()
    assert gone.version < versions("ada") < version_after(subject, "ada")
    assert versions("ada") == versions("anyone") == gone.version + 5, "that of the moment when it was asked for"


def test_versions_continue_above_an_earlier_start() -> None:
    subject = directory()
    subject.begin_above(700)
    assert version_after(subject, "ada") == 701
    subject.begin_above(5)
    assert version_after(subject, "bob") == 702


def test_a_counter_counts() -> None:
    counter: VersionClock = VersionCounter()
    assert [counter.next(0), counter.next(1), counter.newest] == [1, 2, 2]
