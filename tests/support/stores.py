"""Stores of several servers: a master that sentinels watch, and a Redis Cluster. And how a test cuts a server off."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from typing import Any

import redis
from tests.support.services import Redis, RedisClusterNode, RedisReplica, RedisSentinel, find

PATIENCE_S = 30.0
"""Seconds until servers must have found each other, or replaced one."""


def soon(condition: Callable[[], object], what: str, within_s: float = PATIENCE_S) -> None:
    """Wait for a condition with a deadline, without an event loop."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


def direct(server: Redis) -> Any:
    """Return a client of redis-py for binary values. Its types name all kinds of replies."""
    return redis.Redis(port=server.port, protocol=2)


class Isolation:
    """Cuts a server off: clients that are connected stay so, or are disconnected, and new ones are refused.

    No firewall is needed, so tests do not run as root. The server refuses all connections above a limit, which is below
    the number of those that it has. The connection of this object is opened before.
    """

    def __init__(self, server: Redis) -> None:
        self._control = direct(server)
        self._control.ping()

    def clients(self) -> set[int]:
        """Return the ids of the connections, without the one of this object."""
        found = {int(one["id"]) for one in self._control.client_list()}
        return found - {int(self._control.client_id())}

    def begin(self, keeping: set[int]) -> None:
        """Refuse new connections, and break all but these and the one of this object."""
        self._control.config_set("maxclients", 1)
        for one in self.clients() - keeping:
            with contextlib.suppress(redis.ResponseError):  # it has ended meanwhile
                self._control.client_kill_filter(_id=str(one))

    def lose_replicas(self) -> None:
        """Break the connections of replicas, which cannot come back. All others stay. Data written now is lost."""
        self._control.config_set("maxclients", 1)
        self._control.client_kill_filter(_type="replica")

    def end(self) -> None:
        """Accept connections again."""
        self._control.config_set("maxclients", 10_000)

    def close(self) -> None:
        """Close the connection of this object."""
        self._control.close()


class SentinelStore:
    """A master, its replica, and three sentinels. A master counts as down after a second."""

    def __init__(self, running: contextlib.ExitStack) -> None:
        self.master = running.enter_context(Redis())
        self.replica = running.enter_context(RedisReplica(self.master))
        self.sentinels = [running.enter_context(RedisSentinel(self.master, 2)) for _ in range(3)]
        servers = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        self.url = f"redis+sentinel://{servers}/mymaster"
        soon(self._is_complete, "the sentinels find each other")
        self.isolation = Isolation(self.master)
        running.callback(self.isolation.close)

    def _is_complete(self) -> bool:
        are_known = all("slaves=1,sentinels=3" in one.cli("INFO", "sentinel") for one in self.sentinels)
        return are_known and "master_link_status:up" in self.replica.cli("INFO", "replication")

    def replicate(self) -> None:
        """Wait until the replica has everything that is in the master now."""
        offset = int(direct(self.master).info("replication")["master_repl_offset"])
        soon(
            lambda: int(direct(self.replica).info("replication")["slave_repl_offset"]) >= offset, "the replica has all"
        )

    @property
    def has_failed_over(self) -> bool:
        """Whether the replica is the master."""
        return _role(self.replica) == "master"

    @property
    def is_old_replica(self) -> bool:
        """Whether the first master replicates another one."""
        return _role(self.master) == "slave"


def _role(server: Redis) -> str:
    """Return the role of a server; empty if it ends the connection, as it does when sentinels change the role."""
    try:
        return server.cli("ROLE").partition("\n")[0]
    except subprocess.CalledProcessError:
        return ""


class ClusterStore:
    """Three masters of a Redis Cluster.

    Args:
        has_replica: Whether the last master has a replica.
    """

    def __init__(self, running: contextlib.ExitStack, has_replica: bool = False) -> None:
        self.masters = [running.enter_context(RedisClusterNode()) for _ in range(3)]
        places = [f"127.0.0.1:{server.port}" for server in self.masters]
        create = [find("redis-cli"), "--cluster", "create", *places, "--cluster-yes"]
        subprocess.run(create, check=True, capture_output=True)
        soon(self.is_complete, "the cluster is complete")
        self.url = "redis+cluster://" + ",".join(places[:2])
        self.replica: RedisClusterNode | None = None
        if has_replica:
            self.replica = running.enter_context(RedisClusterNode())
            self._replicate(self.replica)

    def is_complete(self) -> bool:
        """Return whether all masters serve, and all know that."""
        return all("cluster_state:ok" in one.cli("CLUSTER", "INFO") for one in self.masters)

    def _replicate(self, replica: RedisClusterNode) -> None:
        first, last = self.masters[0], self.masters[-1]
        replica.cli("CLUSTER", "MEET", "127.0.0.1", str(first.port), str(first.bus_port))
        master_id = last.cli("CLUSTER", "MYID")
        soon(lambda: master_id in replica.cli("CLUSTER", "NODES"), "the replica knows its master")
        soon(lambda: replica.cli("CLUSTER", "REPLICATE", master_id) == "OK", "the replica replicates")
        soon(lambda: "master_link_status:up" in replica.cli("INFO", "replication"), "the replica is in order")
        own = replica.cli("CLUSTER", "MYID")
        soon(lambda: all(own in one.cli("CLUSTER", "NODES") for one in self.masters), "all know the replica")
