"""Unused tickets in the store, for all nodes (`auth.tickets.SharedTickets`).

    node A   issue ── put ──────> store ── GETDEL ──> node B   the client is authenticated, or refused
                                    ^                   |
                                    '── asked again ────'  once, because a genuine ticket may still be on its way

The store has digests of tickets, each with the principal that the ticket stands for.

If a ticket is missing, it was used, has expired, or the node that made it could not store it. In the last case the
client should try again (1013). A node cannot distinguish these cases until `RECOVERY_S` after the store has returned.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Protocol

import msgspec

from presenced.auth.authenticator import UNAVAILABLE
from presenced.auth.principal import Principal
from presenced.auth.tickets import TICKET_LIFETIME_S, IssuedTicket, OnTaken, ticket_age_s
from presenced.cluster.backend import Backend, StoredKey
from presenced.cluster.replica.lost_writes import RECOVERY_S
from presenced.errors import BadUserId
from presenced.presence.identity import parse_user_id
from presenced.protocols.v1 import codec as v1
from presenced.runtime.clock import Action, Clock, Timer

ASK_AGAIN_S = 0.25
"""Seconds after which the store is asked again for a genuine ticket that is missing."""

MAX_ASKING_AGAIN = 1_000
"""Maximum number of tickets that wait to be asked for again. At the bound, one more is refused immediately."""

MAX_CLOCK_DIFFERENCE_S = 30.0
"""Seconds by which the clocks of two nodes may differ. A ticket that is older than its lifetime plus this has expired,
even if the store still has it: a store that was frozen keeps it for too long."""

KIND = "ticket"
"""Kind of the values in the store."""


class Reach(Protocol):
    """Reachability of the store, as `cluster.cluster` knows it."""

    @property
    def is_in_reach(self) -> bool:
        """Whether no part of the store is out of reach or full."""

    @property
    def in_reach_since(self) -> float:
        """Monotonic time since when the store is in reach, if it is."""


class RemoteTickets:
    """Unused tickets of all nodes.

    Bounds: `MAX_ASKING_AGAIN`; those of the backend for calls that wait.
    """

    def __init__(self, backend: Backend, reach: Reach, clock: Clock, timer: Timer) -> None:
        self._backend = backend
        self._reach = reach
        self._clock = clock
        self._timer = timer
        self._again: deque[tuple[float, Action]] = deque()  # monotonic time, and the call then

    def put(self, key: bytes, ticket: IssuedTicket, seconds: float) -> bool:
        """Keep a ticket for all nodes. Return False if the store is out of reach or full."""
        if not self._reach.is_in_reach:
            return False
        self._backend.put(StoredKey(KIND, key.hex()), encode_ticket(ticket), seconds)
        return True

    def take(self, key: bytes, is_genuine: bool, on_taken: OnTaken) -> None:
        """Take a ticket. The result is UNAVAILABLE if this node cannot know whether the ticket exists.

        Args:
            is_genuine: Whether a node of this cluster made the ticket, as its form shows. It may not exist any more.
        """
        if self._reach.is_in_reach:
            self._ask(key, on_taken, asks_again=is_genuine)
        else:
            self._clock.call_soon(partial(on_taken, UNAVAILABLE))

    def _ask(self, key: bytes, on_taken: OnTaken, asks_again: bool) -> None:
        def on_answer(value: bytes | None) -> None:
            now = self._clock.now()
            if value is not None:
                ticket = decode_ticket(value)
                age_s = ticket_age_s(ticket, now.epoch_ms) if ticket is not None else 0.0
                is_over = age_s > TICKET_LIFETIME_S + MAX_CLOCK_DIFFERENCE_S
                on_taken(None if is_over else ticket or UNAVAILABLE)
            elif asks_again and len(self._again) < MAX_ASKING_AGAIN:
                at = now.monotonic + ASK_AGAIN_S
                self._again.append((at, partial(self._ask, key, on_taken, asks_again=False)))
                self._timer.set(self._ask_again, self._again[0][0])
            else:
                is_sure = self._reach.is_in_reach and now.monotonic - self._reach.in_reach_since > RECOVERY_S
                on_taken(None if is_sure else UNAVAILABLE)

        self._backend.take(StoredKey(KIND, key.hex()), on_answer, lambda: on_taken(UNAVAILABLE))

    def _ask_again(self) -> None:
        now = self._clock.monotonic()
        while self._again and self._again[0][0] <= now:
            self._again.popleft()[1]()
        if self._again:
            self._timer.set(self._ask_again, self._again[0][0])


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(IssuedTicket)


def encode_ticket(ticket: IssuedTicket) -> bytes:
    """Return what a ticket stands for, as bytes. They do not contain the ticket itself."""
    return _encode(ticket)


def decode_ticket(data: bytes) -> IssuedTicket | None:
    """Return what a ticket stands for; None if this release does not understand it.

    A field that this release does not know may be a restriction. So no field is ignored.
    """
    try:
        ticket = _decoder.decode(data)
        principal: Principal = ticket.principal
        is_valid = parse_user_id(principal.user_id, placeholders=True) == principal.user_id
    except (msgspec.MsgspecError, BadUserId):
        return None
    display = principal.display
    is_valid = is_valid and (display is None or not display.data or v1.is_display(display.data))
    return ticket if is_valid else None
