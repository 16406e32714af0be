"""Access of an operator to the store: shows the cluster, and stops or removes a node.

The access needs the same keys, scripts and permissions as a node. Running nodes do not use this module.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from presenced.cluster import messages
from presenced.cluster.backend import MAX_SLOTS, Member, State, StoreRecord
from presenced.cluster.messages import Message
from presenced.cluster.records import SharedMember, SharedSession, decode_rooms, decode_sessions
from presenced.cluster.redis.connection import Address, Argument, StoreAccess, StoreConnection, StoreLost, connect
from presenced.cluster.redis.discovery import Finder, parse_url
from presenced.cluster.redis.format import Keys, decode_members, decode_user, inbox_key
from presenced.cluster.redis.messages import MAX_INBOX
from presenced.cluster.redis.scripts import DECLARE_DEAD
from presenced.cluster.redis.shard import FENCED
from presenced.cluster.sharding import shard_of
from presenced.config.settings import Settings
from presenced.errors import BackendError

TIMEOUT_S = 3.0
"""Timeout in seconds for a reply of the store."""

ATTEMPTS = 5
"""Number of attempts to declare a node dead. An attempt fails if the node sends a heartbeat at the same moment."""


class NodeContribution(NamedTuple):
    """Decoded contribution of one node to a user."""

    slot: int
    """Slot of the node."""
    sessions: Sequence[SharedSession]
    rooms: Sequence[SharedMember]


class UserInStore(NamedTuple):
    """Record and contributions of a user in the store."""

    shard: int
    stored: StoreRecord | None
    """None if there is no record: the user is offline, and nothing else is known."""
    contributions: Sequence[NodeContribution]


class Admin:
    """Connections of an operator. Make one with `open_admin`.

    Every method raises `BackendError` if the store does not respond or refuses.
    """

    def __init__(self, finder: Finder, access: StoreAccess, cluster_name: str) -> None:
        self._finder = finder
        self._access = access
        self._name = cluster_name
        self._connections: dict[Address, StoreConnection] = {}
        self.shards = 1
        """Number of shards."""

    async def members(self) -> list[list[Member]]:
        """Return the registered nodes of each shard, by slot."""
        found = []
        for shard in range(self.shards):
            keys = self._keys(shard)
            [flat] = await self._calls(keys.nodes, [("HGETALL", keys.nodes)])
            found.append(sorted(decode_members(flat)))
        return found

    async def user(self, user_id: str) -> UserInStore:
        """Return the record of a user, and what nodes contribute."""
        shard = shard_of(user_id, self.shards)
        keys, name = self._keys(shard), user_id.encode()
        wanted: list[Sequence[Argument]] = [("HGET", keys.users, name)]
        wanted += [("HGET", key, name) for key in (*keys.sessions, *keys.rooms)]
        record, *values = await self._calls(keys.users, wanted)
        contributions = [
            NodeContribution(slot, decode_sessions(sessions or b""), decode_rooms(rooms or b""))
            for slot, sessions, rooms in zip(range(MAX_SLOTS), values[:MAX_SLOTS], values[MAX_SLOTS:], strict=True)
            if sessions or rooms
        ]
        return UserInStore(shard, decode_user(name, record) if record else None, contributions)

    async def send(self, slot: int, message: Message) -> None:
        """Send a message to a node. It may be lost."""
        key = inbox_key(self._name, slot)
        # An operator has no slot, so the node itself is named as the sender.
        data = bytes([slot]) + messages.encode_node_message(message)
        await self._calls(key, [("XADD", key, "MAXLEN", "~", MAX_INBOX, "*", "m", data)])

    async def declare_dead(self, slot: int) -> Member | None:
        """Declare a node dead in all shards, on behalf of a live node, which then removes it.

        Returns:
            The live node in shard 0; None if some shard has no live node.

        Raises:
            BackendError: Also if heartbeats of the node have prevented all attempts.
        """
        removers = []
        for shard, members in enumerate(await self.members()):
            remover = next((one for one in members if one.state is State.READY and one.slot != slot), None)
            if remover is None:
                return None
            removers.append(remover)
            if any(one.slot == slot for one in members):
                await self._declare_dead(shard, slot, remover)
        return removers[0]

    async def _declare_dead(self, shard: int, slot: int, remover: Member) -> None:
        keys = self._keys(shard)
        [flat] = await self._calls(keys.nodes, [("HGETALL", keys.nodes)])
        for _ in range(ATTEMPTS):
            target = _in_slot(slot, decode_members(flat))
            if target is None or target.state is State.DEAD:
                return
            arguments = (remover.slot, remover.incarnation, target.slot, target.incarnation, target.heartbeat)
            connection = await self._connection(keys.nodes)
            try:
                flat = await connection.script(DECLARE_DEAD, [keys.nodes], arguments)
            except StoreLost as error:
                raise _no_response(error) from error
            if flat == FENCED:
                raise BackendError(f"node {remover.name}, which should remove it, is gone: try again")
        raise BackendError(
            f"the node in slot {slot} was not declared dead, because its heartbeats interfered: try again"
        )

    async def _read_shards(self, default: int) -> None:
        key = self._keys(0).head
        [[shards]] = await self._calls(key, [("HMGET", key, "shards")])
        self.shards = int(shards) if shards else default

    def _keys(self, shard: int) -> Keys:
        return Keys(self._name, shard)

    async def _calls(self, key: bytes, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        connection = await self._connection(key)
        try:
            return await connection.pipeline(commands)
        except StoreLost as error:
            raise _no_response(error) from error

    async def _connection(self, key: bytes) -> StoreConnection:
        try:
            address = await self._finder.find(key)
            if address not in self._connections:
                self._connections[address] = await connect(address, self._access, TIMEOUT_S)
        except StoreLost as error:
            raise _no_response(error) from error
        return self._connections[address]

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            connection.close()


@asynccontextmanager
async def open_admin(settings: Settings) -> AsyncIterator[Admin]:
    """Connect to the store in the settings.

    Raises:
        ConfigError: The URL of the backend is invalid.
        BackendError: The store does not respond, or refuses.
    """
    url = parse_url(settings.backend, settings.backend_password.get_secret_value())
    admin = Admin(url.finder(), url.access, settings.cluster_name)
    try:
        await admin._read_shards(url.shards(settings.cluster_shards))
        yield admin
    finally:
        admin.close()


def _in_slot(slot: int, members: Iterable[Member]) -> Member | None:
    return next((member for member in members if member.slot == slot), None)


def _no_response(error: StoreLost) -> BackendError:
    return BackendError(f"the store does not respond: {error}")
