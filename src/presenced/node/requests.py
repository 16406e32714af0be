"""What clients of presenced.v1 ask for: one message in, done or refused, one answer out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec

from presenced.config.settings import Settings
from presenced.errors import BadToken, BadUserId, Close, Fault
from presenced.node.broadcaster import Broadcaster
from presenced.presence.directory import Directory, Outcome
from presenced.presence.identity import parse_user_id
from presenced.presence.status import choice_of
from presenced.presence.subscriptions import MAX_ROOMS, MAX_WATCHED
from presenced.presence.subscriptions import Selection as Watched
from presenced.presence.visibility import Visibility
from presenced.protocols.base import Watcher
from presenced.protocols.v1 import codec as wire
from presenced.protocols.v1.digests import watch_of
from presenced.protocols.v1.feed import V1Feed
from presenced.protocols.v1.messages import (
    MAX_DATA,
    Ack,
    Activity,
    Auth,
    Error,
    Join,
    Leave,
    Ping,
    Pong,
    Request,
    RequestId,
    ServerMessageV1,
    SetMember,
    SetStatus,
    Unwatch,
    Watch,
)
from presenced.runtime.clock import Clock
from presenced.runtime.limits import Bucket
from presenced.runtime.metrics import Metrics
from presenced.runtime.text import refused_character

MAX_UNREAD = 100
"""Requests taken from a client that does not read, each with an answer and a snapshot at most; one more closes the
connection."""

MAX_REASON = 300
"""Characters of what an ERROR says, which may repeat what was sent."""

Renew = Callable[[Any, str, Callable[[BadToken | None], None]], None]


class _Asker:
    """What is kept of one connection."""

    __slots__ = ("bucket", "over", "unread")

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.over = 0
        """Requests refused in a row for coming too fast."""
        self.unread = 0
        """Requests taken since the client last had read everything."""


class BadRequest(Exception):
    """The request can't be carried out; nothing was changed."""

    def __init__(self, fault: Fault, message: str) -> None:
        self.fault = fault
        super().__init__(message)


