"""The directory: which users are online, by connections, grace periods and announcements."""

from math import inf

import pytest

from presenced.errors import CapacityError
from presenced.presence.directory import Directory
from presenced.presence.journal import Journal
from presenced.presence.model import NO_DETAILS, Cause, Change, Choice, Ending, Status, StatusDetails
from presenced.presence.outcome import Outcome
from presenced.presence.session import Grace
from presenced.presence.user import MAX_DETACHED_SESSIONS, User
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant

EPOCH = 1_704_110_400_000


def at(seconds: float, step: float = 0.0) -> Instant:
    return Instant(seconds, EPOCH + int((seconds + step) * 1000))


def summary(change: Change | None) -> tuple[str, Status, Cause] | None:
    return (change.user_id, change.status, change.cause) if change else None


def expired(directory: Directory[str], now: Instant) -> list[Change]:
    return [outcome.change for outcome in directory.expire(now) if outcome.change]


@pytest.fixture
def directory() -> Directory[str]:
    return Directory(
        Grace(going_away=3, lost=15), Limits(log_entries=1000, log_age=600, max_announced=2), Journal(1000)
    )


def test_the_first_connection_makes_a_user_online_and_the_last_one_offline(directory: Directory[str]) -> None:
    assert summary(directory.open("7", "a", at(0)).change) == ("7", Status.ONLINE, Cause.CONNECT)
    assert directory.open("7", "b", at(1)).change is None
    assert directory.close("7", "a", Ending.CLOSED, at(2)).change is None
    assert directory.users.status("7") is Status.ONLINE
    assert summary(directory.close("7", "b", Ending.CLOSED, at(3)).change) == ("7", Status.OFFLINE, Cause.CLOSE)
    assert directory.users.status("7") is Status.OFFLINE


def test_a_second_close_is_a_no_op(directory: Directory[str]) -> None:
    directory.open("7", "a", at(0))
    assert directory.close("7", "a", Ending.CLOSED, at(1)).change is not None
    assert directory.close("7", "a", Ending.CLOSED, at(1)).change is None
    assert directory.close("8", "never opened", Ending.LOST, at(1)).change is None
    assert (directory.users.connected_users, directory.users.online_users) == (0, 0)


@pytest.mark.parametrize(
    ("ending", "seconds"),
    [(Ending.GOING_AWAY, 3), (Ending.KEEP_SESSION, 3), (Ending.LOST, 15), (Ending.TIMED_OUT, 15)],
)
def test_a_user_whose_connection_is_lost_goes_offline_when_the_grace_period_ends(
    directory: Directory[str], ending: Ending, seconds: float
) -> None:
    directory.open("7", "a", at(0))
    assert directory.close("7", "a", ending, at(10)).change is None
    assert directory.next_deadline() == 10 + seconds
    assert expired(directory, at(9.9 + seconds)) == []
    assert directory.users.status("7") is Status.ONLINE
    assert [summary(c) for c in expired(directory, at(10 + seconds))] == [("7", Status.OFFLINE, Cause.GRACE)]
    assert directory.next_deadline() is None


@pytest.mark.parametrize(
    ("ending", "unheard_age", "seconds"),
    [
        (Ending.LOST, 0.0, 3),
        (Ending.LOST, 5.0, 3),
        (Ending.LOST, 5.001, 15),
        (Ending.LOST, inf, 15),
        (Ending.TIMED_OUT, 1.0, 15),
        (Ending.GOING_AWAY, 1.0, 3),
    ],
)
def test_a_connection_lost_within_5_s_without_any_input_has_the_grace_period_of_going_away(
    directory: Directory[str], ending: Ending, unheard_age: float, seconds: float
) -> None:
    """React's StrictMode closes the first socket while it is connecting. Nobody returns with it."""
    directory.open("7", "a", at(0))
    assert directory.close("7", "a", ending, at(10), unheard_age=unheard_age).change is None
    assert directory.next_deadline() == 10 + seconds


def test_a_connection_closed_while_opening_has_at_most_the_grace_period_of_a_loss() -> None:
    """`grace_lost` 0 disables this grace period, too. A longer `grace_going_away` does not extend it."""
    assert Grace(going_away=3, lost=0).after(Ending.LOST, 1.0) == 0
    assert Grace(going_away=60, lost=15).after(Ending.LOST, 1.0) == 15
    assert Grace(going_away=0, lost=15).after(Ending.LOST, 1.0) == 0


