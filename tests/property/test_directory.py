"""Grace periods of one user: few events in every order, against a model of lists."""

from __future__ import annotations

from math import inf
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.examples import examples

from presenced.presence.directory import Directory
from presenced.presence.journal import Journal
from presenced.presence.model import Change, Ending, Status
from presenced.presence.session import Grace
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant

AWAY, LOST, UNHEARD = 3.0, 15.0, 5.0
GRACES = {Ending.CLOSED: 0.0, Ending.GOING_AWAY: AWAY, Ending.KEEP_SESSION: AWAY, Ending.LOST: LOST}


class OneUser(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory: Directory[int] = Directory(Grace(AWAY, LOST), Limits(1000, 3600, 1), Journal(1000))
        self.now = 0.0
        self.serial = 0
        self.open: list[int] = []
        self.graces: list[float] = []
        self.announced = False
        self.told: list[Change] = []

    def instant(self) -> Instant:
        return Instant(self.now, int(self.now * 1000))

    def hear(self, change: Change | None) -> None:
        if change:
            self.told.append(change)

    @rule()
    def open_one(self) -> None:
        self.serial += 1
        self.open.append(self.serial)
        self.graces = self.graces[:-1]
        self.hear(self.directory.open("u", self.serial, self.instant()).change)

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(),
        ending=st.sampled_from(list(GRACES)),
        unheard_age=st.sampled_from([inf, 0.0, UNHEARD, UNHEARD + 0.1]),
    )
    def end_one(self, data: st.DataObject, ending: Ending, unheard_age: float) -> None:
        connection = data.draw(st.sampled_from(self.open))
        self.open.remove(connection)
        grace = AWAY if ending is Ending.LOST and unheard_age <= UNHEARD else GRACES[ending]
        if grace:
            self.graces.append(self.now + grace)
            if len(self.graces) > 8:
                self.graces.remove(min(self.graces))
        outcome = self.directory.close("u", connection, ending, self.instant(), unheard_age=unheard_age)
        self.hear(outcome.change)

    @rule(online=st.booleans())
    def announce(self, online: bool) -> None:
        self.announced = online
        if not online and not self.open:
            self.graces = []
        self.hear(self.directory.announce("u", online, self.instant()).change)

    @rule(seconds=st.sampled_from([1.0, 3.0, 10.0]))
    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self.directory.next_deadline()) is not None and deadline <= end:
            assert deadline >= self.now, "nothing is overdue"
            self.now = deadline
            for outcome in self.directory.expire(self.instant()):
                assert self.now in self.graces, "told at the very moment a grace ends"
                self.hear(outcome.change)
        self.now = end
        self.graces = [grace for grace in self.graces if grace > self.now]

    @invariant()
    def the_user_is_online_exactly_while_something_keeps_them_so(self) -> None:
        online = bool(self.open or self.announced or self.graces)
        assert (self.directory.users.status("u") is Status.ONLINE) is online
        assert self.directory.users.connections("u") == self.open

    @invariant()
    def changes_take_turns_and_versions_rise(self) -> None:
        assert [c.status for c in self.told] == [Status.ONLINE, Status.OFFLINE] * (len(self.told) // 2) + [
            Status.ONLINE
        ] * (len(self.told) % 2)
        assert [c.position for c in self.told] == list(range(1, len(self.told) + 1))
        versions = [c.version for c in self.told]
        assert versions == sorted(set(versions))


TestOneUser: Any = OneUser.TestCase
TestOneUser.settings = settings(max_examples=examples(1500), stateful_step_count=40)
