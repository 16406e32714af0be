"""Hand-over of sessions: a client that reconnects to another node continues there, and receives only what it missed.

Node B, to which the client reconnects, looks for the session, and takes it from node A, which has it:

    client              B                                   A
    session=...  --->   which node contributes it?
                        AskSession  ------------------->    gives the session away, and closes its old connection
                        adopts it   <-------------------    GiveSession
    ESTABLISHED  <---   opens it, commits its sessions
                        reads its own item                  reads B's item: drops its own copy

A keeps the session in a grace period for `HOLD_S`, so that others do not notice the move. If A is stopping, it has
saved the session in the store, where only one node can take it. If A does not answer within `ASK_TIMEOUT_S`, it may
have stopped meanwhile, so B asks the store, too. If neither has the session, B opens a new one, and the client
subscribes again. If A has stopped, B takes the old session out of A's contribution.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple

from presenced.cluster.backend import Backend, Member, State, StoredKey
from presenced.cluster.directory import SharedDirectory, tag_of
from presenced.cluster.messages import AskSession, GiveSession, SavedSession, decode_session, encode_node_message
from presenced.cluster.names import SharedNames, slot_of
from presenced.delivery.connection import Connection
from presenced.errors import Close
from presenced.presence.journal import Cursor
from presenced.presence.session import Session
from presenced.runtime.clock import Clock, Timer

ASK_TIMEOUT_S = 0.3
"""Timeout in seconds for the answer of another node, and then again for the store's. Meanwhile the client waits for its
first message."""

HOLD_S = 5.0
"""Seconds for which a node still contributes a session that it gave away, unless the other node contributes it
earlier."""

MAX_SESSION_REQUESTS = 1_000
"""Maximum number of requests for sessions that wait for an answer. At the bound, further clients get new sessions."""

FROM_THE_BEGINNING = Cursor(-1)
"""Cursor of a client that must receive all that it subscribes to."""

SESSION = "session"
"""Kind of the saved sessions in the store."""

OnFetched = Callable[[Cursor | None], None]
"""Gets the position from which the client continues; None if its session cannot be resumed."""


class _Request(NamedTuple):
    """Request for a session, which waits for its answer."""

    expires_at: float
    """Monotonic time until which the answer counts."""
    session_id: str
    position: str
    user_id: str
    on_done: OnFetched
    is_for_node: bool
    """Whether another node was asked, and not the store."""


class Handover:
    """Sessions that this node takes from other nodes, and gives to them.

    Bounds: `MAX_SESSION_REQUESTS`.

    Args:
        members: Returns the registered nodes.
        is_silent: Returns whether the node in a slot may be dead, because its heartbeats are late.
        resume_window: Seconds for which a session can be resumed.
        agreed_from: Returns the first cursor whose clients on this node know only what the nodes have agreed on.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        timer: Timer,
        backend: Backend,
        directory: SharedDirectory[Connection],
        names: SharedNames,
        members: Callable[[], tuple[Member, ...]],
        is_silent: Callable[[int], bool],
        resume_window: float,
        agreed_from: Callable[[], Cursor] = lambda: Cursor(0),
    ) -> None:
        self._clock = clock
        self._timer = timer
        self._backend = backend
        self._directory = directory
        self._names = names
        self._members = members
        self._is_silent = is_silent
        self._resume_window = resume_window
        self._agreed_from = agreed_from
        self._requests: OrderedDict[int, _Request] = OrderedDict()  # by number; the first one expires first
        self._number = 0
        self._has_saved = False  # whether sessions were saved in the store, because this node stops

    def stop(self) -> None:
        """Forget the requests that wait."""
        self._timer.cancel(self._time_out)
        self._requests.clear()

    # Taking.

    def fetch(self, session_id: str, position: str, user_id: str, on_done: OnFetched) -> bool:
        """Look for a session on other nodes, and adopt it.

        Args:
            position: Last position that its client has received.
            on_done: Called when the session is here, with the cursor from which its client continues, or with None if
                the session was not found.

        Returns:
            False if there is nothing to wait for, or too much waits already. `on_done` is not called then.
        """
        if session_id in self._directory.users.sessions or len(self._requests) >= MAX_SESSION_REQUESTS:
            return False
        slot = self._slot_of(session_id, user_id)
        if slot < 0:
            return False
        request = _Request(0.0, session_id, position, user_id, on_done, self._can_answer(slot))
        self._number += 1
        number = self._number
        self._add_request(number, request)
        if request.is_for_node:
            self._backend.send(slot, encode_node_message(AskSession(number, user_id, digest_of(session_id))))
        else:
            self._ask_store(number, session_id)
        return True

    def process_answer(self, message: GiveSession) -> None:
        """Process the answer of another node."""
        self._finish(message.number, message.session)

    def _add_request(self, number: int, request: _Request) -> None:
        self._requests[number] = request = request._replace(expires_at=self._clock.monotonic() + ASK_TIMEOUT_S)
        if len(self._requests) == 1:
            self._timer.set(self._time_out, request.expires_at)

    def _ask_store(self, number: int, session_id: str) -> None:
        self._backend.take(
            StoredKey(SESSION, digest_of(session_id)),
            lambda value: self._finish(number, decode_session(value) if value is not None else None),
        )

    def _slot_of(self, session_id: str, user_id: str) -> int:
        """Return the slot of the node that contributes a session, or else of the one where it opened; -1 if unknown."""
        tag, user = tag_of(session_id).hex(), self._directory.users.user(user_id)
        for session in user.sessions if user else ():
            if session.slot >= 0 and session.session_id == tag:
                return session.slot
        home, dot, _ = session_id.partition(".")
        return slot_of(home) if dot and home != self._names.home else -1

    def _can_answer(self, slot: int) -> bool:
        """Return whether the node in a slot can answer. A node that is stopping has saved its sessions in the store."""
        ready = any(member.slot == slot and member.state is State.READY for member in self._members())
        return ready and not self._is_silent(slot)

    def _finish(self, number: int, saved: SavedSession | None) -> None:
        request = self._requests.pop(number, None)
        if request is None:
            return
        if saved is None or saved.user_id != request.user_id:
            # The client continues here with a new session. A stopped node no longer drops the old one.
            self._directory.session_replaced(request.user_id, request.session_id)
            request.on_done(None)
            return
        if request.session_id not in self._directory.users.sessions:  # otherwise another connection was faster
            self._adopt(request.session_id, saved)
        request.on_done(self._cursor(request.position, saved))

    def _adopt(self, session_id: str, saved: SavedSession) -> None:
        session = Session[Connection](
            saved.user_id,
            None,
            session_id,
            saved.device,
            saved.subscription,
            saved.active,
            saved.visibility,
            rooms=saved.rooms,
            snapshots=saved.snapshots,
            snapshot_end=FROM_THE_BEGINNING,
            forget_at=self._clock.monotonic() + self._resume_window,
        )
        self._directory.adopt_session(session)

    def _cursor(self, position: str, saved: SavedSession) -> Cursor:
        """Return the cursor from which a client continues.

        The client receives everything again if it lacks a part of a snapshot, or its position is older than the marks.
        """
        if self._names.is_before(position, saved.home, saved.snapshot_end):
            return FROM_THE_BEGINNING
        return self._names.cursor(position) or FROM_THE_BEGINNING

    def _time_out(self) -> None:
        now = self._clock.monotonic()
        while self._requests and (first := next(iter(self._requests.items())))[1].expires_at <= now:
            number, request = first
            if request.is_for_node:  # that node may be stopping, and may have saved the session
                del self._requests[number]  # `_add_request` adds it at the end, because it expires last
                self._add_request(number, request._replace(is_for_node=False))
                self._ask_store(number, request.session_id)
            else:
                self._finish(number, None)
        if self._requests:
            self._timer.set(self._time_out, next(iter(self._requests.values())).expires_at)

    # Giving.

    def process_request(self, slot: int, message: AskSession) -> None:
        """Give a session to the node that asks for it, and close the session's connection."""
        session = self._find(message.user_id, message.digest)
        if session is None:
            self._backend.send(slot, encode_node_message(GiveSession(message.number, None)))
            return
        self._backend.send(slot, encode_node_message(GiveSession(message.number, self._saved(session))))
        if self._has_saved:  # otherwise a third node could take the session from the store as well
            self._backend.take(StoredKey(SESSION, message.digest), lambda _: None)
        connection = session.connection
        now = self._clock.now()
        self._directory.give_away(session, now.monotonic + HOLD_S)
        if connection is not None:
            connection.close(Close.REPLACED, "another connection resumed this session")

    def save(self, session: Session[Any]) -> None:
        """Save a session in the store, because this node stops."""
        if session.session_id in self._directory.users.sessions and session.subscription is not None:
            key = StoredKey(SESSION, digest_of(session.session_id))
            self._has_saved = True
            self._backend.put(key, encode_node_message(self._saved(session)), max(1.0, self._resume_window))

    def _find(self, user_id: str, digest: str) -> Session[Connection] | None:
        user = self._directory.users.user(user_id)
        for session in user.sessions if user else ():
            if session.slot < 0 and session.session_id and digest_of(session.session_id) == digest:
                return session if session.session_id in self._directory.users.sessions else None
        return None

    def _saved(self, session: Session[Any]) -> SavedSession:
        assert session.subscription is not None, "only sessions of presenced.v1 have an id"
        return SavedSession(
            session.user_id,
            self._names.home,
            session.device,
            session.active,
            session.subscription,
            session.visibility,
            session.rooms,
            session.snapshots,
            max(session.snapshot_end, self._agreed_from()),
        )


def digest_of(session_id: str) -> str:
    """Return the name of a session in messages and in the store."""
    return blake2b(session_id.encode(), digest_size=16).hexdigest()
