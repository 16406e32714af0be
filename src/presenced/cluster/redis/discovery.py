"""Discovery of the store: its URL, and the server that has a key at the moment.

    redis://host:6379/0                              a single server; rediss:// with TLS
    redis+sentinel://s1:26379,s2:26379/mymaster      the master that the sentinels name; rediss+sentinel:// with TLS
    redis+cluster://r1:6379,r2:6379                  a Redis Cluster; rediss+cluster:// with TLS

Only addresses come from here. Connections are those of `cluster.redis.connection`, because the clients of redis-py
retry on their own, and some of them use outdated addresses.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from redis.crc import key_slot

from presenced.cluster.redis.connection import Address, StoreAccess, StoreConnection, StoreLost, open_connection
from presenced.errors import BackendError, ConfigError

ASK_TIMEOUT_S = 1.0
"""Timeout in seconds for asking a server for the address of the store."""

SERVER_PORT = 6379
"""Default port of Redis and Valkey."""

SENTINEL_PORT = 26379
"""Default port of a sentinel."""

SHARDS_OF_A_CLUSTER = 8
"""Default number of shards in a Redis Cluster. Any other store has one shard."""


class Finder(Protocol):
    """Finds the server that has a key."""

    masters: int
    """Number of servers that share the keys."""

    async def find(self, key: bytes) -> Address:
        """Return the address of the master that has a key.

        Raises:
            StoreLost: No server has it at the moment, or none responds.
            BackendError: The servers refuse to answer.
        """

    def lost(self) -> None:
        """Forget addresses that may have changed, because a connection was lost."""


class StoreUrl(NamedTuple):
    """Parts of the URL of a store."""

    kind: str
    """`single`, `sentinel` or `cluster`."""
    servers: tuple[Address, ...]
    access: StoreAccess
    master: str = ""
    """Name of the master that the sentinels watch."""

    @property
    def default_shards(self) -> int:
        """Number of shards, if nothing else is set."""
        return SHARDS_OF_A_CLUSTER if self.kind == "cluster" else 1

    def shards(self, setting: int) -> int:
        """Return the number of shards for the setting `cluster_shards`."""
        return setting or self.default_shards

    def finder(self) -> Finder:
        """Return the finder for this kind of store."""
        if self.kind == "sentinel":
            return Sentinels(self.servers, self.master, self.access)
        if self.kind == "cluster":
            return ClusterServers(self.servers, self.access)
        return SingleServer(self.servers[0])


def parse_url(url: str, password: str) -> StoreUrl:
    """Return the parts of a URL.

    Raises:
        ConfigError: The URL is invalid.
    """
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    if ":" in login:
        raise ConfigError("backend contains a password: set PRESENCED_BACKEND_PASSWORD instead")
    scheme, _, kind = parts.scheme.partition("+")
    kind = kind or "single"
    if scheme not in ("redis", "rediss") or kind not in ("single", "sentinel", "cluster"):
        raise ConfigError("backend must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://")
    if parts.query or parts.fragment:
        raise ConfigError(f"backend has no options after ? or #: {url!r}")
    port = SENTINEL_PORT if kind == "sentinel" else SERVER_PORT
    servers = tuple(_address(host, port, url) for host in hosts.split(","))
    if kind == "single" and len(servers) > 1:
        raise ConfigError(f"backend names several servers, so it is redis+sentinel:// or redis+cluster://: {url!r}")
    path = parts.path.strip("/").split("/") if parts.path.strip("/") else []
    master = path.pop(0) if kind == "sentinel" and path else ""
    if kind == "sentinel" and not master:
        raise ConfigError(f"backend lacks the name of the master, as in redis+sentinel://host:26379/mymaster: {url!r}")
    database = path.pop(0) if path and kind != "cluster" else "0"
    if path or not database.isascii() or not database.isdigit():
        raise ConfigError(f"backend ends with something other than the number of a database: {url!r}")
    access = StoreAccess(login if at else "", password, int(database), scheme == "rediss")
    return StoreUrl(kind, servers, access, master)


def _address(text: str, default_port: int, url: str) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ConfigError(f"backend has no valid host: {url!r}")
    return Address(host, port or default_port)


class SingleServer:
    """`Finder` of a store that is one server."""

    masters = 1

    def __init__(self, address: Address) -> None:
        self._address = address

    async def find(self, key: bytes) -> Address:
        """Return the address of the server."""
        return self._address

    def lost(self) -> None:
        """Do nothing: the address stays the same."""


class Sentinels:
    """`Finder` of the master that sentinels watch. The majority of the answers decides."""

    masters = 1

    def __init__(self, sentinels: Sequence[Address], master: str, access: StoreAccess) -> None:
        self._sentinels = sentinels
        self._master = master
        self._access = access._replace(database=0)
        self._found: Address | None = None
        self._lock = asyncio.Lock()

    async def find(self, key: bytes) -> Address:
        """Return the address of the master."""
        async with self._lock:
            if self._found is None:
                self._found = await self._ask_all()
            return self._found

    def lost(self) -> None:
        """Ask again at the next `find`."""
        self._found = None

    async def _ask_all(self) -> Address:
        answers = await asyncio.gather(*map(self._ask, self._sentinels), return_exceptions=True)
        named = Counter(answer for answer in answers if isinstance(answer, Address))
        if named:
            return named.most_common(1)[0][0]
        for answer in answers:
            if isinstance(answer, BackendError):
                raise answer
        raise StoreLost(f"no sentinel knows the master {self._master!r}{_listed(answers)}")

    async def _ask(self, sentinel: Address) -> Address | None:
        try:  # sentinels rarely have a password
            connection = await open_connection(sentinel, self._access._replace(user="", password=""), ASK_TIMEOUT_S)
            answer = await _call(connection, "SENTINEL", "get-master-addr-by-name", self._master)
        except BackendError:
            connection = await open_connection(sentinel, self._access, ASK_TIMEOUT_S)
            answer = await _call(connection, "SENTINEL", "get-master-addr-by-name", self._master)
        return Address(answer[0].decode(), int(answer[1])) if answer else None


class _SlotRange(NamedTuple):
    """Range of hash slots, and the master that has them."""

    first: int
    last: int
    master: Address


class ClusterServers:
    """`Finder` of the masters of a Redis Cluster."""

    def __init__(self, servers: Sequence[Address], access: StoreAccess) -> None:
        self.masters = 1
        self._seeds = tuple(servers)
        self._servers = tuple(servers)
        self._access = access
        self._ranges: list[_SlotRange] = []
        self._lock = asyncio.Lock()

    async def find(self, key: bytes) -> Address:
        """Return the address of the master of a key's hash slot."""
        async with self._lock:
            if not self._ranges:
                self._set_ranges(await self._ask_first())
        slot = key_slot(key)
        for slots in self._ranges:
            if slots.first <= slot <= slots.last:
                return slots.master
        self.lost()
        raise StoreLost(f"no master has hash slot {slot}")

    def lost(self) -> None:
        """Ask again at the next `find`."""
        self._ranges = []

    def _set_ranges(self, ranges: list[_SlotRange]) -> None:
        self._ranges = ranges
        masters = dict.fromkeys(one.master for one in ranges)
        self.masters = max(1, len(masters))
        self._servers = (*masters, *(seed for seed in self._seeds if seed not in masters))

    async def _ask_first(self) -> list[_SlotRange]:
        """Return the answer of the first server that responds. The masters that were known last are asked first."""
        refusal: BackendError | None = None
        failures: list[StoreLost] = []
        for server in self._servers:
            try:
                connection = await open_connection(server, self._access, ASK_TIMEOUT_S)
                answer = await _call(connection, "CLUSTER", "SLOTS")
            except StoreLost as error:
                failures.append(error)
                continue
            except BackendError as error:
                refusal = error
                continue
            ranges = []
            for first, last, (host, port, *_), *_ in answer:
                master = Address(host.decode() if host else server.host, int(port))
                ranges.append(_SlotRange(int(first), int(last), master))
            return ranges
        raise refusal or StoreLost(f"no server of the cluster responds{_listed(failures)}")


def _listed(answers: Sequence[object]) -> str:
    """Return the reasons why servers did not respond, in parentheses for the end of a sentence."""
    failures = [str(answer) for answer in answers if isinstance(answer, StoreLost)]
    return f" ({'; '.join(failures)})" if failures else ""


async def _call(connection: StoreConnection, *command: str) -> Any:
    """Execute a command on a connection that is used for nothing else."""
    try:
        return await connection.call(*command)
    finally:
        connection.close()
