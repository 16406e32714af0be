"""Findings about the store that the nodes of a cluster share."""

from __future__ import annotations

import asyncio
import ipaddress
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping

from presenced.cli.doctor import Finding, Level
from presenced.cluster.admin import open_admin
from presenced.cluster.backend import Member, State
from presenced.cluster.common_settings import conflict, differing, figures_from
from presenced.cluster.members import figures_of
from presenced.cluster.redis.backend import RedisBackend
from presenced.cluster.redis.connection import Address, StoreConnection, StoreLost, connect, parse_info
from presenced.cluster.redis.discovery import StoreUrl, parse_url
from presenced.cluster.redis.format import Keys
from presenced.config.settings import Settings, is_loopback
from presenced.errors import BackendError

BYTES_PER_USER = 250
"""Memory in bytes that the store needs for a user with one session: 222 bytes were measured (Redis 7.0.15)."""

OTHER_BYTES = 64 << 20
"""Memory in bytes that the store needs in addition: the log, 20 to 30 MB, and buffers."""

MIN_USERS = 10_000
"""Minimum number of users for which the store must have memory, even if fewer are connected now."""

SLOW_S = 0.005
"""Round trip in seconds above which there is a note. A change takes two of them."""

ROUND_TRIPS = 9
"""Number of round trips measured. Their median is compared with `SLOW_S`."""

TIMEOUT_S = 3.0
"""Timeout in seconds of a connection to the store. After that it counts as out of reach."""


def examine_backend(settings: Settings) -> list[Finding]:
    """Return all findings about the store in the settings.

    Raises:
        ConfigError: The URL is invalid.
    """
    url = parse_url(settings.backend, settings.backend_password.get_secret_value())
    findings = [*network_findings(url), *lease_findings(settings)]
    try:
        findings += asyncio.run(_store(settings, url))
    except StoreLost as error:
        fix = "check that the store runs, and that this machine reaches it"
        findings.append(Finding("broken", f"the store does not respond: {error}", fix))
    except BackendError as error:
        findings.append(Finding("broken", str(error), "the server would not start"))
    return findings


def network_findings(url: StoreUrl) -> Iterator[Finding]:
    """Yield findings about the network between this machine and the store."""
    remote = [server.host for server in url.servers if not is_loopback(server.host)]
    if url.access.uses_tls or not remote:
        return
    password = "" if url.access.password else ", and the store needs no password"
    what = (
        f"the connection to the store is not encrypted{password}: anyone who reaches it can show any status of anybody"
    )
    level: Level = "unsafe" if any(map(_is_public, remote)) else "note"
    yield Finding(level, what, "use rediss://, or a network that only the nodes and the store can reach")


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False  # a name, often of a private network


def lease_findings(settings: Settings) -> Iterator[Finding]:
    """Yield findings about the lease."""
    for name in ("grace_going_away", "grace_lost"):
        grace: float = getattr(settings, name)
        if grace > settings.cluster_lease:
            what = f"{name} is {grace:g} s, but when a node dies, the grace periods of its users end with the lease"
            yield Finding("note", what, f"set cluster_lease to at least {grace:g}")


def settings_findings(settings: Settings, members: Iterable[Member]) -> Iterator[Finding]:
    """Yield findings about settings that differ from those of the registered nodes."""
    if reason := conflict(settings, members):
        yield Finding("broken", reason, "the server would not start")
    own = figures_from(settings)
    for member in members:
        if member.state is State.READY and (names := differing(own, figures_of(member))):
            what = f"node {member.name} runs with other settings than these: {', '.join(names)}"
            yield Finding("note", what, "give all nodes the same settings, and this command those of its node")


