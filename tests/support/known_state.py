"""Knowledge that the clients of a conversation must have, as the lines `expect` of `spec/vectors/v1-*.jsonl` state it.

The reference is `V1Replica`. This module adds which users and rooms a client has subscribed to, because a client may
forget everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any
from urllib.parse import parse_qs

from tests.support.v1_replica import V1Replica

Line = dict[str, Any]

HEARD = ("hear", "be closed")
"""Steps that the server causes."""

VERSION = re.compile(r"\$version-.*-(\d+)")


@dataclass
class Subscription:
    """Subscriptions of the accepted requests of a session."""

    everyone: bool = True
    users: set[str] = field(default_factory=set)
    rooms: set[str] = field(default_factory=set)
    joined: set[str] = field(default_factory=set)
    counts: set[tuple[str, str]] = field(default_factory=set)
    counted_users: set[str] = field(default_factory=set)

    def accepted(self, request: Line) -> None:
        """Change the subscription as an accepted request says."""
        users, rooms = set(map(str, request.get("users", ()))), set(request.get("rooms", ()))
        match request["type"]:
            case "WATCH" if request.get("mode") == "count":
                self.counts |= {("everyone", "")} if request.get("everyone") else set()
                self.counts |= {("room", room) for room in rooms}
                self._count_users(self.counted_users | users)
            case "WATCH":
                self.everyone |= request.get("everyone", False)
                self.users |= users
                self.rooms |= rooms
            case "UNWATCH":
                self.everyone &= not request.get("everyone", False)
                self.users -= users
                self.rooms -= rooms - self.joined
                self.counts -= {("everyone", "")} if request.get("everyone") else set()
                self.counts -= {("room", room) for room in rooms}
                self._count_users(self.counted_users - users)
            case "JOIN":
                self.rooms.add(request["room"])
                self.joined.add(request["room"])
            case "LEAVE":
                self.rooms.discard(request["room"])
                self.joined.discard(request["room"])

    def forbidden(self, room: str) -> None:
        """End everything about a room that a newer token does not allow."""
        self.rooms.discard(room)
        self.joined.discard(room)
        self.counts.discard(("room", room))

    def _count_users(self, users: set[str]) -> None:
        self.counted_users = users
        self.counts -= {("users", "")}
        if users:
            self.counts.add(("users", ""))


class KnownState:
    """Known state of one client of a conversation."""

    def __init__(self) -> None:
        self.replica = V1Replica()
        self._subscription = Subscription()
        self._mentioned: set[str] = set()
        """Users that any message mentioned."""
        self._knows_everyone = False
        """Whether a snapshot of everyone has arrived, so users without a record are offline."""
        self._kept: set[str] = set()
        """Users without a record that a client may still show as they were."""
        self._query_everyone = True

    def connected(self, query: str) -> None:
        """Record what the URL says about a new session."""
        self._query_everyone = parse_qs(query).get("watch") != ["none"]

    def sent(self, request: Line) -> None:
        """Record a request that the server accepts."""
        self._subscription.accepted(request)
        self._knows_everyone &= self._subscription.everyone

    def heard(self, message: Line) -> None:
        """Apply a message."""
        message = _with_numbers(message)
        if message["type"] == "CONNECTION_ESTABLISHED":
            if message["sessionId"] != self.replica.session_id:
                self._subscription = Subscription(self._query_everyone)
            self._knows_everyone &= message["resumed"]
            # While the server is settling, the client may show users that it knew as online for some more time.
            self._kept = self._online() if message["settling"] and not message["resumed"] else set()
        if message["type"] == "ERROR" and "room" in message:
            self._subscription.forbidden(message["room"])
        self.replica.take(message)
        if message["type"] == "PRESENCE_SNAPSHOT" and message["watch"] == "everyone":
            self._knows_everyone = message["page"] == message["pages"]
        self._mentioned |= self.replica.records.keys()

    def expected(self) -> Line:
        """Return the contents of a line `expect`."""
        replica = self.replica
        parts = {
            "users": dict(self._users()),
            "rooms": {name: self._room(name) for name in sorted(self._subscription.rooms) if name in replica.modes},
            "counts": self._counts(),
            "self": {key: value for key, value in replica.own.items() if key != "type"},
            "stale": replica.stale,
        }
        return {name: part for name, part in parts.items() if part or name in ("users", "rooms")}

    def _users(self) -> Iterator[tuple[str, Line]]:
        subscription, replica = self._subscription, self.replica
        members = {user for room in subscription.rooms for user in replica.rooms.get(room, ())}
        named = subscription.users | members
        for user in sorted(named | (self._mentioned if self._knows_everyone else set())):
            record = replica.records.get(user)
            if record and (user in named or record["status"] != "offline"):
                yield user, _with_names(record)
            elif self._knows_everyone and user not in self._kept:
                yield user, {"status": "offline"}

    def _room(self, name: str) -> Line:
        room: Line = {"mode": self.replica.modes[name], "count": self.replica.sizes[name]}
        if name in self.replica.rooms:
            room["members"] = dict(sorted(self.replica.rooms[name].items()))
        return room

    def _counts(self) -> Line:
        known = {key: online for key, online in self.replica.counts.items() if key in self._subscription.counts}
        counts: Line = {watch: known[watch, ""] for watch in ("everyone", "users") if (watch, "") in known}
        if rooms := {room: online for (watch, room), online in sorted(known.items()) if watch == "room"}:
            counts["rooms"] = rooms
        return counts

    def _online(self) -> set[str]:
        return {user for user, record in self.replica.records.items() if record["status"] != "offline"}


def with_expectations(lines: list[Line]) -> list[Line]:
    """Return a conversation with its lines `expect`, and with a mark at each position that is not the client's last.

    A line follows each group of messages of one moment that changed what its client must know.
    """
    head, *steps = [line for line in lines if line["do" if "do" in line else "conversation"] != "expect"]
    states: dict[str, KnownState] = {}
    last: dict[str, Line] = {}
    found = [head]
    for number, line in enumerate(steps):
        if line["do"] == "connect" and "subprotocol" in line:
            line = _connected(line, states)
        elif line["do"] == "send" and line["client"] in states and not _is_refused(line, steps[number + 1 :]):
            states[line["client"]].sent(line.get("message", {"type": ""}))
        elif line["do"] == "hear" and line["client"] in states:
            states[line["client"]].heard(line["message"])
        found.append(line)
        if line["do"] in HEARD and not _continues(line, steps[number + 1 :]):
            found += _expectations(line["at"], states, last)
    return found


def _expectations(at: float, states: dict[str, KnownState], last: dict[str, Line]) -> Iterator[Line]:
    for client, state in states.items():
        expected = state.expected()
        if state.replica.session_id and expected != last.get(client):
            last[client] = expected
            yield {"at": at, "client": client, "do": "expect", **expected}


def _connected(line: Line, states: dict[str, KnownState]) -> Line:
    """Record a connection. Return its line, with a mark if its position is not the last that the client received."""
    named = {key: values[0] for key, values in parse_qs(line["query"]).items()}
    client = line["client"]
    if client not in states:
        # A client that opens with the session of another, as a duplicated tab does, knows what that one knew.
        others = (state for state in states.values() if state.replica.session_id == named.get("session"))
        states[client] = deepcopy(next(others, KnownState()))
    state = states[client]
    state.connected(line["query"])
    line = {key: value for key, value in line.items() if key != "syntheticPosition"}
    if "position" in named and named["position"] != state.replica.position:
        line["syntheticPosition"] = True
    return line


def _is_refused(line: Line, later: list[Line]) -> bool:
    """Return whether the server answers this request with an ERROR."""
    answers = takewhile(lambda step: step["do"] in HEARD, later)
    heard = [step["message"] for step in answers if step["do"] == "hear" and step["client"] == line["client"]]
    asked = line.get("message", {}).get("id")
    return any(message["type"] == "ERROR" and message.get("id") == asked for message in heard)


def _continues(line: Line, later: list[Line]) -> bool:
    """Return whether another message of the same moment follows."""
    return bool(later) and later[0]["do"] in HEARD and later[0]["at"] == line["at"]


def _with_numbers(part: Any) -> Any:
    """Return the message with numbers in place of names of versions, so that versions can be compared."""
    if isinstance(part, dict):
        return {key: _with_numbers(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_with_numbers(value) for value in part]
    match = VERSION.fullmatch(part) if isinstance(part, str) else None
    return int(match[1]) if match else part


def _with_names(record: Line) -> Line:
    named = {**record, "version": f"$version-{record['userId']}-{record['version']}"}
    return {key: value for key, value in named.items() if key != "userId"}
