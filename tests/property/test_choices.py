"""Choices of users over random schedules, against a naive model and against equivalent servers.

Three directories receive the same events. One is the subject. The second receives `auto` in another spelling. The third
has the stored data from the start, while the subject receives it late.
"""

from __future__ import annotations

import dataclasses
from math import inf
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.examples import examples

from presenced.presence.directory import Directory
from presenced.presence.journal import Journal
from presenced.presence.model import AS_DETECTED, Change, Choice, Ending, OwnState, Status
from presenced.presence.outcome import Outcome
from presenced.presence.restore import DecisionsSinceStart
from presenced.presence.session import Grace
from presenced.presence.status import TimedChoice, choice_of
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant

USERS = ("ada", "bob", "carl")
PAUSE, LOST = 0.5, 15.0
TICK = 2.0**-12
"""Seconds between two events. No two things are due at the same moment, so their order is certain."""

statuses = st.sampled_from(["auto", "auto", "busy", "away", "invisible"])
texts = st.sampled_from(["", "", "x"])
lengths = st.sampled_from([inf, inf, 0.25, 5.0, 40.0])

Chosen = tuple[str, str]
"""Status and text."""
NOTHING: Chosen = ("auto", "")
Event = tuple[Chosen, float]
"""A choice and the time of its end."""


@dataclasses.dataclass(eq=False)
class ChoosingClient:
    number: int
    active: bool = True
    ends: float = inf
    """End of its grace period."""


@dataclasses.dataclass
class ExpectedUser:
    """Expected state of one user."""

    clients: list[ChoosingClient] = dataclasses.field(default_factory=list)
    events: list[Event] = dataclasses.field(default_factory=list)
    """Choices in order of precedence."""
    waiting: list[Event] = dataclasses.field(default_factory=list)
    activity: dict[ChoosingClient, bool] = dataclasses.field(default_factory=dict)
    pause_ends: float = -inf
    looks: str = "offline"
    """Status that others see."""
    is_known: bool = False
    """Whether others have ever seen the user."""

    def connected(self) -> list[ChoosingClient]:
        return [client for client in self.clients if client.ends == inf]

    def waits(self) -> bool:
        return bool(self.waiting or self.activity)

    def must_wait(self, now: float) -> bool:
        return now < self.pause_ends or self.waits()

    def for_good(self) -> Chosen:
        return next((chosen for chosen, ends in reversed(self.events) if ends == inf), NOTHING)

    def now_chosen(self, now: float) -> Chosen:
        return self.events[-1][0] if self.events and self.events[-1][1] > now else self.for_good()

    def has_chosen(self, now: float) -> bool:
        return (self.now_chosen(now), self.for_good()) != (NOTHING, NOTHING)

    def status(self, now: float) -> str:
        """Return the true status."""
        present = [client for client in self.clients if client.ends > now]
        if not present:
            return "offline"
        status = self.now_chosen(now)[0]
        return status if status != "auto" else "online" if any(client.active for client in present) else "away"

    def look(self, now: float) -> None:
        """Show others the current state."""
        status = self.status(now)
        self.looks = "offline" if status == "invisible" else status
        self.is_known = self.is_known or self.looks != "offline"


