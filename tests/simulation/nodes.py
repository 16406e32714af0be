"""Several real nodes that share a store in memory: random clients, backends and faults, derived from one seed.

A world has rounds. In each, users come and go, choose statuses, join rooms and set data on several nodes, and backends
set claims and announcements. Meanwhile nodes are killed, started, slowed down and cut off, and the store is away, fails
over without its last writes, or is emptied. Then everything is repaired. After the calm, every node and every client
shows the truth, which the world knows from the actions alone: the last decision counts.

`STEADY` is connected to a node that is neither killed nor cut off. No client ever receives that this user is offline.

Two limits of what is promised: a node that is killed takes with it what it has not committed, so it has time to do
that. And a record with nothing in it is deleted, so a node that was cut off may bring back what was cleared meanwhile:
choices and claims are replaced here, and not cleared.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.support.cluster_harness import LEASE_S, ClusterNode
from tests.support.v1_replica import V1Replica

from presenced.cluster.memory.hub import MemoryHub
from presenced.errors import Close
from presenced.presence.model import Ending, Status, StatusDetails
from presenced.presence.status import Claim
from presenced.testing import FakeClock

STEADY = "steady"
"""User who is connected to the first node throughout."""

USERS = ("ada", "bob", "carl", "dora", "eve", STEADY)
ROOMS = ("lobby", "hall")
CHOICES = ("online", "away", "busy", "invisible")
SOURCES = {"calendar": 10, "phone": 20, "tool": -5}
"""Sources of claims with their priorities: no two are equal, so the highest one decides."""

ACTIONS = 150
"""Actions in one round."""

TO_COMMIT_S = 10.0
"""Seconds in which a node whose store is in reach commits everything that was decided on it, even if it joins again."""

CALM_S = 5 * LEASE_S
"""Seconds of calm: a lease until a dead node is removed, and one more for each time that a user stays unsettled."""


class Choice(NamedTuple):
    """A choice that counts until the next one."""

    status: str = "auto"
    text: str = ""


class SimulatedClient:
    """One client instance. It watches everyone, and is gone with its node."""

    def __init__(self, node: ClusterNode, user_id: str, device: str) -> None:
        self.node = node
        self.user_id = user_id
        self.device = device
        self.rooms: dict[str, Any] = {}
        """Data of the rooms that it is in."""
        self.connection = node.open(f"userId={user_id}&device={device}")
        self.replica = V1Replica()
        self._taken = 0

    @property
    def is_open(self) -> bool:
        """Whether its connection is open."""
        return self.connection.closed_with is None

    @property
    def reads(self) -> bool:
        """Whether it reads what the server sends."""
        return not self.connection.paused

    def send(self, type_: str, **fields: object) -> None:
        """Send a request."""
        self.node.send(self.connection, type_, **fields)

    def pause(self) -> None:
        """Read nothing for a while."""
        self.connection.paused = True
        self.node.node.paused(self.connection)

    def resume(self) -> None:
        """Read again."""
        if self.is_open and not self.reads:
            self.connection.paused = False
            self.node.node.resumed(self.connection)

    def read(self) -> None:
        """Apply what has arrived."""
        for message in self.connection.messages[self._taken :]:
            self._check(message)
            self.replica.take(message)
        self._taken = len(self.connection.messages)

    def _check(self, message: dict[str, Any]) -> None:
        for record in message.get("users", ()):
            is_steady = record["userId"] == STEADY and self.user_id != STEADY
            assert not (is_steady and record["status"] == "offline"), f"{self.user_id} is told that {STEADY} is gone"


class NodeWorld:
    """Nodes, clients and a store.

    Args:
        seed: A seed always produces the same world.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        random.seed(seed)  # nodes propose random slots
        pick = self.random.choice
        self.clock = FakeClock()
        self.hub = MemoryHub(
            self.clock, shards=pick([1, 1, 3]), log_items=pick([20, 200_000]), page_size=pick([2, 1000])
        )
        self._settings: dict[str, Any] = {
            "log_size": pick([5, 50, 5000]),
            "snapshot_page": pick([2, 500]),
            "status_pause": 0,
            "grace_lost": pick([0, 2]),
            "request_rate": 1000,
            "request_burst": 1000,
            "heartbeat_interval": 3600,
            "pong_timeout": 3600,
        }
        self.trace: list[str] = []
        self._started = 0
        self.nodes: list[ClusterNode] = []
        for _ in range(3):
            self._start()
        self.clock.advance(1)
        self.clients: list[SimulatedClient] = [SimulatedClient(self.nodes[0], STEADY, "tv")]
        self.choices: dict[str, Choice] = {}
        self.claims: dict[str, dict[str, Status]] = {}
        self.announced: set[str] = set()

    def run(self, rounds: int = 2) -> None:
        """Run the world.

        Raises:
            AssertionError: Something does not hold.
        """
        for _ in range(rounds):
            for _ in range(ACTIONS):
                action, weight = self.random.choice(ALL_ACTIONS)
                if self.random.random() < weight:
                    action(self)
                self.clock.advance(self.random.choice([0.002, 0.03, 0.2, 1.0]))
            self._repair()
            self.clock.advance(CALM_S)
            self.check()

    def log(self, *event: object) -> None:
        """Note what happens."""
        self.trace.append(f"{self.clock.monotonic():.3f} {' '.join(map(str, event))}")

    # Users and backends.

    def come(self) -> None:
        """A client connects to a node, if its user has few."""
        node, user_id = self._ready_node(), self.random.choice(USERS[:-1])
        device = self.random.choice(["web", "phone"])
        if node is None or sum(client.user_id == user_id for client in self.clients) >= 3:
            return
        self.log("come", user_id, device, node.name)
        self.clients.append(SimulatedClient(node, user_id, device))

    def go(self) -> None:
        """A client leaves, or loses its connection for longer than the grace period."""
        if (client := self._client()) is not None:
            ending = self.random.choice([Ending.CLOSED, Ending.LOST])
            self.log("go", client.user_id, client.device, client.node.name, ending)
            client.node.end(client.connection, ending)
            self.clients.remove(client)

    def choose(self) -> None:
        """A client chooses a status."""
        if (client := self._client()) is not None and client.reads:
            status = self.random.choice(CHOICES)
            text = self.random.choice(["", "lunch", "train"])
            self.log("choose", client.user_id, status, text, client.node.name)
            self.choices[client.user_id] = Choice(status, text)
            client.send("SET_STATUS", id=1, status=status, text=text)

    def choose_for(self) -> None:
        """A backend of some node sets a claim about a user, who may be absent."""
        node, user_id = self._ready_node(), self.random.choice(USERS[:-1])
        source = self.random.choice(list(SOURCES))
        if node is None:
            return
        status = self.random.choice([Status.BUSY, Status.AWAY, Status.ONLINE])
        self.log("claim", source, user_id, status, node.name)
        node.service.set_claim(user_id, Claim(source, status, StatusDetails(source), SOURCES[source]))
        self.claims.setdefault(user_id, {})[source] = status

    def join(self) -> None:
        """A client joins a room, or sets other data there."""
        if (client := self._client()) is not None and client.reads:
            room, data = self.random.choice(ROOMS), self.random.choice([None, 1, {"seat": 2}])
            self.log("join", client.user_id, client.device, room, data, client.node.name)
            client.send("JOIN", id=1, room=room, data=data)
            client.rooms[room] = data

    def leave(self) -> None:
        """A client leaves a room."""
        if (client := self._client()) is not None and client.reads and client.rooms:
            room = self.random.choice(list(client.rooms))
            self.log("leave", client.user_id, client.device, room, client.node.name)
            client.send("LEAVE", id=1, room=room)
            del client.rooms[room]

    def pause_or_resume(self) -> None:
        """A client stops reading for a while, or reads again."""
        if (client := self._client()) is not None:
            (client.pause if client.reads else client.resume)()

    # Faults.

    def kill(self) -> None:
        """A node ends without a word, when it has committed what was decided on it."""
        node = self.random.choice(self.nodes[1:]) if len(self.nodes) > 2 else None
        if node is None:
            return
        self.hub.is_reachable, self.hub.out_of_memory = True, False
        self.hub.heal(node.name)
        self.clock.advance(TO_COMMIT_S)
        self.log("kill", node.name)
        node.kill()
        self.nodes.remove(node)
        self.clients = [client for client in self.clients if client.node is not node]

    def start(self) -> None:
        """Another node starts."""
        if len(self.nodes) < 4:
            self._start()

    def cut(self) -> None:
        """A node loses the store, or reaches it again."""
        node = self.random.choice(self.nodes[1:])
        if node.backend.is_cut:
            self.hub.heal(node.name)
        else:
            self.hub.cut(node.name)
        self.log("cut" if node.backend.is_cut else "heal", node.name)

    def slow_down(self) -> None:
        """A node is further from the store, or nearer."""
        self.hub.set_delay(self.random.choice(self.nodes).name, self.random.choice([0, 0.001, 0.02, 0.3]))

    def lose_store(self) -> None:
        """All nodes lose the store, or reach it again."""
        self.hub.is_reachable = not self.hub.is_reachable
        self.log("store", self.hub.is_reachable)

    def fail_over(self) -> None:
        """The store fails over, perhaps without its last writes."""
        lost = self.random.choice([0, 1, 3])
        self.log("fail over", lost)
        self.hub.fail_over(lost)

    def fill(self) -> None:
        """The store runs out of memory for commits, or has some again."""
        self.hub.out_of_memory = not self.hub.out_of_memory
        self.log("full", self.hub.out_of_memory)

    def flush(self) -> None:
        """The store is emptied, while all nodes know what was in it."""
        self.hub.is_reachable, self.hub.out_of_memory = True, False
        for node in self.nodes:
            self.hub.heal(node.name)
        self.clock.advance(TO_COMMIT_S)
        self.log("flush")
        self.hub.flush()

    def _repair(self) -> None:
        self.log("calm")
        self.hub.is_reachable, self.hub.out_of_memory = True, False
        for node in self.nodes:
            self.hub.heal(node.name)
        for client in self.clients:
            client.resume()

    # Invariants.

    def check(self) -> None:
        """Check that all nodes and all clients show the truth."""
        self.clients = [client for client in self.clients if self._still_there(client)]
        for client in self.clients:
            client.read()
        truth = {user_id: self.truth(user_id) for user_id in USERS}
        for node in self.nodes:
            assert not node.cluster.stale_since_ms, f"{node.name} is certain"
            shown = {user_id: _shown(node, user_id) for user_id in USERS}
            assert shown == truth, f"{node.name} shows the truth"
        versions = [
            {change.user_id: change.version for change in node.node.directory.users.snapshot()} for node in self.nodes
        ]
        assert all(found == versions[0] for found in versions), f"all nodes have the same versions: {versions}"
        for room in ROOMS:
            self._check_room(room)
        for client in self.clients:
            name = f"{client.user_id} on {client.node.name}"
            assert not client.replica.stale, name
            marked = [user_id for user_id, record in client.replica.records.items() if "certainty" in record]
            assert marked == [], f"{name} knows everyone"
            views = {user_id: _view(client.replica.seen(user_id)) for user_id in USERS}
            assert views == truth, f"{name} shows the truth"

    def truth(self, user_id: str) -> tuple[str, str]:
        """Return status and text that others see, derived from the actions alone."""
        if not any(client.user_id == user_id for client in self.clients):
            return "offline", ""
        choice = self.choices.get(user_id, Choice())
        if choice.status == "invisible":
            return "offline", ""
        claims = sorted(self.claims.get(user_id, {}).items(), key=lambda item: -SOURCES[item[0]])
        source, status = claims[0] if claims else ("", Status.ONLINE)
        if claims and SOURCES[source] > 0:
            return status, source
        if choice.status != "auto":
            return choice.status, choice.text
        return status, choice.text or source

    def _check_room(self, name: str) -> None:
        expected: dict[str, list[Any]] = {}
        for client in self.clients:
            if name in client.rooms and self.truth(client.user_id)[0] != "offline":
                expected.setdefault(client.user_id, []).append(client.rooms[name])
        found = []
        for node in self.nodes:
            room = node.node.rooms.get(name)
            members = room.members if room else {}
            found.append({user_id: member.data for user_id, member in members.items()})
            assert members.keys() == expected.keys(), f"{node.name} shows in {name}: {[*members]}, not {[*expected]}"
        assert all(members == found[0] for members in found), f"all nodes show the same members of {name}: {found}"
        for client in self.clients:
            if name in client.rooms and name in client.replica.rooms:
                shown = client.replica.rooms[name]
                assert shown.keys() == expected.keys(), (
                    f"{client.user_id} sees in {name}: {[*shown]}, not {[*expected]}"
                )
                assert all(shown[user_id] in expected[user_id] for user_id in shown), f"{client.user_id}: {shown}"

    def _still_there(self, client: SimulatedClient) -> bool:
        if not client.is_open:
            close = client.connection.closed_with
            assert close is not None
            assert close[0] is Close.FELL_BEHIND, f"{client.user_id} was closed: {close}"
        return client.is_open

    # Parts.

    def _start(self) -> None:
        self._started += 1
        node = ClusterNode(f"n{self._started}", self.hub, self.clock, **self._settings)
        self.nodes.append(node)
        self.log("start", node.name)

    def _ready_node(self) -> ClusterNode | None:
        ready = [node for node in self.nodes if node.cluster.is_ready]
        return self.random.choice(ready) if ready else None

    def _client(self) -> SimulatedClient | None:
        self.clients = [client for client in self.clients if self._still_there(client)]
        others = [client for client in self.clients if client.user_id != STEADY]
        return self.random.choice(others) if others else None