async def _store(settings: Settings, url: StoreUrl) -> list[Finding]:
    """Return findings about the store itself, its nodes, and each of its servers.

    Raises:
        StoreLost: The store does not respond.
        BackendError: The store cannot be used as it is.
    """
    finder = url.finder()
    shards = url.shards(settings.cluster_shards)
    backend = RedisBackend(finder, url.access, cluster_name=settings.cluster_name, shards=shards)
    if missing := await backend.check():  # it also checks layout, version, eviction policy and permissions
        raise StoreLost(missing)
    async with open_admin(settings) as admin:
        members = (await admin.members())[0]
    connected = sum(figures_of(member).users for member in members)
    users = max(MIN_USERS, settings.max_connections, connected)
    heads = [Keys(settings.cluster_name, shard).head for shard in range(backend.shards)]
    addresses = {await finder.find(head) for head in heads}
    findings = [*settings_findings(settings, members)]
    if backend.shards < finder.masters:
        what = f"the store has {finder.masters} masters, but users are only in {backend.shards} shards"
        findings.append(Finding("note", what, "fewer masters suffice"))
    for address in sorted(addresses):
        findings += await _server(url, address, users // len(addresses))
        for name, value, why in _wanted_settings(url):
            findings += await _setting(url, address, name, value, why)
    return findings


async def _server(url: StoreUrl, address: Address, users: int) -> list[Finding]:
    """Return findings about one server of the store, which has to hold this many users."""
    connection = await connect(address, url.access, TIMEOUT_S)
    try:
        sections = await connection.pipeline([("INFO", name) for name in ("memory", "persistence", "replication")])
        times = [await _round_trip(connection) for _ in range(ROUND_TRIPS)]
    finally:
        connection.close()
    info = parse_info(b"\n".join(sections))
    findings = [*_memory(address, info, users), *_durability(address, info)]
    if (median := statistics.median(times)) > SLOW_S:
        what = f"a round trip to {address} takes {median * 1000:.1f} ms"
        fix = "run the store in the region of the nodes, and look for what keeps it or this machine busy"
        findings.append(Finding("note", what, fix))
    return findings


async def _round_trip(connection: StoreConnection) -> float:
    began = time.monotonic()
    await connection.call("TIME")
    return time.monotonic() - began


def _memory(address: Address, info: Mapping[str, str], users: int) -> Iterator[Finding]:
    limit = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
    needed = OTHER_BYTES + users * BYTES_PER_USER
    if 0 < limit < needed:
        what = f"{address} may use {limit >> 20:,} MiB, but {users:,} users need {needed >> 20:,} MiB"
        yield Finding("note", what, "raise maxmemory: a full store refuses changes")


def _durability(address: Address, info: Mapping[str, str]) -> Iterator[Finding]:
    if info.get("aof_enabled") != "1" and info.get("connected_slaves", "0") == "0":
        what = f"{address} has no append-only file and no replica: its failure loses choices and claims of absent users"
        yield Finding("note", what, "set appendonly yes, or add a replica")


def _wanted_settings(url: StoreUrl) -> Iterator[tuple[str, str, str]]:
    """Yield settings that the servers of the store should have: name, value, and what happens otherwise."""
    if url.kind == "sentinel":
        yield "min-replicas-to-write", "1", "a master that is cut off accepts changes, which are lost when it returns"
    if url.kind == "cluster":
        yield "cluster-require-full-coverage", "no", "all masters stop when one of them fails without a replica"


async def _setting(url: StoreUrl, address: Address, name: str, value: str, otherwise: str) -> list[Finding]:
    connection = await connect(address, url.access, TIMEOUT_S)  # one of its own, because a refusal closes it
    try:
        reply = await connection.call("CONFIG", "GET", name)
    except (BackendError, StoreLost):
        what = f"{name} of {address} was not checked, because the store does not allow CONFIG GET"
        return [Finding("note", what, f"make sure that it is {value}: otherwise {otherwise}")]
    finally:
        connection.close()
    found = reply[1].decode() if len(reply) > 1 else ""
    if found == value or (value.isdigit() and found.isdigit() and int(found) >= int(value)):
        return []
    return [Finding("note", f"{name} of {address} is {found or 'unknown'}: {otherwise}", f"set it to {value}")]