def test_a_cached_page_can_resume_its_session() -> None:
    directory: Directory[str] = Directory(Grace(3, 15), Limits(1000, 600, 2, resume_window=120), Journal(1000))
    directory.open("7", "a", at(0), "session")
    assert directory.close("7", "a", Ending.KEEP_SESSION, at(1)).change is None
    assert [summary(c) for c in expired(directory, at(4))] == [("7", Status.OFFLINE, Cause.GRACE)]
    back = directory.resume("session", "7", "b", at(100))
    assert back is not None
    assert summary(back.change) == ("7", Status.ONLINE, Cause.CONNECT)


def test_a_client_that_connects_idle_is_away(directory: Directory[str]) -> None:
    assert summary(directory.open("7", "a", at(0), "session", active=False).change) == ("7", Status.AWAY, Cause.CONNECT)
    assert summary(directory.open("7", "b", at(1), "other").change) == ("7", Status.ONLINE, Cause.CONNECT)


@pytest.mark.parametrize(("active", "status"), [(None, "away"), (False, "away"), (True, "online")])
def test_a_resumed_session_has_its_old_activity_unless_its_client_reports_another(
    directory: Directory[str], active: bool | None, status: str
) -> None:
    directory.open("7", "a", at(0), "session", active=False)
    directory.close("7", "a", Ending.LOST, at(10))
    assert directory.resume("session", "7", "b", at(11), active=active) is not None
    assert directory.users.status("7") == status


def test_a_choice_that_a_client_brings_counts_if_its_user_is_unknown(directory: Directory[str]) -> None:
    lunch = Choice(Status.AWAY, StatusDetails("lunch", "🍕"))
    change = directory.open("7", "a", at(0), "session", client_choice=lunch).change
    assert change is not None
    assert (change.status, change.view.details) == (Status.AWAY, lunch.details)
    directory.open("7", "b", at(1), "other", client_choice=Choice(Status.BUSY, NO_DETAILS))
    assert directory.users.status("7") is Status.AWAY, "what is known here counts"


def test_a_reconnect_within_the_grace_period_notifies_nobody(directory: Directory[str]) -> None:
    directory.open("7", "a", at(0))
    directory.close("7", "a", Ending.GOING_AWAY, at(1))
    assert directory.open("7", "b", at(2)).change is None
    assert expired(directory, at(100)) == []
    assert summary(directory.close("7", "b", Ending.CLOSED, at(101)).change) == ("7", Status.OFFLINE, Cause.CLOSE)


def test_a_grace_period_continues_while_other_connections_open_and_close(directory: Directory[str]) -> None:
    """A tab closed deliberately differs from a laptop without a network."""
    directory.open("7", "laptop", at(0))
    directory.open("7", "tab", at(0))
    assert directory.close("7", "laptop", Ending.LOST, at(1)).change is None
    assert directory.close("7", "tab", Ending.CLOSED, at(2)).change is None
    assert expired(directory, at(15.9)) == []
    assert [summary(c) for c in expired(directory, at(16))] == [("7", Status.OFFLINE, Cause.GRACE)]


def test_one_reconnect_ends_the_grace_period_of_one_of_two_lost_connections(directory: Directory[str]) -> None:
    for name in ("a", "b"):
        directory.open("7", name, at(0))
    directory.close("7", "a", Ending.LOST, at(1))
    directory.close("7", "b", Ending.GOING_AWAY, at(2))
    directory.open("7", "b again", at(3))
    assert directory.close("7", "b again", Ending.CLOSED, at(4)).change is None, "a may still come back"
    assert len(expired(directory, at(16))) == 1


def test_the_end_of_one_grace_period_does_not_affect_others(directory: Directory[str]) -> None:
    for name in ("a", "b"):
        directory.open("7", name, at(0))
    directory.close("7", "a", Ending.LOST, at(0))
    directory.close("7", "b", Ending.GOING_AWAY, at(10))
    assert expired(directory, at(13)) == []
    assert directory.next_deadline() == 15
    assert len(expired(directory, at(15))) == 1


def test_grace_periods_are_bounded_and_the_last_to_end_decides(directory: Directory[str]) -> None:
    for number in range(MAX_DETACHED_SESSIONS + 5):
        directory.open("7", f"c{number}", at(0))
    for number in range(MAX_DETACHED_SESSIONS + 5):
        directory.close("7", f"c{number}", Ending.LOST, at(number))
    last = MAX_DETACHED_SESSIONS + 4 + 15
    for second in range(last):
        assert expired(directory, at(second)) == []
    assert len(expired(directory, at(last))) == 1


