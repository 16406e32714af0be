"""What the rules of a cluster need of the directory of a node."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from presenced.cluster.records import UserRecord
from presenced.presence.model import Cause, View
from presenced.runtime.instant import Instant


class Shown(NamedTuple):
    """What watchers of this node saw last of a user."""

    version: int
    view: View


class Presence(Protocol):
    """The rule of presence, and what watchers see: the directory of this node."""

    def part(self, user_id: str) -> tuple[bytes, bytes]:
        """Return what this node contributes to the user: sessions and rooms, each `b""` if there are none."""

    def contributing(self) -> Iterable[str]:
        """Return the users that this node has sessions of."""

    def shown_users(self) -> Iterable[str]:
        """Return the users who are not shown as offline."""

    def contributed(self, user_id: str, slot: int, sessions: bytes, rooms: bytes) -> None:
        """Another node contributes this to the user from now on. Nothing becomes visible."""

    def expect(self, user_id: str, cause: Cause, now: Instant) -> None:
        """Note why the user is about to look different, if that comes from another node's end."""

    def record(self, user_id: str, now: Instant) -> UserRecord:
        """Return the record as the rule makes it out of all contributions and of what was decided here."""

    def shown(self, user_id: str) -> Shown:
        """Return what watchers saw last."""

    def accept(self, user_id: str, record: UserRecord, version: int, now: Instant) -> None:
        """Show the user as in the record, with this version, and adopt what it says was chosen, claimed, announced."""

    def adopt(self, user_id: str, record: UserRecord, now: Instant) -> None:
        """Adopt what was chosen, claimed and announced, and show nothing: the user is unsettled."""

    def show_locally(self, user_id: str, version: int, now: Instant) -> None:
        """Show the user by the rule, without the store."""
