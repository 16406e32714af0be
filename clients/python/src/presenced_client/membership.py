"""This client in a room."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from presenced_client.desired_state import DesiredRoom
from presenced_client.room import Member, Mode, Room

if TYPE_CHECKING:
    from presenced_client.client import Presence


class Membership:
    """A room while its block runs, across reconnects: `async with presence.room("lobby") as room`.

    Entering waits until the server has accepted the member and sent the room. It raises PresenceError, for example
    with the code ROOM_FULL or NOT_ALLOWED.
    """

    def __init__(self, presence: Presence, name: str, data: Any, join: bool) -> None:
        self.name = name
        self._presence = presence
        self._session = presence.session
        self._data = data
        self._join = join

    async def __aenter__(self) -> Self:
        wanted = self._session.desired.rooms.setdefault(self.name, DesiredRoom())
        if self._join:
            wanted.joiners += 1
            wanted.data = self._data
        else:
            wanted.watchers += 1
        self._presence.wishes_changed()
        try:
            await self._presence.wait_for(self._is_inside)
        except BaseException:
            self._release()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._release()

    @property
    def state(self) -> Room:
        """Everything known of the room, as one value."""
        return self._session.room(self.name)

    @property
    def members(self) -> Mapping[str, Member]:
        """Members by `str(id)`; empty in mode `counts`."""
        return self.state.members

    @property
    def count(self) -> int:
        """Number of members."""
        return self.state.count

    @property
    def mode(self) -> Mode:
        """How the room reports changes."""
        return self.state.mode

    @property
    def known(self) -> bool:
        """Whether the room is known. It is not while the members of a room that became smaller are requested."""
        return self.state.known

    @property
    def joined(self) -> bool:
        """Whether this client is a member, as far as the server has answered."""
        return self._session.is_joined(self.name)

    async def set_data(self, data: Any) -> None:
        """Replace the member's data; None removes it. Wait until the server has accepted it."""
        if not self._join:
            raise RuntimeError(f"this client watches the room {self.name!r}, and is not a member")
        wanted = self._session.desired.rooms[self.name]
        before, wanted.data = wanted.data, data
        self._session.ask_again("data", self.name)
        self._presence.wishes_changed()
        try:
            await self._presence.wait_for(lambda: self._has(data))
        except BaseException:
            wanted.data = before
            self._presence.wishes_changed()
            raise

    def _has(self, data: object) -> bool:
        for kind in ("data", "room"):
            if error := self._session.refusal(kind, self.name):
                raise error
        return self._session.has_member_data(self.name, data)

    def _is_inside(self) -> bool:
        if error := self._session.refusal("room", self.name):
            raise error
        return self.known and (self.joined or not self._join)

    def _release(self) -> None:
        wanted = self._session.desired.rooms[self.name]
        if self._join:
            wanted.joiners -= 1
        else:
            wanted.watchers -= 1
        if not wanted.joiners and not wanted.watchers:
            del self._session.desired.rooms[self.name]
        self._presence.wishes_changed()