def test_with_grace_0_others_are_notified_immediately() -> None:
    directory: Directory[str] = Directory(Grace(0, 0), Limits(1000, 600, 2), Journal(1000))
    directory.open("7", "a", at(0))
    assert summary(directory.close("7", "a", Ending.LOST, at(1)).change) == ("7", Status.OFFLINE, Cause.TIMEOUT)


def test_a_disconnect_has_no_grace_period_and_stop_waiting_ends_the_others(
    directory: Directory[str],
) -> None:
    directory.open("7", "a", at(0))
    directory.open("7", "b", at(0))
    directory.close("7", "a", Ending.LOST, at(1))
    assert directory.close("7", "b", Ending.DISCONNECTED, at(2)).change is None
    assert summary(directory.end_grace_periods("7", at(2)).change) == ("7", Status.OFFLINE, Cause.KICK)
    assert directory.end_grace_periods("7", at(2)).change is None
    assert directory.end_grace_periods("nobody", at(2)).change is None
    assert directory.next_deadline() is None


def test_an_announcement_adds_presence(directory: Directory[str]) -> None:
    assert summary(directory.announce("7", True, at(0)).change) == ("7", Status.ONLINE, Cause.ANNOUNCEMENT)
    assert directory.announce("7", True, at(1)).change is None
    assert directory.open("7", "a", at(2)).change is None
    assert directory.close("7", "a", Ending.CLOSED, at(3)).change is None, "still announced"
    assert summary(directory.announce("7", False, at(4)).change) == ("7", Status.OFFLINE, Cause.ANNOUNCEMENT)
    assert directory.announce("7", False, at(5)).change is None
    assert directory.announce("nobody", False, at(5)).change is None


def test_a_user_was_last_seen_at_the_end_of_the_announcement(directory: Directory[str]) -> None:
    """A connection that ended before does not matter."""
    directory.open("7", "a", at(0))
    directory.announce("7", True, at(1))
    directory.close("7", "a", Ending.CLOSED, at(2))
    change = directory.announce("7", False, at(3600)).change
    assert change
    assert change.seen_ms == at(3600).epoch_ms
    directory.announce("7", False, at(7200))
    assert directory.users.by_id["7"].seen_ms == at(3600).epoch_ms, "it was withdrawn already"


@pytest.mark.parametrize("status", [Status.AWAY, Status.INVISIBLE])
def test_an_announced_user_who_becomes_away_or_invisible_was_last_seen_then(
    directory: Directory[str], status: Status
) -> None:
    directory.announce("7", True, at(0))
    change = directory.choose("7", Choice(status), at(3600), by_user=False).change
    assert change
    assert change.seen_ms == at(3600).epoch_ms


def test_an_announcement_never_takes_presence_from_an_open_connection(directory: Directory[str]) -> None:
    directory.open("7", "a", at(0))
    assert directory.announce("7", False, at(1)).change is None
    assert directory.users.status("7") is Status.ONLINE
    directory.close("7", "a", Ending.LOST, at(2))
    assert summary(directory.announce("7", False, at(3)).change) == ("7", Status.OFFLINE, Cause.ANNOUNCEMENT)
    assert expired(directory, at(100)) == []


def test_announcements_are_bounded(directory: Directory[str]) -> None:
    directory.announce("1", True, at(0))
    directory.announce("2", True, at(0))
    with pytest.raises(CapacityError, match="2 users are announced"):
        directory.announce("3", True, at(0))
    assert directory.users.status("3") is Status.OFFLINE
    directory.announce("1", False, at(0))
    assert directory.announce("3", True, at(0)).change is not None


def test_positions_count_all_changes_and_versions_increase_for_each_user(directory: Directory[str]) -> None:
    changes = []
    for number in range(6):
        user_id = str(number % 2)
        changes.append(directory.open(user_id, user_id, at(number)).change)
        changes.append(directory.close(user_id, user_id, Ending.CLOSED, at(number)).change)
    assert [c.position for c in changes if c] == list(range(1, 13))
    for user_id in "01":
        versions = [c.version for c in changes if c and c.user_id == user_id]
        assert versions == sorted(set(versions))


def test_an_evicted_user_continues_above_their_old_versions() -> None:
    directory: Directory[str] = Directory(
        Grace(0, 0), Limits(log_entries=4, log_age=600, max_announced=0), Journal(1000)
    )
    for number in range(3):
        directory.open("old", f"c{number}", at(0))
        last = directory.close("old", f"c{number}", Ending.CLOSED, at(0)).change
    assert last
    for number in range(20):
        directory.open(f"user{number}", "c", at(1))
    assert "old" not in directory.users.by_id, "left with the log"
    again = directory.open("old", "c", at(2)).change
    assert again
    assert again.version > last.version


