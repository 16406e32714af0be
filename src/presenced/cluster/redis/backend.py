"""Shared state of the nodes in Redis or Valkey.

    RedisBackend ─┬─ RedisShard ... ── RedisReader      one of each per shard: register, commit, load, read the log
                  └─ RedisMessages ── RedisRevoked      messages between nodes, sessions and tickets; revoked tokens
                         │
                  connection ── discovery               connections of redis-py; addresses of the masters

The tables of keys and values are in `cluster.redis.format`, and the scripts in `cluster/redis/lua`.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence

from presenced.cluster.backend import (
    LOG_ITEMS,
    Applicant,
    CommitBatch,
    Excerpt,
    Member,
    Receiver,
    State,
    StoredKey,
    StoreRecord,
)
from presenced.cluster.redis import pace
from presenced.cluster.redis.connection import Address, StoreAccess, StoreConnection, StoreLost, connect
from presenced.cluster.redis.discovery import Finder, parse_url
from presenced.cluster.redis.format import LAYOUT, MAX_SHARDS, decode_members, other_layout
from presenced.cluster.redis.messages import RedisMessages
from presenced.cluster.redis.revoked import RedisRevoked
from presenced.cluster.redis.shard import READ_TIMEOUT_S, RedisShard
from presenced.errors import BackendError
from presenced.storage.records import StoredRevocation

# Checks the permission to run scripts, and to use these commands in them.
_PROBE = b"#!lua\nredis.call('UNLINK', KEYS[1]) return redis.call('HGETALL', KEYS[1])"


class RedisBackend:
    """`Backend` in Redis or Valkey. It is used on the thread of one event loop.

    Args:
        cluster_name: Prefix of all keys.
        log_items: Approximate number of items that the log keeps.
        on_round_trip: Called about once a second with the seconds that a call to a shard has taken.
    """

    def __init__(
        self,
        finder: Finder,
        access: StoreAccess,
        *,
        cluster_name: str,
        shards: int,
        log_items: int = LOG_ITEMS,
        on_round_trip: Callable[[float], object] = lambda _: None,
    ) -> None:
        assert 1 <= shards <= MAX_SHARDS, "the settings are checked before"
        self.cluster_name = cluster_name
        self.shards = shards
        self.log_items = log_items
        self.on_round_trip = on_round_trip
        self.conflict = ""
        """Why this node cannot join with its settings: the store has another layout. Empty if it can."""
        self.nodes = 1
        """Number of registered nodes."""
        self.slot = -1
        """Slot from the registration in shard 0; -1 before it."""
        self.registered_ms = 0
        """The store's clock at the registration in shard 0."""
        self.has_slot = asyncio.Event()
        """Set after the registration in shard 0."""
        self.receiver: Receiver
        self.applicant: Applicant
        self._finder = finder
        self._access = access
        self._shards = [RedisShard(self, index) for index in range(shards)]
        self._messages = RedisMessages(self)
        self._revoked = RedisRevoked(cluster_name, self._messages)
        self._tasks: list[asyncio.Task[None]] = []

    async def check(self) -> str:
        """Check that the store can be used, if it responds. Return why it does not respond; empty if it does.

        Raises:
            BackendError: The store cannot be used: wrong password, TLS, version, eviction policy, layout, or a missing
                permission.
        """
        probe = f"{self.cluster_name}:check:{secrets.token_hex(8)}".encode()
        for shard in self._shards:
            keys = shard.keys
            try:
                connection = await self.connect(keys.head, READ_TIMEOUT_S)
                try:
                    (layout, shards), *_ = await connection.pipeline(
                        [
                            ("HMGET", keys.head, "layout", "shards"),
                            ("HGET", keys.head, "n"),
                            ("HGETALL", keys.nodes),
                            ("HLEN", keys.users),
                            ("HSCAN", keys.users, 0, "COUNT", 1),
                            ("XRANGE", keys.log, "0-1", "0-1"),
                            ("XREAD", "COUNT", 1, "STREAMS", keys.log, "$"),
                            ("EVAL", _PROBE, 1, keys.head + probe),
                            ("EVALSHA", hashlib.sha1(_PROBE, usedforsecurity=False).hexdigest(), 1, keys.head + probe),
                            ("TIME",),
                            # Commands of the scripts. The last one deletes the key, even if one before it fails.
                            ("HSET", keys.head + probe, "field", b""),
                            ("HDEL", keys.head + probe, "field"),
                            ("XADD", keys.head + probe, "1-1", "field", b""),
                            ("XTRIM", keys.head + probe, "MAXLEN", 0),
                            ("UNLINK", keys.head + probe),
                        ]
                    )
                finally:
                    connection.close()
                connection = await self.connect(probe, READ_TIMEOUT_S)
                try:
                    await connection.pipeline([("SET", probe, b"", "PX", 1000), ("GETDEL", probe)])
                finally:
                    connection.close()
            except StoreLost as error:
                return str(error)
            if layout is not None and (int(layout), int(shards)) != (LAYOUT, self.shards):
                raise BackendError(other_layout(layout, shards, self.shards))
        return ""

    async def members(self) -> list[Member]:
        """Return the registered nodes. The backend need not have started.

        Raises:
            StoreLost: The store does not respond.
            BackendError: The store refuses.
        """
        key = self._shards[0].keys.nodes
        connection = await self.connect(key, READ_TIMEOUT_S)
        try:
            return decode_members(await connection.call("HGETALL", key))
        finally:
            connection.close()

    # The contract (`cluster.backend.Backend`).

    @property
    def commit_pause_s(self) -> float:
        """Seconds from one commit of a shard to the next."""
        return pace.commit_pause_s(self.nodes, self.shards, self._finder.masters)

    def start(self, applicant: Applicant, receiver: Receiver) -> None:
        """Connect and register, until `stop`."""
        self.applicant, self.receiver = applicant, receiver
        coroutines = [*(shard.run() for shard in self._shards), *self._messages.tasks()]
        self._tasks = [asyncio.create_task(one, name="presenced: cluster") for one in coroutines]

    def load(self, shard: int) -> None:
        """Read everything, and then the log."""
        self._shards[shard].reader.load()

    def commit(self, shard: int, batch: CommitBatch, floor: int) -> None:
        """Ask the store to accept a batch."""
        self._shards[shard].commit(batch, floor)

    def heartbeat(self, shard: int, state: State, figures: bytes) -> None:
        """Increment the heartbeat counter."""
        self._shards[shard].heartbeat(state, figures)

    def declare_dead(self, shard: int, member: Member) -> None:
        """Fence a node."""
        self._shards[shard].declare_dead(member)

    def remove(self, shard: int, member: Member) -> None:
        """Remove a dead node."""
        self._shards[shard].remove(member)

    def send(self, slot: int, message: bytes) -> None:
        """Send a message to another node."""
        self._messages.send(slot, message)

    def put(self, key: StoredKey, value: bytes, seconds: float) -> None:
        """Leave a value for another node."""
        self._messages.put(key, value, seconds)

    def take(
        self,
        key: StoredKey,
        on_answer: Callable[[bytes | None], None],
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        """Take a value."""
        self._messages.take(key, on_answer, on_lost)

    def add_revoked(self, revoked: Sequence[StoredRevocation], now: float, on_answer: Callable[[bool], None]) -> None:
        """Remember revoked users and tokens."""
        self._revoked.add(revoked, now, on_answer)

    def read_revoked(self, on_answer: Callable[[Sequence[StoredRevocation] | None], None]) -> None:
        """Read all revoked users and tokens."""
        self._revoked.read(on_answer)

    def read(self, shard: int, user_ids: Sequence[str], on_answer: Callable[[Mapping[str, StoreRecord]], None]) -> None:
        """Read the records of some users."""
        self._shards[shard].read(user_ids, on_answer)

    async def flush(self) -> None:
        """Wait until all values are in the store or have failed, for a few seconds at most."""
        await self._messages.flush()

    def read_log(self, shard: int, after: int, on_answer: Callable[[Excerpt], None]) -> None:
        """Read entries of the log again."""
        self._shards[shard].read_log(after, on_answer)

    async def stop(self) -> None:
        """Stop reporting, and disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Used by the shards and the messages.

    @property
    def read_pause_s(self) -> float:
        """Seconds from one read of a log to the next."""
        return pace.read_pause_s(self.nodes, self.shards, self._finder.masters)

    @property
    def trouble(self) -> str:
        """Why a shard cannot be reached; empty if all can, as far as this node knows."""
        return next((shard.trouble for shard in self._shards if shard.trouble), "")

    async def connect(self, key: bytes, timeout_s: float) -> StoreConnection:
        """Connect to the server that has a key."""
        return await connect(await self._finder.find(key), self._access, timeout_s)

    async def find(self, key: bytes) -> Address:
        """Return the address of the server that has a key."""
        return await self._finder.find(key)

    def lost(self) -> None:
        """Look up the servers again, because a connection was lost."""
        self._finder.lost()
        self._messages.connect_again()

    def set_slot(self, slot: int) -> None:
        """Use the slot from shard 0 in the other shards as well."""
        self.slot = slot
        self.has_slot.set()
        for shard in self._shards[1:]:
            shard.register_again()


def open_backend(url: str, password: str, *, cluster_name: str, shards: int) -> RedisBackend:
    """Return the backend for a URL. It connects when it is started.

    Args:
        shards: Number of shards; 0 for the default of this kind of store.

    Raises:
        ConfigError: The URL is invalid.
    """
    parsed = parse_url(url, password)
    return RedisBackend(parsed.finder(), parsed.access, cluster_name=cluster_name, shards=parsed.shards(shards))
