"""The directory of a node, on its own: what it makes of accepted records."""

from __future__ import annotations

from presenced.cluster.contribution import Contribution
from presenced.cluster.directory import SharedDirectory
from presenced.cluster.presence import Shown
from presenced.cluster.records import Choices, SharedSession, UserRecord, encode_sessions
from presenced.presence.journal import Journal
from presenced.presence.model import NO_DETAILS, SEEN_OFFLINE, SEEN_ONLINE, Cause, Display, Status
from presenced.presence.session import Grace
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant

NOW = Instant(100.0, 1_764_453_600_000)


def test_a_record_with_a_newer_version_and_the_same_view_is_only_for_followers_of_the_journal() -> None:
    directory: SharedDirectory[str] = SharedDirectory(Grace(0, 0), Limits(1000, 600, 10), Journal(1000))
    record = UserRecord(SEEN_ONLINE, NOW.epoch_ms, 0, Cause.CONNECT)
    directory.accept("ada", record, 7, NOW)
    [first] = directory.take_outcomes()
    assert first.change
    directory.accept("ada", record, 9, NOW)
    [second] = directory.take_outcomes()
    assert second.change is None
    [known] = directory.users.changes_of(["ada"])
    assert known
    assert (known.version, known.position) == (9, first.change.position)
    assert directory.users.log.since(0, 10) == [known], "clients that resume receive it with this version"
    renumbered = second.renumbered
    assert renumbered is not None, "followers of the journal, who compare digests, learn the version"
    assert (renumbered.was, renumbered.was_version, renumbered.version) == (Status.ONLINE, 7, 9)
    assert renumbered.position > first.change.position


def test_an_offline_user_with_a_newer_version_is_no_change() -> None:
    directory: SharedDirectory[str] = SharedDirectory(Grace(0, 0), Limits(1000, 600, 10), Journal(1000))
    directory.accept("ada", UserRecord(SEEN_ONLINE, NOW.epoch_ms, 0, Cause.CONNECT), 7, NOW)
    for version in (8, 9):
        directory.accept("ada", UserRecord(SEEN_OFFLINE, NOW.epoch_ms, 0, Cause.CLOSE), version, NOW)
    changes = [outcome.change for outcome in directory.take_outcomes()]
    assert [change.version if change else None for change in changes] == [7, 8, None]
    [known] = directory.users.changes_of(["ada"])
    assert known is not None
    assert known.version == 9


def test_a_record_of_an_absent_user_who_is_unknown_here_adds_nobody() -> None:
    directory: SharedDirectory[str] = SharedDirectory(Grace(0, 0), Limits(1000, 600, 10), Journal(1000))
    record = directory.record("ada", NOW)
    assert not record.is_kept
    directory.accept("ada", record, 7, NOW)
    assert directory.take_outcomes() == []
    assert directory.users.user("ada") is None


def fill_the_log(directory: SharedDirectory[str], size: int) -> None:
    """Have other users come and go until the log of recent changes has nothing else."""
    for number in range(size):
        directory.accept(f"u{number}", UserRecord(SEEN_ONLINE, 0, 0, Cause.CONNECT), 1000 + 2 * number, NOW)
        directory.accept(f"u{number}", UserRecord(SEEN_OFFLINE, 0, 0, Cause.CLOSE), 1001 + 2 * number, NOW)


def test_a_choice_stays_when_its_user_has_left_with_a_dead_node_and_the_log_is_full() -> None:
    directory: SharedDirectory[str] = SharedDirectory(Grace(0, 0), Limits(4, 600, 10), Journal(1000))
    chosen = Choices(Status.INVISIBLE, NO_DETAILS, 5)
    directory.set_contribution("ada", Contribution(3, encode_sessions((SharedSession(b"", "", True),)), b""))
    directory.accept("ada", UserRecord(SEEN_ONLINE, 0, 0, Cause.CONNECT), 7, NOW)
    directory.accept("ada", UserRecord(SEEN_OFFLINE, 0, 0, Cause.CHOICE, chosen=chosen), 8, NOW)
    directory.set_contribution("ada", Contribution(3))
    fill_the_log(directory, 10)
    assert directory.record("ada", NOW).chosen == chosen


def test_a_user_whose_last_session_is_gone_stays_shown_until_the_nodes_agree() -> None:
    directory: SharedDirectory[str] = SharedDirectory(Grace(0, 0), Limits(4, 600, 10), Journal(1000))
    directory.set_contribution("ada", Contribution(3, encode_sessions((SharedSession(b"", "", True),)), b""))
    directory.accept("ada", UserRecord(SEEN_ONLINE, 0, 0, Cause.CONNECT), 7, NOW)
    directory.set_contribution("ada", Contribution(3))
    fill_the_log(directory, 10)
    assert directory.shown("ada") == Shown(7, SEEN_ONLINE)
    directory.accept("ada", UserRecord(SEEN_OFFLINE, 0, 0, Cause.TIMEOUT), 5000, NOW)
    assert [one.change.status for one in directory.take_outcomes() if one.user_id == "ada" and one.change][-1:] == [
        Status.OFFLINE
    ]


def test_a_late_erasure_leaves_newer_display_data_of_an_absent_user() -> None:
    directory: SharedDirectory[str] = SharedDirectory(Grace(0, 0), Limits(100, 600, 10), Journal(100))
    directory.users.displays.set("ada", Display(b'{"name":"Ada"}', 2_000.0))
    directory.display_erased("ada", 1_999_000)
    assert "ada" in directory.users.displays
    directory.display_erased("ada", 2_001_000)
    assert "ada" not in directory.users.displays
