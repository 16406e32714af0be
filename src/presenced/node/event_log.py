"""The log lines of the classic contract, and the limit on how many are written per second."""

from __future__ import annotations

import logging
from collections import Counter

from presenced.presence.model import Status
from presenced.protocols.ids import wire_user_id
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.logs import logger

_WORDS = {
    "user_connected": "connected",
    "user_disconnected": "disconnected",
    "user_online": "online",
    "user_offline": "offline",
    "broadcast": "broadcasts",
    "heartbeat_failed": "heartbeats failed",
    "refused": "refused",
    "turned_away": "refused before the upgrade",
}


class EventLog:
    """Writes one line per event, in the words of the contract.

    Bound: `burst` lines a second. Further lines are counted by kind, and one line reports the counts at the end of the
    second. The formatters escape characters that end a line or control a terminal.

    Args:
        anonymous: Write a dash in place of each id.
    """

    def __init__(self, clock: Clock, timer: Timer, burst: int, anonymous: bool = False) -> None:
        self._clock = clock
        self._timer = timer
        self._burst = burst
        self._anonymous = anonymous
        self._left = 0
        self._second_ends = float("-inf")
        self._unsaid: Counter[str] = Counter()

    def connected(self, user_id: str) -> None:
        """A connection of the user opened."""
        if self._admit("user_connected"):
            self._say_of(user_id, "user_connected", "🚀 WS: User %s connected")

    def disconnected(self, user_id: str) -> None:
        """A connection of the user ended."""
        if self._admit("user_disconnected"):
            self._say_of(user_id, "user_disconnected", "🔌 WS: User %s disconnected")

    def heartbeat_failed(self, user_id: str) -> None:
        """A connection of the user did not answer."""
        if self._admit("heartbeat_failed"):
            self._say_of(user_id, "heartbeat_failed", "💔 WS: User %s heartbeat failed - disconnecting")

    def changed(self, user_id: str, status: Status, users_told: int) -> None:
        """The user's status changed and so many other users are told."""
        event = f"user_{status}"
        if self._admit(event):
            self._say_of(user_id, event, "📡 WS: User %s is %s", status.name)
        if self._admit("broadcast"):
            _say("broadcast", "📡 WS: Broadcast sent to %d users", users_told, users=users_told)

    def refused(self, code: str, reason: str) -> None:
        """A WebSocket was refused."""
        if self._admit("refused"):
            _say("refused", "⛔ WS: Refused, %s: %s", code, reason, code=code, reason=reason)

    def turned_away(self, status: int, code: str, reason: str, origin: str, setting: str) -> None:
        """Log the refusal of a request before it became a WebSocket, or by the HTTP side because of its page or host.

        Args:
            reason: The fault and the remedy. Text from the client in it is quoted.
            origin: Origin of the page that sent the request, quoted; empty if there is none.
            setting: Name of the setting that decides; empty if there is none.
        """
        if self._admit("turned_away"):
            fields = {"status": status, "code": code, "reason": reason, "origin": origin, "setting": setting}
            _say("turned_away", "⛔ HTTP: Refused, %d %s: %s", status, code, reason, **fields)

    def stats(self, users: int, connections: int) -> None:
        """The statistics line."""
        message = "📊 WS Stats: %d users, %d connections"
        _say("stats", message, users, connections, users=users, connections=connections)

    def _say_of(self, user_id: str, event: str, message: str, *more: object) -> None:
        name = "-" if self._anonymous else user_id
        _say(event, message, name, *more, userId=wire_user_id(name))

    def _admit(self, event: str) -> bool:
        if not logger.isEnabledFor(logging.INFO):
            return False
        now = self._clock.monotonic()
        if now >= self._second_ends:
            self._second_ends = now + 1
            self._left = self._burst
        if self._left > 0:
            self._left -= 1
            return True
        if not self._unsaid:
            self._timer.set(self._sum_up, self._second_ends)
        self._unsaid[event] += 1
        return False

    def _sum_up(self) -> None:
        counts, self._unsaid = self._unsaid, Counter()
        told = ", ".join(f"{count:,} {_WORDS[event]}" for event, count in counts.items())
        _say("summary", "📊 WS: Within a second also: %s", told, **counts)


def _say(event: str, message: str, *arguments: object, **fields: object) -> None:
    """One line: as text the message with its arguments, as JSON also the event and its fields."""
    logger.info(message, *arguments, extra={"event": event, "fields": fields})