class Requests:
    """Carries out what connections of presenced.v1 ask for.

    Bounds: requests by `request_rate` and `request_burst` (as many again are refused, then 4429); users watched by
    `MAX_WATCHED`; what is to be written to a client that does not read by `MAX_UNREAD`.

    Args:
        apply: Tell the others what an event came to.
        settle_rooms: Have the rooms of a user be what the user's sessions say.
        renew: Take a newer token for a connection; the last argument is told why not, or None.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        directory: Directory[Any],
        broadcaster: Broadcaster,
        feed: V1Feed,
        apply: Callable[[Outcome[Any]], None],
        settle_rooms: Callable[[str], None],
        renew: Renew,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._directory = directory
        self._broadcaster = broadcaster
        self._feed = feed
        self._rooms = feed.encoding.rooms
        self._apply = apply
        self._settle_rooms = settle_rooms
        self._renew = renew
        self._askers: dict[Watcher, _Asker] = {}

    def opened(self, connection: Watcher) -> None:
        """A connection of presenced.v1 opened."""
        self._askers[connection] = _Asker(Bucket(self._settings.request_burst, self._clock.monotonic()))

    def limit(self, connection: Watcher, visibility: Visibility) -> None:
        """From now on a connection that no feed has may see that, and be in the rooms it may enter."""
        session = connection.session
        session.visibility = visibility
        if session.watch is not None:
            visibility.restrict(session.watch.full)
            visibility.restrict(session.watch.counted)
            self._rooms.leave_forbidden(session, visibility)

    def look_anew(self, connection: Watcher, visibility: Visibility) -> None:
        """A connection that is in may see something else now; one of presenced.v1 is told everything again."""
        with self._broadcaster.changing(connection, connection.feed.part):
            self.limit(connection, visibility)
        self._settle_rooms(connection.session.user_id)
        if connection.feed is self._feed:
            self._broadcaster.begin_again(connection, self._feed.all(connection))

    def closed(self, connection: Watcher) -> None:
        """Apply the waiting requests of a connection's user if the connection, which is about to end, is their last
        one."""
        self._askers.pop(connection, None)
        for outcome in self._directory.release(connection.session.user_id, connection, self._clock.now()):
            self._apply(outcome)

    def resumed(self, connection: Watcher) -> None:
        """The client has read everything."""
        if (asker := self._askers.get(connection)) is not None:
            asker.unread = 0

    def received(self, connection: Watcher, message: str | bytes) -> None:
        """Carry out one request, or say why not."""
        asker = self._askers[connection]
        if not self._may_ask(connection, asker, message):
            return
        request_id = None
        try:
            if not isinstance(message, str):
                raise BadRequest(Fault.BAD_JSON, "send text frames with JSON, not binary ones")
            try:
                request = wire.parse_request(message)
            except msgspec.ValidationError as error:
                raise BadRequest(Fault.BAD_REQUEST, f"{error}; the requests are in spec/protocol-v1.md") from None
            except msgspec.DecodeError as error:
                raise BadRequest(Fault.BAD_JSON, f"not JSON: {error}") from None
            request_id = request.id
            self._carry_out(connection, request)
        except BadRequest as error:
            if request_id is None and isinstance(message, str):
                request_id = wire.request_id(message)
            self._refuse(connection, request_id, error.fault, str(error))

    def _may_ask(self, connection: Watcher, asker: _Asker, message: str | bytes) -> bool:
        """Whether it may ask for something now; if not, it is told so."""
        if connection.paused:
            asker.unread += 1
            if asker.unread > MAX_UNREAD:
                connection.fall_behind()
                return False
        if asker.bucket.take(self._settings.request_rate, self._settings.request_burst, self._clock.monotonic()):
            asker.over = 0
            return True
        asker.over += 1
        if asker.over > self._settings.request_burst:
            connection.close(Close.TOO_MANY_REQUESTS, "too many requests; come back and ask more slowly")
        else:
            request_id = wire.request_id(message) if isinstance(message, str) else None
            self._refuse(connection, request_id, Fault.RATE_LIMITED, f"at most {self._rate()}; this was ignored")
        return False

    def _carry_out(self, connection: Watcher, request: Request) -> None:
        match request:
            case Ping():
                self._answer(connection, Pong(self._clock.now().epoch_ms, request.id))
            case Activity():
                self._ack(connection, request.id)
                user_id, active = connection.session.user_id, request.state == "active"
                self._apply(self._directory.set_active(user_id, connection, active, self._clock.now()))
            case SetStatus():
                check_shown(request.text, request.emoji)
                choice = choice_of(request.status, request.text, request.emoji, data_of(request.data))
                self._ack(connection, request.id)
                user_id, lasts = connection.session.user_id, request.expires_in
                self._apply(self._directory.choose(user_id, choice, self._clock.now(), lasts))
            case Watch():
                self._watch(connection, request)
            case Unwatch():
                self._unwatch(connection, request)
            case Join() | SetMember():
                self._join(connection, request)
            case Leave():
                self._leave(connection, request)
            case Auth():
                self._renew(connection, request.token, partial(self._renewed, connection, request.id))

    def _watch(self, connection: Watcher, request: Watch) -> None:
        watch, users, rooms = watch_of(connection), _user_ids(request.users), _room_names(request.rooms)
        _check_may_enter(connection, rooms)
        _check_room_for(
            len(watch.full.users | watch.counted.users | users), MAX_WATCHED, "users", Fault.TOO_MANY_WATCHED
        )
        _check_room_for(len(watch.full.rooms | watch.counted.rooms | rooms), MAX_ROOMS, "rooms", Fault.TOO_MANY_ROOMS)
        self._ack(connection, request.id)
        if request.mode == "count":
            with self._broadcaster.changing(connection, self._feed.part):
                watch.counted.add(request.everyone, users, rooms)
            named = Watched(request.everyone, watch.counted.users if users else ())
            named.rooms = rooms
            self._tell_counts(connection, named)
            return
        everyone = request.everyone and not watch.full.everyone
        new_users = users - watch.full.users
        with self._broadcaster.changing(connection, self._feed.part):
            watch.full.add(request.everyone, users, rooms)
        if everyone or new_users or rooms:  # a room is told again: one that was told of by number has names to give
            self._broadcaster.insert(connection, self._feed.news(connection, everyone, tuple(new_users), rooms))

    def _unwatch(self, connection: Watcher, request: Unwatch) -> None:
        users, rooms = _user_ids(request.users), _room_names(request.rooms)
        watch, joined = watch_of(connection), connection.session.rooms or {}
        counts_fewer = not watch.counted.users.isdisjoint(users)
        with self._broadcaster.changing(connection, self._feed.part):
            watch.full.discard(request.everyone, users, rooms - joined.keys())
            watch.counted.discard(request.everyone, users, rooms)
        self._ack(connection, request.id)
        if counts_fewer and watch.counted.users:
            self._tell_counts(connection, Watched(users=watch.counted.users))

    def _tell_counts(self, connection: Watcher, named: Watched) -> None:
        """Send the counts that the request names. A client that is behind gets all its counts when it catches up."""
        if not self._feed.keeps_up(connection):
            self._broadcaster.remind(connection)
        elif counts := self._feed.counts(connection, named):
            connection.send(counts)

    def _join(self, connection: Watcher, request: Join | SetMember) -> None:
        [name], session = _room_names([request.room]), connection.session
        watch, joined = watch_of(connection), session.rooms or {}
        if isinstance(request, SetMember) and name not in joined:
            raise BadRequest(Fault.NOT_A_MEMBER, f"this session is not in the room {name}; JOIN it first")
        _check_may_enter(connection, {name})
        data = data_of(request.data)
        rooms = watch.full.rooms | watch.counted.rooms | {name}
        _check_room_for(len(rooms), MAX_ROOMS, "rooms", Fault.TOO_MANY_ROOMS)
        if not self._rooms.has_place(name, session.user_id, session.visibility.blocked):
            raise BadRequest(Fault.ROOM_FULL, f"the room {name} has as many members as a room may have")
        self._ack(connection, request.id)
        self._rooms.join(session, name, data)
        self._settle_rooms(session.user_id)
        if name not in watch.full.rooms:
            with self._broadcaster.changing(
                connection, self._feed.part
            ):  # after its own joining, which is in the snapshot
                watch.full.add(False, (), (name,))
            self._broadcaster.insert(connection, self._feed.news(connection, False, (), (name,)))

    def _leave(self, connection: Watcher, request: Leave) -> None:
        [name], session = _room_names([request.room]), connection.session
        if name not in (session.rooms or {}):
            raise BadRequest(Fault.NOT_A_MEMBER, f"this session is not in the room {name}")
        with self._broadcaster.changing(connection, self._feed.part):
            watch_of(connection).full.discard(False, (), (name,))
        self._rooms.leave(session, name)
        self._ack(connection, request.id)
        self._settle_rooms(session.user_id)

    def _renewed(self, connection: Watcher, request_id: RequestId | None, error: BadToken | None) -> None:
        if connection not in self._askers:
            return
        if error is None:
            self._ack(connection, request_id)
        else:
            self._refuse(connection, request_id, Fault.NOT_AUTHENTICATED, str(error))

    # Answers.

    def _ack(self, connection: Watcher, request_id: RequestId | None) -> None:
        if request_id is not None:
            self._answer(connection, Ack(request_id))

    def _refuse(self, connection: Watcher, request_id: RequestId | None, fault: Fault, message: str) -> None:
        self._metrics.requests_refused.labels(fault.name).inc()
        reason = message if len(message) <= MAX_REASON else f"{message[: MAX_REASON - 1]}…"
        self._answer(connection, Error(fault.code, fault.name, reason, request_id))

    def _answer(self, connection: Watcher, message: ServerMessageV1) -> None:
        connection.send(wire.frame(message))

    def _rate(self) -> str:
        return f"{self._settings.request_rate:g} requests a second, {self._settings.request_burst} at once"


def _user_ids(given: list[int | str]) -> set[str]:
    try:
        return {parse_user_id(user_id) for user_id in given}
    except BadUserId as error:
        raise BadRequest(Fault.BAD_REQUEST, str(error)) from None


def _room_names(given: list[str]) -> set[str]:
    for name in given:
        if character := refused_character(name):
            raise BadRequest(Fault.BAD_REQUEST, f"a room's name must not contain {character}")
    return set(given)


def _check_may_enter(connection: Watcher, rooms: Iterable[str]) -> None:
    """The answer is the same whether there is such a room or not."""
    for name in rooms:
        if not connection.session.visibility.may_enter(name):
            raise BadRequest(Fault.NOT_ALLOWED, f"the room {name} is not among those your token names")


def _check_room_for(count: int, most: int, what: str, fault: Fault) -> None:
    if count > most:
        raise BadRequest(fault, f"that would be {count} {what}, and at most {most} are allowed; UNWATCH or LEAVE some")


def data_of(given: msgspec.Raw) -> bytes:
    """Return the given JSON without white space between its tokens; nothing for null.

    Raises:
        BadRequest: The JSON is too large, or some JSON parsers cannot read it.
    """
    data = wire.compact(bytes(given))
    if len(data) > MAX_DATA:
        raise BadRequest(Fault.BAD_REQUEST, f"data has {len(data)} bytes; at most {MAX_DATA} are allowed")
    if not wire.can_be_read(data):
        raise BadRequest(
            Fault.BAD_REQUEST,
            f"data has half a surrogate pair, a number out of range, or more than {wire.MAX_DEPTH} levels",
        )
    return b"" if data == b"null" else data


def check_shown(text: str, emoji: str) -> None:
    """What the types can't say of what goes with a status.

    Raises:
        BadRequest: One of them can't be shown.
    """
    for name, given in (("text", text), ("emoji", emoji)):
        if character := refused_character(given):
            raise BadRequest(Fault.BAD_REQUEST, f"{name} must not contain {character}")
