"""The directory of a node, on its own: what it makes of accepted records."""

from __future__ import annotations

from presenced.cluster.directory import SharedDirectory
from presenced.cluster.records import UserRecord
from presenced.presence.journal import Journal
from presenced.presence.model import SEEN_ONLINE, Cause
from presenced.presence.session import Grace
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant

NOW = Instant(100.0, 1_764_453_600_000)


def test_a_record_with_a_newer_version_and_the_same_view_changes_nothing_but_the_version() -> None:
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


def test_a_record_of_an_absent_user_who_is_unknown_here_adds_nobody() -> None:
    directory: SharedDirectory[str] = SharedDirectory(Grace(0, 0), Limits(1000, 600, 10), Journal(1000))
    record = directory.record("ada", NOW)
    assert not record.is_kept
    directory.accept("ada", record, 7, NOW)
    assert directory.take_outcomes() == []
    assert directory.users.user("ada") is None
