"""The state of a client of presenced.v1 that applies messages exactly as the protocol says."""

from __future__ import annotations

from typing import Any

OFFLINE: dict[str, Any] = {"status": "offline", "version": -1}
"""State of a user that no message has mentioned."""


class V1Replica:
    """State of a client. Messages are applied in their order."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        """Last record of each user."""
        self.rooms: dict[str, dict[str, Any]] = {}
        """Data of the members, by room and user. A room is missing while its members are unknown."""
        self.modes: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.own: dict[str, Any] = {}
        self.counts: dict[tuple[str, str], int] = {}
        self.session_id = ""
        self.position = ""
        self.resumed = False
        self.stale = False
        """Whether the server has lost the store that it shares with other servers."""

    def seen(self, user_id: str) -> dict[str, Any]:
        """Return the last record of a user."""
        return self.records.get(user_id, OFFLINE)

    def resume_from(self, other: V1Replica) -> None:
        """Continue with the state of an earlier connection of the session."""
        self.records = dict(other.records)
        self.rooms = {room: dict(members) for room, members in other.rooms.items()}
        self.modes, self.sizes, self.counts = dict(other.modes), dict(other.sizes), dict(other.counts)

    def take(self, message: dict[str, Any]) -> None:
        """Apply one message."""
        self.position = message.get("position", self.position)
        match message["type"]:
            case "CONNECTION_ESTABLISHED":
                self.session_id, self.resumed = message["sessionId"], message["resumed"]
                if not self.resumed:
                    self.records, self.rooms = {}, {}
                self._set_stale("staleSince" in message)
            case "CERTAINTY":
                self._set_stale(message["certainty"] == "stale")
            case "SELF":
                self.own = message
            case "PRESENCE_COUNT":
                self.counts[message["watch"], message.get("room", "")] = message["online"]
            case "ROOM_SNAPSHOT" | "ROOM_CHANGES":
                self._enter(message)
            case "PRESENCE_SNAPSHOT" | "PRESENCE_CHANGES":
                if message.get("watch") == "everyone" and message["page"] == 1:
                    self.records = {}
                users = [record["userId"] for record in message["users"]]
                assert len(users) == len(set(users)), f"each user once: {message}"
                self._see(message["users"], message["type"] == "PRESENCE_SNAPSHOT")

    def _set_stale(self, stale: bool) -> None:
        self.stale = stale
        if not stale:
            for user_id, record in self.records.items():
                self.records[user_id] = {key: value for key, value in record.items() if key != "certainty"}

    def _see(self, records: list[dict[str, Any]], is_snapshot: bool = False) -> None:
        for record in records:
            user_id = str(record["userId"])
            known = self.seen(user_id)["version"]
            # After a newer token, a user who is now hidden may have the known version. Rooms show hidden users, too.
            is_hidden = is_snapshot and not any(user_id in members for members in self.rooms.values())
            if record["version"] > known or (is_hidden and record["version"] == known):
                self.records[user_id] = record

    def _enter(self, message: dict[str, Any]) -> None:
        room, mode = message["room"], message["mode"]
        self.modes[room], self.sizes[room] = mode, message["count"]
        if mode == "counts":
            self.rooms.pop(room, None)
        elif message.get("page") == 1:
            self.rooms[room] = {}
        members = self.rooms.get(room)
        for member in message.get("members", []):
            self._see([member["presence"]])
            if members is not None:  # otherwise the client requests all of them (WATCH)
                members[str(member["userId"])] = member.get("data")
        for user_id in message.get("left", []):
            if members is not None:
                members.pop(str(user_id), None)
