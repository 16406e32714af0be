"""The log lines about users and connections, and the limit on how many are written per second.

The words of these lines never change, because operators and programs search for them. A storm of reconnects would
write thousands of lines in a second. So only the first `log_burst` lines of a second are written, and one line at its
end counts the others by kind:

    📊 WS: Within a second also: 1,900 connected, 1,900 online, 1,900 broadcasts
"""

from __future__ import annotations

import logging
from collections import Counter

from presenced.net.refusals import Refusal
from presenced.presence.model import Status
from presenced.protocols.ids import wire_user_id
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.logs import logger
from presenced.runtime.text import quoted

_SUMMARY_WORDS = {
    "user_connected": "connected",
    "user_disconnected": "disconnected",
    **{f"user_{status}": str(status) for status in Status},
    "broadcast": "broadcasts",
    "heartbeat_failed": "heartbeats failed",
    "refused": "refused",
    "turned_away": "refused before the upgrade",
    "revoked": "revocations",
    "erased": "erasures",
}
"""Words of the summary, by event."""

_SETTINGS = {
    "full": "max_connections",
    "address": "address_connections, address_rate and trusted_proxies",
    "head_too_large": "max_head_size",
}
"""Settings behind refusals that name none of their own, by `Refusal.reason`."""

_EVENTS = {status: (f"user_{status}", status.name) for status in Status}
"""Event and name of each status. They are looked up, because making them at every change would cost more."""


class EventLog:
    """Writes one line per event. The formatters escape characters that end a line or control a terminal.

    Bounds: `burst` lines a second. Further lines are counted for the summary.

    Args:
        burst: Setting `log_burst`.
        anonymous: Write a dash in place of each id, and no address.
        with_addresses: Write the addresses of clients that guess tokens.
    """

    def __init__(
        self, clock: Clock, timer: Timer, burst: int, anonymous: bool = False, with_addresses: bool = False
    ) -> None:
        self._clock = clock
        self._timer = timer
        self._burst = burst
        self._anonymous = anonymous
        self._with_addresses = with_addresses and not anonymous
        self._left = 0  # lines that may still be written in this second
        self._second_ends = float("-inf")  # monotonic
        self._suppressed: Counter[str] = Counter()

    def connected(self, user_id: str) -> None:
        """Log that a connection of the user opened."""
        self._log_about(user_id, "user_connected", "🚀 WS: User %s connected")

    def disconnected(self, user_id: str) -> None:
        """Log that a connection of the user ended."""
        self._log_about(user_id, "user_disconnected", "🔌 WS: User %s disconnected")

    def heartbeat_failed(self, user_id: str) -> None:
        """Log that a connection of the user did not answer a ping."""
        self._log_about(user_id, "heartbeat_failed", "💔 WS: User %s heartbeat failed - disconnecting")

    def changed(self, user_id: str, status: Status, receivers: int) -> None:
        """Log that the user went online or offline, and the number of other connected users."""
        event, name = _EVENTS[status]
        self._log_about(user_id, event, "📡 WS: User %s is %s", name)
        if self._may_write("broadcast"):
            _log("broadcast", "📡 WS: Broadcast sent to %d users", receivers, users=receivers)

    def refused(self, code: str, reason: str, guessed_at: str = "") -> None:
        """Log that a WebSocket was refused.

        Args:
            guessed_at: Address of a client that may guess, so that an operator can block it; empty for other clients.
        """
        if not self._may_write("refused"):
            return
        address = guessed_at if self._with_addresses else ""
        fields = {"code": code, "reason": reason, "address": address}
        if address:  # at the end, where no text from the client can pass for it
            _log("refused", "⛔ WS: Refused, %s: %s; from %s", code, reason, address, **fields)
        else:
            _log("refused", "⛔ WS: Refused, %s: %s", code, reason, **fields)

    def turned_away(self, refusal: Refusal, origin: bytes) -> None:
        """Log a request that was refused before it became a WebSocket, or because of its page or host.

        Args:
            origin: Origin of the page that sent the request; empty if there is none.
        """
        if not self._may_write("turned_away"):
            return
        status, code = refusal.problem.status, refusal.problem.name
        setting = refusal.setting or _SETTINGS.get(refusal.reason, "")
        text, page = refusal.logged or quoted(refusal.detail), quoted(origin.decode("latin-1"))
        if not refusal.setting:
            text += f"; page {page}" if page else ""
            text += f"; see {setting}" if setting else ""
        fields = {"status": status, "code": code, "reason": text, "origin": page, "setting": setting}
        _log("turned_away", "⛔ HTTP: Refused, %d %s: %s", status, code, text, **fields)

    def stats(self, users: int, connections: int) -> None:
        """Log the statistics line."""
        message = "📊 WS Stats: %d users, %d connections"
        _log("stats", message, users, connections, users=users, connections=connections)

    def stopping(self, connections: int) -> None:
        """Log that the server stops, and closes its connections."""
        _log("stopping", "🛑 WS: Stopping, %d connections are being closed", connections, connections=connections)

    def revoked(self, user_id: str, what: str, closed: int) -> None:
        """Log that tokens of a user were revoked.

        Args:
            what: Tokens that were revoked: those of the `user`, of one `session`, or one `token`.
            closed: Number of connections that are being closed.
        """
        if self._may_write("revoked"):
            name = "-" if self._anonymous else user_id
            fields = {"userId": wire_user_id(name), "tokens": what, "closed": closed}
            _log("revoked", "🔒 WS: Tokens of user %s revoked", name, **fields)

    def erased(self, closed: int, stored: int) -> None:
        """Log that a user was erased. The line omits the id, which would have to be erased from the log, too.

        Args:
            closed: Number of connections that are being closed.
            stored: Number of rows that were deleted.
        """
        if self._may_write("erased"):
            message = "🧹 WS: A user was erased: %d connections closed, %d rows deleted"
            _log("erased", message, closed, stored, closed=closed, stored=stored)

    def _log_about(self, user_id: str, event: str, message: str, *more: object) -> None:
        if self._may_write(event):
            name = "-" if self._anonymous else user_id
            _log(event, message, name, *more, userId=wire_user_id(name))

    def _may_write(self, event: str) -> bool:
        """Return whether a line may be written in this second. If not, count it for the summary."""
        if not logger.isEnabledFor(logging.INFO):
            return False
        now = self._clock.monotonic()
        if now >= self._second_ends:
            self._second_ends = now + 1
            self._left = self._burst
        if self._left > 0:
            self._left -= 1
            return True
        if not self._suppressed:
            self._timer.set(self._summarize, self._second_ends)
        self._suppressed[event] += 1
        return False

    def _summarize(self) -> None:
        counts, self._suppressed = self._suppressed, Counter()
        counted = ", ".join(f"{count:,} {_SUMMARY_WORDS[event]}" for event, count in counts.items())
        _log("summary", "📊 WS: Within a second also: %s", counted, **counts)


def _log(event: str, message: str, *arguments: object, **fields: object) -> None:
    """Log one line: as text the message with its arguments, as JSON also the event and its fields."""
    logger.info(message, *arguments, extra={"event": event, "fields": fields})
