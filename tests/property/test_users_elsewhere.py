"""Users of other nodes, who are kept in a compact form, look exactly as if each of them were a `User`."""

from __future__ import annotations

import random
from typing import Any

import pytest

from presenced.cluster.contribution import Contribution
from presenced.cluster.directory import SharedDirectory
from presenced.cluster.records import (
    Choices,
    SharedClaim,
    SharedMember,
    SharedSession,
    UserRecord,
    encode_rooms,
    encode_sessions,
)
from presenced.presence.journal import Journal
from presenced.presence.model import SEEN_OFFLINE, Cause, Change, Choice, Ending, OwnState, Status, StatusDetails, View
from presenced.presence.outcome import Outcome
from presenced.presence.session import Grace, Session
from presenced.presence.status import Claim, TimedChoice
from presenced.presence.user import User
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant

USERS = [f"u{number}" for number in range(9)]
SLOTS = 1, 2
LOG_ENTRIES = 12
VIEWS = [SEEN_OFFLINE, View(Status.ONLINE), View(Status.AWAY), View(Status.ONLINE, devices=("phone",))]


class Agreement:
    """Nodes that agree on nothing by themselves."""

    stale_since_ms = 0
    transitions = 0

    def user_changed(self, user_id: str, now: Instant) -> None: ...

    def contribution_changed(self, user_id: str) -> None: ...

    def session_moved_here(self, user_id: str, tag: bytes) -> None: ...

    def is_out_of_reach(self, user_id: str) -> bool:
        return False

    has_newcomers = False

    def ends_for_absent(self, user_id: str) -> bool:
        return True


class WholeDirectory(SharedDirectory[str]):
    """A directory in which every user is a `User`."""

    def set_contribution(self, user_id: str, new: Contribution) -> None:
        if new.sessions:
            self.users.get_or_add(user_id)
        super().set_contribution(user_id, new)

    def accept(self, user_id: str, record: UserRecord, version: int, now: Instant) -> None:
        if record.is_kept:
            self.users.get_or_add(user_id)
        super().accept(user_id, record, version, now)

    def _is_elsewhere(self, user: User[str]) -> bool:
        return False


