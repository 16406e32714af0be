"""Users who are on other nodes only: what they cost, and when they become users of this node."""

from __future__ import annotations

import gc
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from presenced.cluster.backend import ContributionUpdate, Entry, Item, Kind
from presenced.cluster.contribution import Contribution
from presenced.cluster.directory import SharedDirectory, tag_of
from presenced.cluster.elsewhere import SharedUsers
from presenced.cluster.records import SharedSession, UserRecord, encode_record, encode_sessions
from presenced.cluster.replica.replica import ShardReplica, When
from presenced.presence.journal import Journal
from presenced.presence.model import SEEN_ONLINE, Cause
from presenced.presence.session import Grace
from presenced.presence.users import Limits
from presenced.presence.versions import VersionCounter
from presenced.runtime.instant import Instant

MAX_BYTES_PER_USER = 700
NOW_MS = 1_764_453_600_000


def _entry(n: int) -> Entry:
    """Return an entry in which a user connects to another node."""
    now_ms = NOW_MS + n
    record = encode_record(UserRecord(SEEN_ONLINE, now_ms, 0, Cause.CONNECT, active_ms=now_ms))
    sessions = encode_sessions((SharedSession(tag_of(f"session {n}"), "", True),))
    item = Item(f"user-{n}", n, n, record, True, (ContributionUpdate(5, sessions, b""),))
    return Entry(n, 5, "other", n, Kind.ITEMS, (item,))


def _loaded() -> tuple[SharedDirectory[str], ShardReplica]:
    directory: SharedDirectory[str] = SharedDirectory(Grace(0, 0), Limits(100_000, 600, 10), Journal(100_000))
    replica = ShardReplica(directory, 15)
    when = When(0.0, Instant(0.0, NOW_MS))
    replica.begin_load(when)
    replica.loaded(None, 0, when)
    return directory, replica


def test_a_user_of_another_node_takes_less_than_700_bytes() -> None:
    directory, replica = _loaded()
    count = 5_000
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for n in range(1, count + 1):
            replica.apply(_entry(n), When(0.0, Instant(n / 1000, NOW_MS + n)))
            directory.take_outcomes()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert directory.users.online_users == count
    assert (after - before) / count < MAX_BYTES_PER_USER


session_of_a_node = st.builds(
    SharedSession, st.sampled_from([b"", b"tag of"]), st.sampled_from(["", "phone", "tv"]), st.booleans()
)


@given(st.lists(st.lists(session_of_a_node, max_size=3), max_size=3))
def test_the_state_of_a_user_of_other_nodes_follows_from_the_sessions_by_the_same_rule(
    nodes: list[list[SharedSession]],
) -> None:
    users: SharedUsers[str] = SharedUsers(Limits(100, 600, 10), Journal(100), VersionCounter())
    user = users.add_elsewhere("ada")
    for slot, sessions in enumerate(nodes):
        users.set_contribution_elsewhere("ada", Contribution(slot, encode_sessions(tuple(sessions)), b""))
    assert user.view() == user.to_user().states(Cause.CONNECT)[0]


def test_a_user_of_another_node_who_connects_here_keeps_both_sessions() -> None:
    directory, replica = _loaded()
    replica.apply(_entry(1), When(0.0, Instant(0.001, NOW_MS)))
    assert directory.users.user("user-1") is not directory.users.user("user-1"), "made for each call"
    user = directory.users.get_or_add("user-1")
    assert user is directory.users.user("user-1")
    assert [session.slot for session in user.sessions] == [5]
    assert directory.users.connection_count_on_all_nodes("user-1") == 1
    [change] = directory.users.changes_of(["user-1"])
    assert user.last_change is change
