"""Commands for several nodes: `cluster nodes`, `check`, `drain`, `remove`, `where`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import App, Parameter
from msgspec.structs import replace

from presenced.cli.options import ConfigFile
from presenced.config.settings import Settings
from presenced.config.sources import load
from presenced.errors import BadUserId, ConfigError, PresencedError
from presenced.presence.identity import parse_user_id
from presenced.runtime.instant import timestamp

if TYPE_CHECKING:
    from presenced.cluster.admin import Admin, UserInStore
    from presenced.cluster.backend import Member
    from presenced.cluster.records import UserRecord

T = TypeVar("T")

REPORT_S = 5.0
"""Seconds, besides the lease, in which nodes must report digests that can be compared. Live nodes do so with each
heartbeat, and a node that was killed is no longer registered by then."""

DRAIN_S = 10.0
"""Seconds within which a node must begin to stop. Then `drain` fails."""

REMOVE_S = 10.0
"""Seconds for which `remove` waits for the end of the removal. The removal continues without the command."""

POLL_S = 0.2
"""Seconds between two reads of the store while a command waits."""

STORE_SETTINGS = (
    "backend",
    "backend_password",
    "cluster_name",
    "cluster_shards",
    "cluster_lease",
    "placeholder_ids",
)
"""Settings that these commands use. They need no other secret than that of the store."""

FIRST_STAMP_MS = 1_000_000_000_000
"""Epoch milliseconds in 2001. Lower stamps are not times (`cluster.directory.RESTORED_MS`)."""


class ClusterFailure(PresencedError):
    """A command about the cluster could not do what it should, or nodes differ. The exit code is 1."""


cluster = App("cluster", help="Look at the nodes that share a store, and stop or remove one.")

NodeName = Annotated[str, Parameter(metavar="NODE", help="Name of the node, or the number of its slot.")]


@cluster.command
def nodes(*, config: ConfigFile = None) -> None:
    """Print the registered nodes.

    A node that was killed is listed until the lease has ended. Writes: the shards whose history and webhooks it writes.
    """

    async def read(admin: Admin) -> list[list[Member]]:
        return await admin.members()

    sys.stdout.writelines(f"{line}\n" for line in _table(_with_admin(config, read)))


@cluster.command
def check(*, config: ConfigFile = None) -> None:
    """Compare what all nodes know about the users. The exit code is 1 if nodes differ, or could not be compared.

    Each node reports digests of its user records with its heartbeats, so this works while users come and go.
    """
    wait_s = _settings(config).cluster_lease + REPORT_S
    sys.stdout.write(_with_admin(config, lambda admin: _check(admin, wait_s)) + "\n")


@cluster.command
def drain(node: NodeName, /, *, config: ConfigFile = None) -> None:
    """Let a node stop as after SIGTERM: its clients reconnect to the other nodes.

    A service manager may start it again.
    """

    async def request_stop(admin: Admin) -> str:
        from presenced.cluster.backend import State
        from presenced.cluster.messages import Drain

        target = _find(node, (await admin.members())[0])
        await admin.send(target.slot, Drain(target.incarnation))

        def stops(members: list[list[Member]]) -> bool:
            now = _current(target, members[0])
            return now is None or now.state in (State.LEAVING, State.DEAD)

        if not await _wait_until(admin, stops, DRAIN_S):
            raise ClusterFailure(f"node {target.name} has not begun to stop within {DRAIN_S:g} s: is it still alive?")
        return f"node {target.name} stops"

    sys.stdout.write(_with_admin(config, request_stop) + "\n")


@cluster.command
def remove(
    node: NodeName,
    /,
    *,
    yes: Annotated[bool, Parameter(help="Do not ask.")] = False,
    config: ConfigFile = None,
) -> None:
    """Declare a node dead at once, instead of after the lease. Its users who are on no other node go offline.

    Use it for a machine that is certainly gone. A node that still runs notices it, and joins again.
    """

    async def find_target(admin: Admin) -> Member:
        return _find(node, (await admin.members())[0])

    target = _with_admin(config, find_target)
    if not yes:
        _confirm(f"Declare node {target.name} (slot {target.slot}) dead, and take its users out?")

    async def declare_dead(admin: Admin) -> str:
        if _current(target, (await admin.members())[0]) is None:
            return f"node {target.name} is gone already"
        remover = await admin.declare_dead(target.slot)
        if remover is None:
            raise ClusterFailure("no other node is ready to take its users out: start one, which does so by itself")
        done = await _wait_until(admin, lambda members: _current(target, members[0]) is None, REMOVE_S)
        return f"node {target.name} " + ("is removed" if done else f"is dead, and node {remover.name} removes it")

    sys.stdout.write(_with_admin(config, declare_dead) + "\n")


@cluster.command
def where(user: Annotated[str, Parameter(metavar="USER", help="User id.")], /, *, config: ConfigFile = None) -> None:
    """Print what the store has about a user: the record, and the sessions and rooms on each node."""
    settings = _settings(config)
    try:
        user_id = parse_user_id(user, settings.placeholder_ids)
    except BadUserId as error:
        raise ConfigError(str(error)) from None

    async def read(admin: Admin) -> list[str]:
        members = await admin.members()
        found = await admin.user(user_id)
        return list(_where(user_id, found, {one.slot: one.name for one in members[found.shard]}))

    sys.stdout.writelines(f"{line}\n" for line in _with_admin(config, read))


# Parts.


def _settings(config: ConfigFile) -> Settings:
    settings = load({}, os.environ, config, STORE_SETTINGS).settings
    if not settings.backend:
        raise ConfigError(
            "there is no cluster: set PRESENCED_BACKEND, or backend in presenced.toml, to the URL of the store that "
            "the nodes share"
        )
    return settings


def _with_admin(config: ConfigFile, action: Callable[[Admin], Awaitable[T]]) -> T:
    settings = _settings(config)

    async def run() -> T:
        async with _open(settings) as admin:
            return await action(admin)

    return asyncio.run(run())


def _open(settings: Settings) -> AbstractAsyncContextManager[Admin]:
    # Imported here, because a server that is alone needs no client library of Redis.
    from presenced.cluster import NO_LIBRARY

    try:
        from presenced.cluster.admin import open_admin
    except ImportError as error:
        raise ConfigError(NO_LIBRARY) from error
    return open_admin(settings)


async def _wait_until(admin: Admin, condition: Callable[[list[list[Member]]], bool], seconds: float) -> bool:
    """Wait for a condition of the members of each shard. Return whether it holds."""
    deadline = time.monotonic() + seconds
    while not (holds := condition(await admin.members())) and time.monotonic() < deadline:  # noqa: ASYNC110 -- another process decides
        await asyncio.sleep(POLL_S)
    return holds


def _find(text: str, members: Sequence[Member]) -> Member:
    """Return the node with a name or a slot."""
    found = [one for one in members if one.name == text]
    found = found or [one for one in members if str(one.slot) == text]
    if not found:
        raise ClusterFailure(f"no node is called {text}: `presenced cluster nodes` lists them")
    if len(found) > 1:
        slots = ", ".join(str(one.slot) for one in found)
        raise ClusterFailure(f"several nodes are called {text}: name one by its slot, {slots}")
    return found[0]


def _current(node: Member, members: Sequence[Member]) -> Member | None:
    """Return what the node is now; None if it is gone, and perhaps another one has its slot."""
    return next((one for one in members if (one.slot, one.incarnation) == (node.slot, node.incarnation)), None)


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise ConfigError("add --yes: there is no terminal to ask on")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise ClusterFailure("nothing was changed")


def _table(shards: Sequence[Sequence[Member]]) -> Iterator[str]:
    """Yield the lines of `cluster nodes`."""
    from presenced.cluster.backend import State
    from presenced.cluster.members import figures_of, writer_of

    writers = [writer_of(shard, [(one, figures_of(one)) for one in members]) for shard, members in enumerate(shards)]
    rows = [("slot", "node", "state", "since", "version", "connections", "users", "lag", "writes")]
    for one in shards[0]:
        figures = figures_of(one)
        since = timestamp(figures.started_ms)[:19] + "Z" if figures.started_ms else "-"
        writes = ",".join(str(shard) for shard, writer in enumerate(writers) if writer and writer.slot == one.slot)
        if one.state in (State.LEAVING, State.DEAD):  # its figures are from before it stopped
            figures = replace(figures, connections=0, users=0)
        counts = (f"{figures.connections:,}", f"{figures.users:,}", f"{figures.lag_s:g} s")
        rows.append((str(one.slot), one.name, one.state.value, since, figures.release or "-", *counts, writes or "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


async def _check(admin: Admin, wait_s: float) -> str:
    """Compare the nodes until all have been compared, and return what to print.

    Raises:
        ClusterFailure: Nodes differ, or could not be compared.
    """
    from presenced.cluster.backend import State
    from presenced.cluster.members import figures_of
    from presenced.cluster.replica.digest import compare

    deadline = time.monotonic() + wait_s
    while True:
        missing: set[str] = set()
        count = unsettled = 0
        for shard, members in enumerate(await admin.members()):
            ready = {f"{one.name} (slot {one.slot})": figures_of(one) for one in members if one.state is State.READY}
            result = compare({name: figures.digests for name, figures in ready.items()})
            if result.differing:
                raise ClusterFailure("\n".join(_differences(shard, result.differing)))
            if len(ready) > 1:
                missing |= ready.keys() - result.compared
            count = max(count, len(ready))
            unsettled += max((figures.unsettled for figures in ready.values()), default=0)
        if not missing:
            break
        if time.monotonic() > deadline:
            raise ClusterFailure(f"not compared within {wait_s:g} s: {', '.join(sorted(missing))}")
        await asyncio.sleep(1)
    if count < 2:
        return f"{'one node is' if count else 'no nodes are'} ready: there is nothing to compare"
    note = f"; {unsettled:,} are shown as before, until it is clear what the store has lost" if unsettled else ""
    return f"{count} nodes have the same users{note}"


def _differences(shard: int, differing: dict[int, dict[str, int]]) -> Iterator[str]:
    yield f"nodes have different users in shard {shard}:"
    for n, digests in sorted(differing.items()):
        for name, digest in sorted(digests.items()):
            yield f"  {name}: digest {digest:x} at {n}"


def _where(user_id: str, found: UserInStore, names: dict[int, str]) -> Iterator[str]:
    """Yield the lines of `cluster where`."""
    from presenced.cluster.records import decode_record

    yield f"user {json.dumps(user_id, ensure_ascii=True)}, shard {found.shard}"
    if found.stored is None:
        yield "  record: none, so the user is offline"
    else:
        record = decode_record(found.stored.record)
        yield f"  record: number {found.stored.n}, version {found.stored.version}"
        yield from (f"    {line}" for line in _record(record))
    if not found.contributions:
        yield "  no node has a session of the user"
    for slot, sessions, rooms in found.contributions:
        name = names.get(slot)
        yield f"  {f'node {name}' if name else 'a node that is not registered'}, slot {slot}"
        for session in sessions:
            kind = f"session {session.tag.hex()}" if session.tag else "classic connections"
            device = f", device {json.dumps(session.device)}" if session.device else ""
            yield f"    {kind}{device}, {'active' if session.active else 'idle'}"
        for member in rooms:
            yield f"    room {json.dumps(member.room)}, since {timestamp(member.joined_ms)}"


def _record(record: UserRecord) -> Iterator[str]:
    yield f"shown as {record.view.status.value} since {timestamp(record.since_ms)}, because of {record.cause.value}"
    if record.view.details.text or record.view.details.emoji:
        yield f"text {json.dumps(' '.join(filter(None, (record.view.details.emoji, record.view.details.text))))}"
    if record.view.devices:
        yield f"devices {', '.join(map(json.dumps, record.view.devices))}"
    if record.chosen.status is not None:
        yield f"chosen {record.chosen.status.value}{_decided_at(record.chosen.stamp_ms)}"
    if record.chosen.timed is not None:
        yield f"chosen {record.chosen.timed.value} for a time{_decided_at(record.chosen.timed_stamp_ms)}"
    for claim in record.claims:
        said = f"claims {claim.status.value}" if claim.status is not None else "has cleared its claim"
        yield f"{json.dumps(claim.source)} {said}{_decided_at(claim.stamp_ms)}"
    if record.announced:
        yield f"announced{_decided_at(record.announced_stamp_ms)}"
    if record.rests_on_retained:
        yield "rests on a contribution that the store has lost"


def _decided_at(stamp_ms: int) -> str:
    """Return the time of a decision. Decisions restored from the database have stamps older than all others."""
    return f" at {timestamp(stamp_ms)}" if stamp_ms >= FIRST_STAMP_MS else ", restored from the database"
