"""Interface of the directory that the replicas of a node use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from presenced.cluster.contribution import Contribution
from presenced.cluster.records import UserRecord
from presenced.presence.model import SEEN_OFFLINE, Cause, View
from presenced.runtime.instant import Instant


class Shown(Struct, frozen=True, gc=False):
    """State of a user that watchers of this node saw last."""

    version: int
    view: View


UNKNOWN = Shown(0, SEEN_OFFLINE)
"""State of an unknown user."""


class LocalPresence(Protocol):
    """The rule of presence, and what watchers see: the directory of this node."""

    def own_contribution(self, user_id: str, slot: int) -> Contribution:
        """Return what this node, which is in this slot, contributes to the user."""

    def contributed_users(self) -> Iterable[str]:
        """Return the users to whom this node contributes: those who have a session here."""

    def shown_users(self) -> Iterable[str]:
        """Return the users who are not shown as offline."""

    def decided_users(self) -> Iterable[str]:
        """Return the users about whom something was chosen, claimed or announced, or cleared not long ago."""

    def forget_cleared(self, user_id: str) -> None:
        """Forget when something about the user was cleared, because all nodes know it by now."""

    def set_contribution(self, user_id: str, new: Contribution) -> None:
        """Set what another node contributes to the user. Nothing becomes visible, except in rooms."""

    def expect(self, user_id: str, cause: Cause, now: Instant) -> None:
        """Set the cause of the user's next change, if that comes from the end of another node."""

    def record(self, user_id: str, now: Instant) -> UserRecord:
        """Return the record that follows from all contributions and from what was decided here."""

    def shown(self, user_id: str) -> Shown:
        """Return what watchers saw last."""

    def accept(self, user_id: str, record: UserRecord, version: int, now: Instant) -> None:
        """Show the user as in the record, with this version, and adopt its stamped fields."""

    def adopt(self, user_id: str, record: UserRecord, now: Instant) -> None:
        """Adopt the stamped fields of the record, and show nothing, because the user is unsettled."""

    def show_locally(self, user_id: str, version: int, now: Instant) -> None:
        """Show the user as the rule of presence says, without the store."""