class Choosing(RuleBasedStateMachine):
    @initialize(
        stored=st.dictionaries(
            st.sampled_from(USERS), st.lists(st.tuples(statuses, texts, lengths), min_size=1, max_size=2)
        ),
        most=st.sampled_from([1, 2]),
    )
    def start(self, stored: dict[str, list[tuple[str, str, float]]], most: int) -> None:
        self.now, self.serial = 100.0, 0
        self.users = {user_id: ExpectedUser() for user_id in USERS}
        self.most = 1000 if stored else most
        limits = Limits(1000, 3600, 1, self.most, status_pause=PAUSE)
        self.subject, self.spelt, self.early = (Directory[int](Grace(3, LOST), limits, Journal(1000)) for _ in range(3))
        self.stored: dict[str, list[Event]] = {}
        for user_id, choices in stored.items():
            # A permanent choice, and a temporary one after it, as they are stored.
            kept = sorted(
                {lasts == inf: (status, text, lasts) for status, text, lasts in choices}.items(), reverse=True
            )
            self.stored[user_id] = [((status, text), self.now + lasts) for _, (status, text, lasts) in kept]
        if stored:
            self.subject.since_start, self.spelt.since_start = DecisionsSinceStart(), DecisionsSinceStart()
            for user_id in stored:
                self.early.restore_choices(user_id, self.made(self.stored[user_id]), self.instant())
        self.is_restored = not stored
        self.absent: list[str] = []
        """Absent users with a choice, in the order of their leaving."""

    def instant(self) -> Instant:
        return Instant(self.now, int(self.now * 1000))

    def made(self, events: list[Event]) -> tuple[TimedChoice, ...]:
        return tuple(
            TimedChoice(choice_of(*chosen, until_ms=0 if ends == inf else int(ends * 1000)), ends)
            for chosen, ends in events
        )

    def all(self, event: str, *args: Any, **options: Any) -> None:
        """Apply the same event to all directories. They send the same changes, except for the one with stored data."""
        came: list[list[tuple[Change | None, OwnState | None]]] = []
        for directory in (self.subject, self.spelt, self.early):
            given = [self.spell(arg, directory) for arg in args]
            found = getattr(directory, event)(*given, self.instant(), **options)
            outcomes: list[Outcome[int]] = found if isinstance(found, list) else [found]
            came.append([(outcome.change, outcome.own) for outcome in outcomes])
        assert came[0] == came[1], "auto is auto, however it is spelt"

    def spell(self, arg: Any, directory: Directory[int]) -> Any:
        return choice_of("") if arg is AS_DETECTED and directory is self.spelt else arg

    def client(self, data: st.DataObject) -> tuple[str, ExpectedUser, ChoosingClient]:
        pairs = [(user_id, user, client) for user_id, user in self.users.items() for client in user.connected()]
        return data.draw(st.sampled_from(pairs))

    def settled(self, user_id: str) -> None:
        """Others see the true status. The choices of the last few absent users are remembered."""
        user = self.users[user_id]
        user.look(self.now)
        is_absent = all(client.ends <= self.now for client in user.clients)
        if not is_absent or not user.has_chosen(self.now):
            self.absent = [other for other in self.absent if other != user_id]
        elif user_id not in self.absent:
            self.absent.append(user_id)
            if len(self.absent) > self.most:
                self.users[self.absent.pop(0)].events = []

    def release(self, user_id: str) -> None:
        """Apply the waiting requests, one after the other."""
        user = self.users[user_id]
        if not user.waits():
            return
        user.pause_ends = self.now + PAUSE
        for client, active in user.activity.items():
            client.active = active
        user.activity = {}
        self.settled(user_id)
        user.events += user.waiting
        user.waiting = []
        self.settled(user_id)

    # Events.

    @rule(
        user_id=st.sampled_from(USERS),
        status=st.sampled_from([None, None, Status.INVISIBLE, Status.BUSY]),
        text=texts,
        until=st.sampled_from([inf, 30.0]),
    )
    def connect(self, user_id: str, status: Status | None, text: str, until: float) -> None:
        """The client may name the user's choice, unless user data is stored. Then the two could differ."""
        user = self.users[user_id]
        status = None if self.stored else status
        ends = inf if until == inf else self.now + until
        self.serial += 1
        brought = choice_of(status.value, text, until_ms=0 if until == inf else int(ends * 1000)) if status else None
        if status and not user.is_known and not user.clients and not user.has_chosen(self.now):
            user.events.append(((status.value, text), ends))
        user.clients.append(ChoosingClient(self.serial))
        for directory in (self.subject, self.spelt, self.early):
            directory.open(user_id, self.serial, self.instant(), f"session {self.serial}", client_choice=brought)
        self.settled(user_id)
        self.pass_time(TICK)

    @precondition(lambda self: any(user.connected() for user in self.users.values()))
    @rule(data=st.data(), ending=st.sampled_from([Ending.CLOSED, Ending.LOST]))
    def close(self, data: st.DataObject, ending: Ending) -> None:
        user_id, user, client = self.client(data)
        if len(user.clients) - len(user.connected()) >= 8:  # another test checks the bound
            ending = Ending.CLOSED
        if user.connected() == [client]:
            self.release(user_id)
        self.all("apply_held_requests", user_id, client.number)
        self.all("close", user_id, client.number, ending)
        client.ends = self.now + LOST
        if ending is Ending.CLOSED:
            user.clients.remove(client)
            user.activity.pop(client, None)
        self.settled(user_id)
        self.pass_time(TICK)

    @precondition(lambda self: any(user.connected() for user in self.users.values()))
    @rule(data=st.data(), status=statuses, text=texts, lasts=lengths)
    def choose(self, data: st.DataObject, status: str, text: str, lasts: float) -> None:
        user_id, user, _ = self.client(data)
        event: Event = ((status, text), self.now + lasts)
        if user.must_wait(self.now):
            user.waiting.append(event)
        else:
            user.pause_ends = self.now + PAUSE
            user.events.append(event)
        self.all("choose", user_id, self.choice(status, text), lasts=None if lasts == inf else lasts)
        self.settled(user_id)
        self.pass_time(TICK)

    @rule(user_id=st.sampled_from(USERS), status=statuses, text=texts, lasts=lengths)
    def choose_for(self, user_id: str, status: str, text: str, lasts: float) -> None:
        """A backend's choice takes effect immediately, after all earlier requests."""
        user = self.users[user_id]
        user.events += [*user.waiting, ((status, text), self.now + lasts)]
        user.waiting = []
        options = {"lasts": None if lasts == inf else lasts, "by_user": False}
        self.all("choose", user_id, self.choice(status, text), **options)
        self.settled(user_id)
        self.pass_time(TICK)

    def choice(self, status: str, text: str) -> Choice:
        return AS_DETECTED if (status, text) == NOTHING else choice_of(status, text)

    @precondition(lambda self: any(user.connected() for user in self.users.values()))
    @rule(data=st.data(), active=st.booleans())
    def be_active(self, data: st.DataObject, active: bool) -> None:
        user_id, user, client = self.client(data)
        if client.active is active:
            user.activity.pop(client, None)
        elif user.must_wait(self.now):
            user.activity[client] = active
        else:
            user.pause_ends = self.now + PAUSE
            client.active = active
        self.all("set_active", user_id, client.number, active)
        self.settled(user_id)
        self.pass_time(TICK)

    @precondition(lambda self: not self.is_restored)
    @rule()
    def restore(self) -> None:
        """The database responds late. The result is the same as if it had responded before everything."""
        self.is_restored = True
        for user_id, events in self.stored.items():
            self.users[user_id].events[:0] = events
            for directory in (self.subject, self.spelt):
                directory.restore_choices(user_id, self.made(events), self.instant())
            self.settled(user_id)
        self.subject.since_start = self.spelt.since_start = None

    @rule(seconds=st.sampled_from([0.125, 0.25, 0.5, 5.0, 15.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    def pass_time(self, seconds: float) -> None:
        start, end = self.now, self.now + seconds
        for directory in (self.subject, self.spelt, self.early):
            while (deadline := directory.next_deadline()) is not None and deadline <= end:
                self.now = max(start, deadline)
                directory.expire(self.instant())
        self.now = start
        while (due := self.next_due()) <= end:
            self.now = max(start, due)
            for user_id, user in self.users.items():
                user.clients = [client for client in user.clients if client.ends > self.now]
                user.activity = {client: active for client, active in user.activity.items() if client in user.clients}
                self.settled(user_id)
                if user.waits() and user.pause_ends <= self.now:
                    self.release(user_id)
        self.now = end

    def next_due(self) -> float:
        """Advance to the next time at which something expires. Each moment occurs once."""
        times = [ends for user in self.users.values() for ends in [client.ends for client in user.clients]]
        times += [user.events[-1][1] for user in self.users.values() if user.events and user.events[-1][1] > self.now]
        times += [user.pause_ends for user in self.users.values() if user.waits()]
        return min([time for time in times if time < inf], default=inf)

    # Invariants.

    @invariant()
    def users_are_what_the_model_says(self) -> None:
        for user_id, user in self.users.items():
            assert self.subject.users.status(user_id) == user.looks
            known = self.subject.users.user(user_id)
            chosen = known.choice if known else AS_DETECTED
            assert (chosen.status or "auto", chosen.details.text) == user.now_chosen(self.now), user_id
            assert (known.true_view().status if known else "offline") == user.status(self.now)

    @invariant()
    def auto_is_auto_however_it_is_spelt(self) -> None:
        for user_id in USERS:
            subject, spelt = self.subject.users.user(user_id), self.spelt.users.user(user_id)
            assert (subject is None) is (spelt is None), "remembered alike"
            assert subject is None or spelt is None or subject.true_view() == spelt.true_view()

    @invariant()
    def what_is_restored_late_is_as_if_it_had_been_there_from_the_start(self) -> None:
        if self.stored and self.is_restored:
            for user_id in USERS:
                late, early = self.subject.users.user(user_id), self.early.users.user(user_id)
                assert self.subject.users.status(user_id) == self.early.users.status(user_id)
                if late and early:
                    assert late.true_view() == early.true_view()
                    assert (late.chosen, late.choice) == (early.chosen, early.choice)


TestChoosing: Any = Choosing.TestCase
TestChoosing.settings = settings(max_examples=examples(300), stateful_step_count=40)