ALL_ACTIONS: list[tuple[Callable[[NodeWorld], None], float]] = [
    (NodeWorld.come, 1),
    (NodeWorld.come, 1),
    (NodeWorld.go, 0.7),
    (NodeWorld.choose, 1),
    (NodeWorld.choose_for, 1),
    (NodeWorld.join, 1),
    (NodeWorld.leave, 0.5),
    (NodeWorld.pause_or_resume, 0.5),
    (NodeWorld.kill, 0.15),
    (NodeWorld.start, 0.3),
    (NodeWorld.cut, 0.4),
    (NodeWorld.slow_down, 0.5),
    (NodeWorld.lose_store, 0.2),
    (NodeWorld.fail_over, 0.2),
    (NodeWorld.fill, 0.5),
    (NodeWorld.flush, 0.05),
]
"""Actions with the probability that one which was picked happens."""


def _shown(node: ClusterNode, user_id: str) -> tuple[str, str]:
    [change] = node.node.directory.users.changes_of([user_id])
    return (change.status.value, change.view.details.text) if change else ("offline", "")


def _view(record: dict[str, Any]) -> tuple[str, str]:
    return record["status"], record.get("text", "")


def simulate(seed: int, seconds: float) -> int:
    """Run worlds with this and the following seeds for `seconds`. Return their number."""
    ends, count = time.monotonic() + seconds, 0
    while count == 0 or time.monotonic() < ends:
        world = NodeWorld(seed + count)
        try:
            world.run()
        except BaseException:
            last = "\n".join(world.trace[-40:])
            sys.stderr.write(f"{last}\npython -m tests.simulation.nodes --seed {seed + count} --minutes 0 repeats it\n")
            raise
        count += 1
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Simulate several nodes with a store that fails.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1)
    arguments = parser.parse_args()
    done = simulate(arguments.seed, arguments.minutes * 60)
    sys.stdout.write(f"{done} worlds from seed {arguments.seed}: all views equal the truth\n")
