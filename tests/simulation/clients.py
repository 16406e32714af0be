"""Clients that behave like a good library: they reconnect, resume, and repeat unanswered requests."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.simulation.network import Link
from tests.support.v1_replica import V1Replica

from presenced.errors import Close
from presenced.testing import FakeClock

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
            self.come(self.random.uniform(0, 2))
        self._clock.call_at(self._clock.monotonic() + 5, self._look)

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
            if code == Close.REPLACED.code:
                self.forget_session()  # a handshake given up overtook its successor, and has the session now
            self.come(self.random.uniform(0.1, 2))


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


class V1Client(AnyClient, V1Replica):
    """Client of presenced.v1. Its subscriptions, status and rooms outlive its sessions."""

    is_classic = False

    def __init__(
        self, name: str, user_id: str, clock: FakeClock, connect: Connect, device: str, everyone: bool
    ) -> None:
        AnyClient.__init__(self, name, user_id, clock, connect)
        V1Replica.__init__(self)
        self.device = device
        self.everyone = everyone
        self.users: set[str] = set()
        self.joined: dict[str, Any] = {}
        self.is_counting = False
        self.is_idle = False
        self.unanswered: dict[int, dict[str, Any]] = {}
        self._last_id = 0

    def query(self) -> str:
        watch = "" if self.everyone else "&watch=none"
        activity = "idle" if self.is_idle else "active"
        named = f"session={self.session_id}&position={self.position}&activity={activity}"
        return f"userId={self.user_id}&device={self.device}&{named}{watch}"

    def forget_session(self) -> None:
        V1Replica.__init__(self)
        self.unanswered = {}

    def ask(self, type_: str, **fields: Any) -> None:
        """Send a request now or after the next connect, and repeat it until it is answered."""
        self._last_id += 1
        self.unanswered[self._last_id] = {"type": type_, "id": self._last_id, **fields}
        if self.link and self.is_established:
            self.link.send(self.unanswered[self._last_id])

    def take(self, message: dict[str, Any]) -> None:
        before, was = self.session_id, self.modes.get(message.get("room", ""))
        V1Replica.take(self, message)
        match message["type"]:
            case "CONNECTION_ESTABLISHED":
                self._established(is_other=before != self.session_id)
            case "ACK":
                self.unanswered.pop(message["id"], None)
            case "ERROR":
                # LEAVE, or SET_MEMBER before it, was carried out, and the answer lost.
                assert message["name"] == "NOT_A_MEMBER", f"{self.name} is told {message}"
                self.unanswered.pop(message["id"], None)
            case "ROOM_CHANGES" if was == "counts" != message["mode"]:
                self.ask("WATCH", rooms=[message["room"]])

    def _established(self, is_other: bool) -> None:
        self.is_established = True
        assert self.link
        if is_other:
            self.modes, self.sizes, self.counts = {}, {}, {}
            # An ACTIVITY may be newer than the URL of this connection, which names what the client was then.
            kept = [asked for asked in self.unanswered.values() if asked["type"] in ("SET_STATUS", "ACTIVITY")]
            self.unanswered = {asked["id"]: asked for asked in kept}
        for asked in self.unanswered.values():
            self.link.send(asked)
        if is_other:
            self.ask("WATCH" if self.everyone else "UNWATCH", everyone=True)  # it may want otherwise by now
            if self.users:
                self.ask("WATCH", users=sorted(self.users))
            if self.is_counting:
                self.ask("WATCH", everyone=True, mode="count")
            for room, data in self.joined.items():
                self.ask("JOIN", room=room, data=data)
