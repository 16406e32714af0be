"""Clients on a bad network. Clients of presenced.v1 are sessions of the library `presenced_client`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlencode

from tests.simulation.network import Link
from tests.support.v1_replica import V1Replica

from presenced.errors import Close
from presenced.testing import FakeClock
from presenced_client.desired_state import DesiredRoom
from presenced_client.requested_state import EVERYONE
from presenced_client.retry import Final, Retry
from presenced_client.self import Choice
from presenced_client.session import Session

SILENCE = 45.0
"""Seconds without a message after which a client closes the connection."""

Connect = Callable[["AnyClient", str, bool], Link]


class AnyClient:
    """Base class: a client reconnects until it leaves."""

    is_classic = True

    def __init__(self, name: str, user_id: str, clock: FakeClock, connect: Connect) -> None:
        self.name = name
        self.user_id = user_id
        self.link: Link | None = None
        self.is_here = False
        """Whether the client wants a connection."""
        self.is_established = False
        self.heard = 0
        """Number of received messages."""
        self.random = random.Random(name)
        self._clock = clock
        self._connect = connect
        self._heard_at = 0.0
        self._attempt = 0
        self._look()

    def come(self, delay: float) -> None:
        """Connect after `delay` seconds, and reconnect from then on."""
        self.is_here = True
        self._attempt += 1
        attempt = self._attempt
        self._clock.call_at(self._clock.monotonic() + delay, lambda: self._connect_now(attempt))

    def leave(self, code: int) -> None:
        """Close deliberately."""
        self.is_here = False
        self._attempt += 1
        if self.link:
            self.link.close(code)
            self._is_without()

    def query(self) -> str:
        return f"userId={self.user_id}"

    def forget_session(self) -> None:
        """Lose all state, like a closed page or a reload without storage."""

    def _connect_now(self, attempt: int) -> None:
        if attempt == self._attempt and self.is_here and self.link is None:
            self._heard_at = self._clock.monotonic()
            self.link = self._connect(self, self.query(), self.is_classic)

    def _look(self) -> None:
        if self.link and self._clock.monotonic() - self._heard_at > SILENCE:
            self.link.abandon()
            self._is_without()
            self.come(self.delay_after(1006))
        self._clock.call_at(self._clock.monotonic() + 5, self._look)

    def delay_after(self, code: int) -> float:
        """Return the seconds to wait before the next connection."""
        return self.random.uniform(0.1, 2)

    def _is_without(self) -> None:
        self.link, self.is_established = None, False

    # Implements network.Client.

    def on_message(self, link: Link, message: dict[str, Any]) -> None:
        if link is self.link:
            self._heard_at = self._clock.monotonic()
            self.heard += 1
            self.take(message)

    def take(self, message: dict[str, Any]) -> None:
        raise NotImplementedError

    def on_ping(self, link: Link) -> None:
        self._heard_at = self._clock.monotonic()

    def is_closed(self, link: Link, code: int) -> None:
        if link is self.link:
            assert code in (1001, 1006, *(close.code for close in EXPECTED)), f"{self.name} was closed with {code}"
            self._is_without()
            self.come(self.delay_after(code))


EXPECTED = (Close.TIMED_OUT, Close.FELL_BEHIND, Close.DISCONNECTED, Close.REPLACED)


class ClassicClient(AnyClient):
    """Client of the classic protocol."""

    def __init__(self, name: str, user_id: str, clock: FakeClock, connect: Connect) -> None:
        super().__init__(name, user_id, clock, connect)
        self.online: dict[str, bool] = {}
        """Users named on this connection."""

    def take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "CONNECTION_ESTABLISHED":
                self.is_established, self.online = True, {}
            case "USER_ONLINE" | "USER_OFFLINE" as type_:
                user_id, online = str(message["userId"]), type_ == "USER_ONLINE"
                assert user_id != self.user_id, "nobody is told of themselves"
                self.online[user_id] = online


class V1Client(AnyClient):
    """Client of presenced.v1: a session of the library, and beside it the reference model of what it must know.

    Its wishes outlive its sessions. A page that is closed and opened again wants the same.
    """

    is_classic = False

    def __init__(
        self,
        name: str,
        user_id: str,
        clock: FakeClock,
        connect: Connect,
        device: str,
        everyone: bool,
        is_patient: bool = True,
    ) -> None:
        self.session = Session()
        self.replica = V1Replica()
        self.device = device
        self._is_patient = is_patient
        """Whether the client waits as long as the library says. Another one connects within two seconds."""
        super().__init__(name, user_id, clock, connect)
        self._retry = Retry(self.random.random, can_renew=False)
        self._due_at: float | None = None
        if everyone:
            self.watch_everyone(True)

    # Desired state.

    @property
    def users(self) -> set[str]:
        """Users that the client watches by id."""
        return set(self.session.desired.users.active)

    @property
    def everyone(self) -> bool:
        """Whether the client watches everyone."""
        return None in self.session.desired.everyone.active

    @property
    def is_counting(self) -> bool:
        """Whether the client watches the number of online users."""
        return EVERYONE in self.session.desired.counts.active

    @property
    def is_idle(self) -> bool:
        """Whether nobody uses this device."""
        return self.session.desired.is_idle

    @property
    def joined(self) -> dict[str, Any]:
        """Rooms that the client is in, with its data."""
        return {name: room.data for name, room in self.session.desired.rooms.items()}

    def watch(self, users: Iterable[str], is_read: bool) -> None:
        """Begin or stop to read users. Some linger for a while after that."""
        for user in users:
            self._read(self.session.desired.users, user, is_read)
        self._wish()

    def watch_everyone(self, is_read: bool) -> None:
        """Begin or stop to watch everyone."""
        self._read(self.session.desired.everyone, None, is_read)
        self._wish()

    def count_everyone(self, is_read: bool) -> None:
        """Begin or stop to watch how many users are online."""
        self._read(self.session.desired.counts, EVERYONE, is_read)
        self._wish()

    def join(self, room: str, data: Any) -> None:
        """Join a room, or replace the data in it."""
        self.session.desired.rooms[room] = DesiredRoom(joiners=1, data=data)
        self._wish()

    def leave_room(self, room: str) -> None:
        """Leave a room."""
        del self.session.desired.rooms[room]
        self._wish()

    def toggle_idle(self) -> None:
        """Become idle or active."""
        self.session.desired.is_idle = not self.session.desired.is_idle
        self._wish()

    def choose(self, status: Any, text: str, lasts: float | None) -> None:
        """Choose a status, for `lasts` seconds from now."""
        ends_at = None if lasts is None else self._clock.monotonic() + lasts
        self.session.set_status(Choice(status, text, ends_at=ends_at))
        self._drive()

    def _read(self, readers: Any, key: str | None, is_read: bool) -> None:
        if is_read and key not in readers.active:
            readers.acquire(key)
        elif not is_read and key in readers.active:
            readers.release(key, self._clock.monotonic() + self.random.choice([0, 0, 5]))

    def _wish(self) -> None:
        self.session.changed()
        self._drive()

    # The connection.

    def query(self) -> str:
        parameters = {"userId": self.user_id, "device": self.device, **self.session.parameters(self._clock.monotonic())}
        return urlencode(parameters)

    def forget_session(self) -> None:
        desired = self.session.desired
        self.session, self.replica = Session(), V1Replica()
        self.session.desired = desired

    def take(self, message: dict[str, Any]) -> None:
        self.replica.take(message)
        self.session.received(message, self._clock.monotonic())
        if self.session.is_established and not self.is_established:
            self._retry.opened(self._clock.monotonic())
        self.is_established = self.session.is_established
        errors = self.session.take_errors()
        assert not errors, f"{self.name} is refused {errors}"
        self._drive()

    def delay_after(self, code: int) -> float:
        decision = self._retry.closed(code, "", self._clock.monotonic())
        if isinstance(decision, Final):  # somebody opens the page again
            self._retry = Retry(self.random.random, can_renew=False)
            self.forget_session()
            return super().delay_after(code)
        if decision.new_session:
            self.session.forget_session()
        return decision.delay if self._is_patient else min(decision.delay, 2)

    def _is_without(self) -> None:
        super()._is_without()
        self.session.lost(self._clock.monotonic())
        self._drive()

    def _drive(self) -> None:
        """Send what the session wants to send, and call it when something is due."""
        now = self._clock.monotonic()
        for request in self.session.outgoing(now):
            assert self.link, "only an established session sends"
            self.link.send(request)
        due_at = self.session.next_at(now)
        if due_at is not None and (self._due_at is None or due_at < self._due_at):
            self._due_at = due_at
            self._clock.call_at(due_at, lambda: self._due(due_at))

    def _due(self, due_at: float) -> None:
        if due_at == self._due_at:
            self._due_at = None
            self.session.tick(self._clock.monotonic())
            self._drive()