class Pair:
    """The same events, for a directory as it is and one in which every user is a `User`."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        limits = Limits(LOG_ENTRIES, 600, 10, max_choices=3, resume_window=20)
        self.compact: SharedDirectory[str] = SharedDirectory(Grace(2, 5), limits, Journal(1000))
        self.whole = WholeDirectory(Grace(2, 5), limits, Journal(1000))
        for directory in (self.compact, self.whole):
            directory.agreement = Agreement()
        self.now = Instant(100.0, 1_764_453_600_000)
        self.version = 0
        self.connections: dict[str, str] = {}
        self.were_compact = 0

    def step(self) -> None:
        """Have something random happen in both."""
        seconds = self.random.choice([0.001, 0.1, 3.0])
        self.now = Instant(self.now.monotonic + seconds, self.now.epoch_ms + round(seconds * 1000))
        user_id = self.random.choice(USERS)
        event = self.random.choice(
            [self._contribute] * 8 + [self._accept] * 10 + [self._local] * 4 + [self._decide] + [self._rare]
        )
        event(user_id)
        found = [self._outcomes(directory) for directory in (self.compact, self.whole)]
        assert found[0] == found[1]

    def _both(self, name: str, *arguments: Any, **named: Any) -> None:
        found = [getattr(directory, name)(*arguments, **named) for directory in (self.compact, self.whole)]
        if isinstance(found[0], Outcome):
            changes = [one.change for one in found]
            assert changes[0] == changes[1]

    def _contribute(self, user_id: str) -> None:
        tags = self.random.sample([b"", b"tag-1", b"tag-2"], self.random.choice([0, 1, 1, 2]))
        sessions = tuple(
            SharedSession(tag, self.random.choice(["", "phone"]), self.random.random() < 0.7) for tag in tags
        )
        named = [tag for tag in tags if tag and self.random.random() < 0.5]
        rooms = tuple(SharedMember(tag, "lobby", number, b'"x"', self.now.epoch_ms) for number, tag in enumerate(named))
        contribution = Contribution(self.random.choice(SLOTS), encode_sessions(sessions), encode_rooms(rooms))
        self._both("set_contribution", user_id, contribution)

    def _accept(self, user_id: str) -> None:
        self.version += 1
        record = UserRecord(self.random.choice(VIEWS), self.now.epoch_ms, 0, Cause.IDLE, active_ms=self.now.epoch_ms)
        if self.random.random() < 0.15:
            chosen = Choices(Status.BUSY, StatusDetails("lunch"), self.now.epoch_ms)
            claims = (SharedClaim("calendar", self.now.epoch_ms, Status.AWAY),)
            view = View(Status.BUSY, StatusDetails("lunch"))
            record = UserRecord(view, self.now.epoch_ms, 0, Cause.CHOICE, chosen=chosen, claims=claims)
        if self.random.random() < 0.1:
            self._both("adopt", user_id, record, self.now)
        else:
            self._both("accept", user_id, record, self.version, self.now)

    def _local(self, user_id: str) -> None:
        if (connection := self.connections.pop(user_id, None)) is not None:
            ending = self.random.choice([Ending.CLOSED, Ending.LOST, Ending.GOING_AWAY])
            self._both("close", user_id, connection, ending, self.now)
        else:
            self.connections[user_id] = f"{user_id} {self.now.monotonic}"
            session_id = self.random.choice(["", f"session {self.now.monotonic}"])
            self._both("open", user_id, self.connections[user_id], self.now, session_id=session_id)

    def _decide(self, user_id: str) -> None:
        match self.random.randrange(4):
            case 0:
                self._both(
                    "set_claim", user_id, Claim("hr", Status.AWAY, StatusDetails(), 0, self.now.epoch_ms, 1e9), self.now
                )
            case 1:
                self._both("clear_claim", user_id, "hr", self.now)
            case 2:
                online = self.random.random() < 0.5 or user_id in self.compact.users.elsewhere
                self._both("announce", user_id, online, self.now)
            case _:
                choice = self.random.choice([TimedChoice(Choice(Status.BUSY), 1e9), TimedChoice(Choice(None), 1e9)])
                self._both("restore_choices", user_id, (choice,), self.now)

    def _rare(self, user_id: str) -> None:
        match self.random.randrange(7):
            case 0:
                self._both("expire", self.now)
            case 1:
                if user_id not in self.compact.users.elsewhere:  # a user with nothing here waits for nothing
                    self._both("end_grace_periods", user_id, self.now)
            case 2:
                self._both("erase_seen", user_id)
            case 3:
                self._both("display_erased", user_id, self.now.epoch_ms)
            case 4:
                self._both("restore_display", user_id, b'{"name":"Ada"}', self.now)
            case 5:
                self._both("expect", user_id, Cause.TIMEOUT, self.now)
            case _:
                self.version += 1
                self._both("show_locally", user_id, self.version, self.now)

    @staticmethod
    def _outcomes(directory: SharedDirectory[str]) -> list[tuple[str, Change | None]]:
        return [(outcome.user_id, outcome.change) for outcome in directory.take_outcomes()]

    def check(self) -> None:
        """Check that both answer every query in the same way."""
        self.were_compact += len(self.compact.users.elsewhere)
        assert self._answers(self.compact) == self._answers(self.whole)

    def _answers(self, directory: SharedDirectory[str]) -> list[Any]:
        users = directory.users
        present, following = users.present_after(0, 100)
        found: list[Any] = [
            users.online_users,
            users.connected_users,
            sorted(users.snapshot(), key=lambda change: change.position),
            users.changes_of(USERS),
            users.snapshot_of(USERS),
            users.missed_changes(0, USERS),
            users.log.since(users.log.floor, 100),
            [change.user_id for _, change in users.online_after(0, 100)],
            sorted(map(_session, present)),
            following,
            sorted(directory.shown_users()),
            sorted(directory.contributed_users()),
        ]
        for user_id in USERS:
            user = users.user(user_id)
            found += [
                users.status(user_id),
                users.connections(user_id),
                users.connection_count_on_all_nodes(user_id),
                users.rooms_wanted(user_id),
                directory.join_times(user_id),
                directory.shown(user_id),
                directory.record(user_id, self.now),
                directory.own_contribution(user_id, 9),
                _own(users.own(user_id)) if self.connections.get(user_id) else None,
                user and (user.is_present, user.seen_ms, user.active_ms, user.claims, user.chosen, user.display),
                user and sorted(map(_session, user.sessions)),
            ]
        return found


def _own(own: OwnState | None) -> tuple[Any, ...] | None:
    """Return a state without its cause, which a compact user does not keep."""
    return (own.view, own.chosen, own.overruled) if own is not None else None


def _session(session: Session[str]) -> tuple[Any, ...]:
    return session.user_id, session.session_id, session.slot, session.device, session.active, str(session.rooms)


@pytest.mark.parametrize("seed", range(40))
def test_compact_users_answer_as_whole_ones(seed: int) -> None:
    pair = Pair(seed)
    for _ in range(200):
        pair.step()
        pair.check()
    assert pair.were_compact > 20, "the test has compact users"