def test_offline_users_are_evicted_with_the_log() -> None:
    directory: Directory[str] = Directory(
        Grace(0, 0), Limits(log_entries=10, log_age=60, max_announced=0), Journal(1000)
    )
    for number in range(1000):
        directory.open(str(number), "c", at(0))
        directory.close(str(number), "c", Ending.CLOSED, at(0))
        assert len(directory.users.by_id) <= 10
    expired(directory, at(61))
    assert directory.users.by_id == {}


def test_a_connection_id_has_user_and_time_and_is_unique_within_a_millisecond(directory: Directory[str]) -> None:
    ids = [directory.open("7", f"c{number}", at(0)).connection_id for number in range(3)]
    assert ids == [f"7-{EPOCH}", f"7-{EPOCH + 1}", f"7-{EPOCH + 2}"]
    assert directory.open("8", "d", at(0)).connection_id == f"8-{EPOCH}"
    assert directory.open("7", "e", at(1)).connection_id == f"7-{EPOCH + 1000}"


def test_a_step_of_the_wall_clock_by_an_hour_changes_only_timestamps(directory: Directory[str]) -> None:
    first = directory.open("7", "a", at(10)).connection_id
    assert directory.close("7", "a", Ending.LOST, at(11, step=3600)).change is None
    assert expired(directory, at(12, step=3600)) == [], "the grace runs on the other clock"
    assert directory.open("7", "b", at(13, step=-3600)).connection_id != first
    assert expired(directory, at(100, step=-3600)) == []
    assert directory.users.status("7") is Status.ONLINE


def test_a_choice_that_expired_while_its_user_was_absent_frees_its_place() -> None:
    directory: Directory[str] = Directory(Grace(3, 15), Limits(1000, 60, max_announced=2, max_choices=1), Journal(1000))
    busy = Choice(Status.BUSY, NO_DETAILS)
    directory.open("7", "a", at(0))
    directory.choose("7", busy, at(0), lasts=10)
    directory.close("7", "a", Ending.CLOSED, at(1))
    directory.open("8", "b", at(11))
    directory.expire(at(11))
    directory.choose("8", busy, at(11))
    directory.close("8", "b", Ending.CLOSED, at(12))
    directory.open("8", "b", at(13))
    assert directory.users.status("8") is Status.BUSY, "the place is taken by nobody"
    directory.expire(at(100))
    assert list(directory.users.by_id) == ["8"]


def test_after_a_timeout_the_user_was_last_seen_at_the_last_answer(directory: Directory[str]) -> None:
    """A sleeping laptop is detected late, and another device may have been seen since its last input."""
    directory.open("7", "laptop", at(0))
    directory.open("7", "phone", at(20))
    directory.close("7", "phone", Ending.CLOSED, at(30))
    directory.close("7", "laptop", Ending.TIMED_OUT, at(60), silent=40)
    [change] = expired(directory, at(75))
    assert change.seen_ms == at(30).epoch_ms
    directory.open("7", "laptop", at(100))
    directory.close("7", "laptop", Ending.TIMED_OUT, at(160), silent=40)
    [change] = expired(directory, at(175))
    assert change.seen_ms == at(120).epoch_ms


class Deferring(Directory[str]):
    """Directory that decides later, as a cluster does."""

    def __init__(self) -> None:
        super().__init__(Grace(0, 0), Limits(1000, 600, 0), Journal(1000))
        self.undecided: list[str] = []

    def _reconcile(self, user: User[str], cause: Cause, now: Instant) -> Outcome[str]:
        self.undecided.append(user.user_id)
        return Outcome(user.user_id)

    def decide(self, user_id: str) -> Outcome[str]:
        """Apply the changes since the last call."""
        user = self.users.user(user_id)
        assert user
        return super()._reconcile(user, Cause.CONNECT, at(0))


def test_a_cluster_may_decide_later_that_something_becomes_visible() -> None:
    directory = Deferring()
    assert directory.open("7", "a", at(0)).change is None
    assert (directory.users.status("7"), directory.undecided) == (Status.OFFLINE, ["7"])
    change = directory.decide("7").change
    assert change
    assert (change.status, directory.users.status("7"), change.version) == (Status.ONLINE, Status.ONLINE, 1)
