"""Pages of a load, until all of them have been read and adopted. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from presenced.cluster.backend import ContributionUpdate, StoreRecord
from presenced.cluster.records import UserRecord, decode_record
from presenced.cluster.replica.contributions import Contributions


class VersionedRecord(NamedTuple):
    """A user's record, with the number that the store gave to it."""

    n: int
    """Number of the item with this record."""
    version: int
    """Number of the last item that others saw."""
    record: UserRecord


class Load:
    """Records and contributions from the pages of a load so far. Each is taken out when it is adopted.

    Bounds: the users of the shard.
    """

    def __init__(self) -> None:
        self.records: dict[str, VersionedRecord] = {}
        self.contributions = Contributions()
        self.before: Contributions | None = None
        """Contributions before the load; None until all pages have been read."""
        self.users: list[str] = []
        """Users whose contributions are still to be adopted; empty until all pages have been read."""

    def add(self, users: Sequence[StoreRecord], updates: Sequence[tuple[str, ContributionUpdate]]) -> None:
        """Add a page: records, and contributions with their users. If a user is in several pages, the newest counts."""
        for user_id, n, version, data in users:
            if user_id not in self.records or self.records[user_id].n < n:
                self.records[user_id] = VersionedRecord(n, version, decode_record(data))
        for user_id, update in updates:
            self.contributions.update(user_id, update)
