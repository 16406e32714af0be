"""One client's session, without input and output: messages and the time go in, requests and changes come out.

A session outlives its connections. A transport drives it:

    connecting      open `url.connection_url` with `parameters`
    established     feed each message to `received`, and send what `outgoing` returns after each call
    lost            call `lost`; the known state stays, and is stale
    waiting         call `tick` at `next_at`

CONNECTION_ESTABLISHED says how a connection continues:

    resumed   session id   outcome        the client
    -------   ----------   -----------    ---------------------------------------------------------------
    true      the same     resumed        receives what it missed, and sends unanswered requests again
    false     the same     resynced       receives everything again, and sends unanswered requests again
    false     another      new-session    requests everything that it wants

Times are monotonic seconds. Nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from presenced_client.absence import Absence
from presenced_client.desired_state import DesiredState, Difference, Limits
from presenced_client.errors import PresenceError
from presenced_client.presence import Change, UserPresence
from presenced_client.rate_limit import RateLimit
from presenced_client.refusals import Refusals
from presenced_client.requested_state import EVERYONE, Request, RequestedState, is_count, rooms_of
from presenced_client.requests import Pending, Requests
from presenced_client.room import Room
from presenced_client.rooms import Rooms
from presenced_client.roster import Roster
from presenced_client.self import Choice, Self
from presenced_client.status_requests import StatusAnswer, StatusRequests
from presenced_client.url import choice_parameters, status_parameters

Message = Mapping[str, Any]

Outcome = Literal["", "resumed", "resynced", "new-session"]


class Session:
    """State of one client: what it wants, what it has requested, and what it knows.

    Args:
        forget_after: Seconds without a connection after which every user is unknown; None for the server's
            `resumeWindow`.
    """

    def __init__(self, forget_after: float | None = None) -> None:
        self.desired = DesiredState()
        self.requested = RequestedState()
        self.limits = Limits()
        self.own: Self | None = None
        self.session_id = self.position = self.epoch = ""
        self.outcome: Outcome = ""
        """How the last connection continued; empty before the first one."""
        self.is_established = False
        self.retry_after: float | None = None
        """Seconds that the server asked to wait before the next connection. `lost` does not reset it."""
        self.token_expires = False
        """Whether the server has asked for a newer token, and none was sent since."""
        self.counts: dict[str, int] = {}
        """Numbers of online users, by room; `EVERYONE` for all."""
        self.server_offset_ms = 0.0
        """Server's clock minus `1000 * now`, in milliseconds."""
        self.roster = Roster(self._covers, self._names, self._is_member)
        self._statuses = StatusRequests()
        self._absence = Absence(forget_after)
        self._rooms = Rooms()
        self._requests = Requests()
        self._rate = RateLimit()
        self._refusals = Refusals()
        self._idle_in_url = False
        self._errors: list[PresenceError] = []
        self._tokens: list[str] = []
        self._has_position = False
        """Whether PRESENCE_CHANGES has arrived on this connection, the last message of what was missed."""
        self._is_caught_up = False
        self._has_settled = False  # the time for returning is over, and users who have not returned are still shown
        self._is_dirty = False

    # Known state.

    def user(self, key: str) -> UserPresence:
        """Return what is known of a user."""
        return self.roster.user(key)

    def room(self, name: str) -> Room:
        """Return what is known of a room."""
        return self._rooms.get(name)

    def refusal(self, kind: str, key: str) -> PresenceError | None:
        """Return why the server has refused a `user`, a `room`, a `count` or the `data` of a member; None if not."""
        return self._refusals.refused.get((kind, key))

    def is_joined(self, name: str) -> bool:
        """Return whether the server has accepted this session as a member."""
        room = self.requested.rooms.get(name)
        return self.is_established and room is not None and room.joined and not self._requests.has_membership(name)

    def has_member_data(self, name: str, data: object) -> bool:
        """Return whether the server has accepted this data of the member."""
        return self.is_joined(name) and self.requested.rooms[name].data == data

    @property
    def watches_everyone(self) -> bool:
        """Whether everyone is known."""
        return self.roster.knows_everyone

    @property
    def is_stale(self) -> bool:
        """Whether what is shown may be old: not caught up, or the server has just started or lost its store."""
        return not self.is_caught_up or self.roster.settles_until is not None or self.roster.is_outdated

    @property
    def is_caught_up(self) -> bool:
        """Whether everything requested has arrived since the connection opened."""
        return self.is_established and self._is_caught_up

    @property
    def unanswered(self) -> list[Request]:
        """Requests that wait for an answer, including choices of a status."""
        return [pending.request for pending in self._requests.all()] + self._statuses.unanswered()

    def excess_users(self) -> set[str]:
        """Return the users with a reader who are above the server's limit, and so stay unknown."""
        users, limit = self.desired.users, self.limits.max_users
        return set(users.active).difference(users.first(limit)) if len(users.active) > limit else set()

    # Desired state. Other wishes change `desired`, followed by `changed`.

    def changed(self) -> None:
        """Send requests for changes of `desired` with the next `outgoing`."""
        self._is_dirty = True
        self._drop_withdrawn()

    def ask_again(self, kind: str, key: str) -> None:
        """Request something again that the server has refused."""
        self._refusals.refused.pop((kind, key), None)
        self._is_dirty = True

    def set_status(self, choice: Choice) -> StatusAnswer:
        """Choose a status. Of several waiting choices only the last is sent, and its answer is that of all."""
        self._is_dirty = True
        return self._statuses.choose(choice)

    def authenticate(self, token: str) -> None:
        """Send a newer token on this connection."""
        self.token_expires = False
        self._tokens.append(token)
        self._is_dirty = True

    def take_errors(self) -> list[PresenceError]:
        """Return what the server has refused since the last call."""
        errors, self._errors = self._errors, []
        return errors

    # The connection.

    def parameters(self, now: float) -> dict[str, str]:
        """Return the parameters of the next connection's URL that say how it continues."""
        self._absence.connecting()
        self._idle_in_url = self.desired.is_idle
        found = {"watch": "none"}
        if self.session_id:
            found |= {"session": self.session_id, "position": self.position}
            found["activity"] = "idle" if self.desired.is_idle else "active"
        elif self.desired.is_idle:
            found["activity"] = "idle"
        choice = self._statuses.choice_to_show
        shown = status_parameters(choice, now, self.server_offset_ms) if choice else choice_parameters(self.own)
        return {name: value for name, value in (found | shown).items() if value}

    def lost(self, now: float) -> None:
        """The connection ended, or an attempt failed. Everything known stays, and is stale."""
        self._absence.lost(now)
        self.is_established = self._has_position = self._is_caught_up = False
        self.token_expires = False
        self._tokens.clear()
        self._statuses.lost()
        self.roster.interrupted()

    def forget_session(self) -> None:
        """Begin a new session with the next connection. Everything known stays until it is known again."""
        self.session_id = self.position = ""

    def received(self, message: Message, now: float) -> list[Change]:
        """Apply a message, and return the users it changed. Unknown messages are ignored."""
        match message["type"]:
            case "CONNECTION_ESTABLISHED":
                self._established(message, now)
            case "ACK":
                self._answered(message["id"], None, now)
            case "ERROR":
                error = PresenceError.from_request(message["code"], message["name"], message["message"])
                self._answered(message.get("id"), error, now)
                if "room" in message:
                    self._forbidden(message["room"], error)
            case "AUTH_EXPIRING":
                self.token_expires = True
            case "GOING_AWAY":
                self.retry_after = message["retryAfter"]
            case _:
                self._learn(message)
        self._catch_up()
        return self.roster.take_changes()

    def outgoing(self, now: float) -> list[Request]:
        """Return the requests to send now, within the server's rate limit."""
        found: list[Request] = []
        if not (self.is_established and self._is_dirty):
            return found
        requests = self._next_requests(now)
        while self._rate.is_free(now):
            request = next(requests, None)
            if request is None:
                self._is_dirty = False
                self._catch_up()
                break
            self._rate.sent()
            found.append(request)
        return found

    def tick(self, now: float) -> list[Change]:
        """Do what is due at `now`, and return the users it changed."""
        if self.desired.expire(now):
            self.changed()
        if self.roster.settles_until is not None and now >= self.roster.settles_until:
            self.roster.settles_until, self._has_settled = None, True
            self._catch_up()
        if (forgets_at := self._forgets_at()) is not None and now >= forgets_at:
            self._forget()
        return self.roster.take_changes()

    def next_at(self, now: float) -> float | None:
        """Return when `tick` and `outgoing` have something to do; None if nothing is due by itself."""
        times = [self.desired.next_expiry(), self.roster.settles_until, self._forgets_at()]
        if self.is_established and self._is_dirty:
            times.append(self._rate.free_at(now))
        return min((time for time in times if time is not None), default=None)

    # Messages.

    def _established(self, message: Message, now: float) -> None:
        is_same, resumed = message["sessionId"] == self.session_id, message["resumed"]
        self.outcome = "resumed" if resumed else "resynced" if is_same else "new-session"
        self._statuses.connected(message["epoch"])
        self.session_id, self.epoch = message["sessionId"], message["epoch"]
        self.server_offset_ms = message["serverTime"] - now * 1000
        self._absence.ended(message["resumeWindow"])
        limits = message["limits"]
        self.limits = Limits(limits["maxMessageSize"], limits["maxWatchedUsers"], limits["maxRooms"])
        self._rate.reset(limits["requestsPerSecond"], limits["requestBurst"], now)
        self.is_established, self._is_dirty, self.retry_after = True, True, None
        self._refusals.connected()
        self._settle(now + message["settling"] if message["settling"] else None, resumed)
        self.roster.set_outdated("staleSince" in message)
        if is_same:
            self._requests.resend()
        else:
            self.position = ""
            self._requests.drop()
            self.requested, self._refusals = RequestedState(), Refusals()
        self.requested.is_idle = self._idle_in_url
        self._drop_withdrawn()

    def _learn(self, message: Message) -> None:
        """Apply a message about users and rooms."""
        match message["type"]:
            case "SELF":
                self.own = Self.from_message(message)
                self._is_dirty |= self._statuses.own_arrived(self.own)
            case "PRESENCE_SNAPSHOT":
                self.roster.snapshot(message)
            case "PRESENCE_CHANGES":
                self.roster.changes(message["users"])
                if not self._has_position and self.outcome == "resynced":
                    self._request_missing()
                self.position, self._has_position = message["position"], True
            case "PRESENCE_COUNT":
                key = message.get("room", EVERYONE)
                if message["watch"] != "users" and key in self.requested.counts:
                    self.counts[key] = message["online"]
            case "ROOM_SNAPSHOT" | "ROOM_CHANGES":
                self._room(message)
            case "CERTAINTY":
                self.roster.set_outdated(message["certainty"] == "stale")

    def _settle(self, settles_until: float | None, resumed: bool) -> None:
        if not resumed:
            if not (self.roster.users or self._rooms.knows_any):
                settles_until = None
            self._has_settled = False
            self.roster.resync(settles_until)
            self.counts.clear()
            self._rooms.resync(settles_until is not None)
        elif self.roster.settles_until is not None:
            self.roster.settles_until, self._has_settled = settles_until, settles_until is None

    def _settled(self) -> None:
        """The server knows who has returned: earlier users and members that it has not sent are gone."""
        self._has_settled = False
        self.roster.settled()
        self.roster.forget(self._rooms.settled())

    def _room(self, message: Message) -> None:
        if message["room"] not in self.requested.rooms:
            return  # sent before the server processed a LEAVE
        left, must_request = self._rooms.apply(message)
        if must_request:
            self._refusals.refresh.add(message["room"])
            self._is_dirty = True
        self.roster.members(member["presence"] for member in message.get("members", ()))
        self.roster.forget(left)

    def _answered(self, request_id: object, error: PresenceError | None, now: float) -> None:
        if error is not None and error.code == "RATE_LIMITED":
            self._rate.refused(now)
            self._is_dirty = True
        if self._statuses.answered(request_id, error):
            return
        pending = self._requests.answered(request_id)
        if error is None:
            return
        if pending is None or pending.request["type"] == "AUTH":
            self._errors.append(error)
        else:
            if self._refusals.add(pending.request, error):
                self._errors.append(error)
            if (pending.request["type"], error.code) != ("LEAVE", "NOT_A_MEMBER"):
                self._revert(pending)
            self._drop_withdrawn()

    def _forbidden(self, name: str, error: PresenceError) -> None:
        """A newer token does not allow a room: the server has ended everything about it."""
        self._refusals.refused |= {("room", name): error, ("count", name): error}
        self.requested.forget_room(name)
        self.counts.pop(name, None)
        self._drop_withdrawn()

    def _request_missing(self) -> None:
        """Request rooms that the server has ended, if the message about that was lost with the connection before."""
        for name in self.requested.rooms.keys() - self._requests.rooms():
            if not self._rooms.are_current([name]):
                del self.requested.rooms[name]
                self._is_dirty = True

    def _revert(self, pending: Pending) -> None:
        """Take a refused request back. A client that is no longer a member joins again."""
        later = [other.undo for other in self._requests.all()]
        if (pending.request["type"]) == "SET_MEMBER" and ("data", name := pending.request["room"]) not in (
            self._refusals.refused
        ):
            pending.undo["room", name] = None
        self.requested.revert(pending.undo, later)
        self._is_dirty = True

    # Requests.

    def _next_requests(self, now: float) -> Iterator[Request]:
        yield from self._requests.unsent()
        while self._tokens:
            yield self._requests.add({"type": "AUTH", "token": self._tokens.pop(0)}, {})
        if self._statuses.is_waiting:
            request_id = self._requests.new_id()
            if (request := self._statuses.next_request(request_id, now)) is not None:
                yield {**request, "id": request_id}
        for request in Difference(self.desired, self.requested, self.limits, self._refusals).requests():
            watched_everyone = self.requested.everyone
            undo = self.requested.apply(request)
            self._apply_to_view(request, watched_everyone)
            yield self._requests.add(request, undo)

    def _apply_to_view(self, request: Request, watched_everyone: bool) -> None:
        """Forget what the server will no longer send, from the moment in which the request is sent."""
        names, users = rooms_of(request), request.get("users", ())
        if request["type"] in ("WATCH", "JOIN") and not is_count(request):
            self._refusals.refresh.difference_update(names)
            self._rooms.add(names)
        if request["type"] in ("UNWATCH", "LEAVE"):
            for name in self.counts.keys() - self.requested.counts:
                del self.counts[name]
            for name in names:
                self._drop_room(name)
            self._refusals.renew.difference_update(users, [EVERYONE] if request.get("everyone") else [])
            self.roster.forget(users)
            if watched_everyone and not self.requested.everyone:
                self.roster.forget_everyone(self.requested.users)

    def _drop_room(self, name: str) -> None:
        if name not in self.requested.rooms:
            self.roster.forget(self._rooms.drop(name))

    def _drop_withdrawn(self) -> None:
        """Forget refusals and rooms that are no longer wanted, and rooms that were refused."""
        for kind, key in list(self._refusals.refused):
            wanted = {"user": self.desired.users, "count": self.desired.counts}.get(kind, self.desired.rooms)
            if key not in wanted:
                del self._refusals.refused[kind, key]
        for name in (self._rooms.names() - self.desired.rooms.keys()) | self._refusals.keys("room"):
            self._drop_room(name)

    # Parts.

    def _covers(self, key: str) -> bool:
        return self.requested.everyone or key in self.requested.users or self._is_member(key)

    def _names(self, key: str) -> bool:
        return key in self.requested.users

    def _is_member(self, key: str) -> bool:
        return self._rooms.has(key, self.requested.rooms)

    def _has_everything(self) -> bool:
        """Return whether everything requested has arrived since the connection opened."""
        requested = self.requested
        return (
            self._has_position
            and not self._is_dirty
            and not len(self._requests)
            and (not requested.everyone or self.roster.knows_everyone)
            and self._rooms.are_current(requested.rooms)
            and all(map(self.roster.is_confirmed, requested.users))
        )

    def _catch_up(self) -> None:
        if self._has_settled and self._has_position:  # before that, what was missed may still say who has returned
            self._settled()
        if not self._is_caught_up and self._has_everything():
            self._is_caught_up = True
            self.roster.forget(self.roster.users)  # known from before, and not sent again, such as former members
        is_settling = self.roster.settles_until is not None and self.is_caught_up
        if is_settling and self.roster.are_confirmed and self._rooms.are_confirmed:
            self._settled()  # all who were there are back

    def _forgets_at(self) -> float | None:
        knows_any = self.roster.users or self.roster.knows_everyone or self._rooms.knows_any
        return self._absence.forgets_at() if knows_any else None

    def _forget(self) -> None:
        """Forget everything known, because it is too old. The server then sends everything again."""
        self.position = ""
        self.roster.forget_all()
        self.counts.clear()
        self._rooms.forget()
