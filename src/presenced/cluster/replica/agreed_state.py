"""Agreed parts of the users' records, as a replica keeps them. Pure."""

from __future__ import annotations

from msgspec import Raw, Struct

from presenced.cluster.records import StampedFields, UserRecord
from presenced.presence.model import View


class AgreedState(Struct, frozen=True, gc=False):
    """The part of a user's record that nodes have to agree on, with its numbers.

    Times and causes are missing: the directory has them, and a record that differs in nothing else needs no commit.
    Users who look the same share the parts, so a state takes 64 bytes, while a record would take 300.
    """

    n: int
    """As in `VersionedRecord`."""
    version: int
    """As in `VersionedRecord`."""
    view: View
    """As in `UserRecord`, like the following fields."""
    stamped: StampedFields | None
    rests_on_retained: bool
    later: dict[str, Raw] | None
    """None if there are no such fields."""

    def differs(self, wanted: UserRecord) -> bool:
        """Return whether nodes have to agree on another record."""
        is_same = self.view == wanted.view and self.stamped == wanted.stamped
        return not is_same or self.rests_on_retained != wanted.rests_on_retained
