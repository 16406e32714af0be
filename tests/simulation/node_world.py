"""Several real nodes that share a store in memory: random clients, backends and faults, derived from one seed.

A world has rounds. In each, users come and go, move between nodes, choose statuses, join rooms and set data, and
backends set and clear claims and announcements, on any node. Meanwhile nodes are killed, stopped, started, frozen,
slowed down and cut off, replies are lost, and the store is away, is frozen, fails over without its last writes, or is
emptied. Then everything is repaired. After the calm, every node and every client shows the truth, which the world knows
from the actions alone: whatever was decided last counts. So does the database, if there is one.

`STEADY` is connected to a node that is neither killed nor cut off. No client is ever told that this user is offline.

Limits of what is promised: a node that is killed or stopped takes with it what it has not committed, so it has time to
do that. A node that has just lost the store, and has not noticed it, does not know what it lacks: nothing is cleared on
it for that time. And a node that starts on a store that has just been emptied knows nobody, so none starts then.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest.mock import patch

from tests.simulation.node_clients import STEADY, NodeClock, SimulatedClient, SimulatedNode
from tests.support.cluster_harness import LEASE_S
from tests.support.cluster_storage import FakeClusterWorker, FakeDatabase

from presenced.cluster.memory.hub import MemoryHub
from presenced.cluster.replica import replica
from presenced.cluster.replica.digest import compare
from presenced.presence.model import Choice, Ending, Status, StatusDetails
from presenced.presence.status import Claim
from presenced.testing import FakeClock

USERS = ("ada", "bob", "carl", "dora", "eve", STEADY)
ROOMS = ("lobby", "hall")
CHOICES = ("online", "away", "busy", "invisible", "auto")
SOURCES = {"calendar": 10, "phone": 20, "tool": -5}
"""Sources of claims with their priorities: no two are equal, so the highest one decides."""

ACTIONS = 150
"""Actions in one round."""

TO_COMMIT_S = 60
"""Seconds in which a node whose store is in reach commits everything that was decided on it: a lease if it was dead."""

TO_NOTICE_S = 5.0
"""Seconds in which a node notices that it has lost the store."""

CALM_S = 5 * LEASE_S
"""Seconds of calm: a lease until a dead node is removed, and one more for each time that a user stays unsettled."""


View = tuple[str, str, tuple[str, ...]]
"""Status, text and devices of a user, as others see them."""

OFFLINE: View = "offline", "", ()


class Chosen(NamedTuple):
    """A choice that counts until the next one."""

    status: str = "auto"
    text: str = ""


class NodeWorld:
    """Nodes, clients and a store.

    Args:
        seed: A seed always produces the same world.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._users_per_turn = 2 if seed % 2 else 1000
        random.seed(seed)  # nodes propose random slots
        pick = self.random.choice
        self.clock = FakeClock()
        self.hub = MemoryHub(
            self.clock, shards=pick([1, 1, 3]), log_items=pick([20, 200_000]), page_size=pick([2, 1000])
        )
        self.database = FakeDatabase() if pick([True, False]) else None
        self._settings: dict[str, Any] = {
            "log_size": pick([5, 50, 5000]),
            "snapshot_page": pick([2, 500]),
            "status_pause": 0,
            "grace_lost": pick([0, 4]),
            "resume_window": 60,
            "request_rate": 1000,
            "request_burst": 1000,
            "heartbeat_interval": 3600,
            "pong_timeout": 3600,
        }
        self.trace: list[str] = []
        self._started = 0
        self._cut_at: dict[str, float] = {}
        self._is_flushed = False
        self._epochs: set[tuple[int, str]] = set()
        self.nodes: list[SimulatedNode] = []
        for _ in range(3):
            self._start()
        self.clock.advance(10)
        self.clients: list[SimulatedClient] = [SimulatedClient(self.nodes[0], STEADY, "tv")]
        self.choices: dict[str, Chosen] = {}
        self.claims: dict[str, dict[str, Status]] = {}
        self.announced: set[str] = set()
        self._advance(5)  # until all nodes know `STEADY`

    def run(self, rounds: int = 2) -> None:
        """Run the world.

        Raises:
            AssertionError: Something does not hold.
        """
        with patch.object(replica, "USERS_PER_TURN", self._users_per_turn):
            self._run(rounds)

    def _run(self, rounds: int) -> None:
        for _ in range(rounds):
            for _ in range(ACTIONS):
                action, weight = self.random.choice(ALL_ACTIONS)
                if self.random.random() < weight:
                    action(self)
                self._advance(self.random.choice([0.002, 0.03, 0.2, 1.0]))
            self._repair()
            for _ in range(20):
                self._advance(0.25)  # clients return, and join their rooms
            self._come_together()
            self._advance(CALM_S)
            self.check()

    def log(self, *event: object) -> None:
        """Record what happens."""
        self.trace.append(f"{self.clock.monotonic():.3f} {' '.join(map(str, event))}")

    def _advance(self, seconds: float) -> None:
        """Let time pass. Then clients read, and those who are due reconnect."""
        self.clock.advance(seconds)
        self._epochs |= {(index, shard.head.epoch) for index, shard in enumerate(self.hub.shards) if shard.head}
        for client in list(self.clients):
            if client.returns_at is not None and client.returns_at <= self.clock.monotonic():
                if (node := self._ready_node(client)) is not None:
                    self.log("return", client.user_id, client.device, node.name)
                    client.come_back(node)
            elif client.returns_at is None:
                client.read()
                self._see_whether_closed(client)

    # Users and backends.

    def come(self) -> None:
        """A client connects to a node, if its user has few."""
        node, user_id = self._ready_node(), self.random.choice(USERS[:-1])
        device = self.random.choice(["web", "phone"])
        if node is None or sum(client.user_id == user_id for client in self.clients) >= 3:
            return
        self.log("come", user_id, device, node.name)
        self.clients.append(SimulatedClient(node, user_id, device, self.random.choice([(), USERS])))

    def _come_together(self) -> None:
        """Users connect to several nodes at the same moment, and nothing happens to them afterwards."""
        ready = [node for node in self.nodes if node.takes_connections]
        for user_id in self.random.sample(USERS[:-1], 2):
            for node, device in zip(ready, ("web", "phone", "watch"), strict=False):
                self.log("come", user_id, device, node.name)
                self.clients.append(SimulatedClient(node, user_id, device))

    def go(self) -> None:
        """A client leaves, or loses its connection for longer than the grace period."""
        client = self._client()
        if client is not None and client.is_open and not client.node.is_frozen:
            ending = self.random.choice([Ending.CLOSED, Ending.LOST])
            self.log("go", client.user_id, client.device, client.node.name, ending)
            client.node.end(client.connection, ending)
            self.clients.remove(client)

    def move(self) -> None:
        """A client loses its connection, and reconnects soon, perhaps to another node."""
        client = self._client()
        if client is not None and client.is_open and not client.node.is_frozen:
            is_noticed = self.random.random() < 0.7
            self.log("lose", client.user_id, client.device, client.node.name, is_noticed)
            client.lose(self.clock.monotonic() + self.random.choice([0.0, 0.3, 2.0]), self.clock, is_noticed)

    def choose(self) -> None:
        """A client chooses a status, or leaves it to the server again."""
        client = self._client()
        if client is None or not client.can_send:
            return
        status = self.random.choice(CHOICES)
        if status == "auto" and not self._may_clear(client.node):
            return
        text = self.random.choice(["", "lunch", "train"])
        self.log("choose", client.user_id, status, text, client.node.name)
        self.choices[client.user_id] = Chosen(status, text)
        client.send("SET_STATUS", id=1, status=status, text=text)

    def choose_for_a_while(self) -> None:
        """A backend chooses a status that ends before the calm does."""
        node, user_id = self._ready_node(), self.random.choice(USERS[:-1])
        if node is not None:
            self.log("choose for a while", user_id, node.name)
            node.service.set_status(user_id, Choice(Status.BUSY), self.random.choice([1.0, 10.0, 30.0]))

    def claim(self) -> None:
        """A backend sets a claim about a user, who may be absent, on some node."""
        node, user_id = self._ready_node(), self.random.choice(USERS[:-1])
        source, status = (
            self.random.choice(list(SOURCES)),
            self.random.choice([Status.BUSY, Status.AWAY, Status.ONLINE]),
        )
        if node is None:
            return
        lasts = self.random.choice([0, 0, 20])
        self.log("claim", source, user_id, status, lasts, node.name)
        now = self.clock.now()
        until_ms = now.epoch_ms + lasts * 1000 if lasts else 0
        custom = StatusDetails(source, until_ms=until_ms)
        ends = now.monotonic + lasts if lasts else float("inf")
        node.service.set_claim(user_id, Claim(source, status, custom, SOURCES[source], ends=ends))
        claims = self.claims.setdefault(user_id, {})
        claims.pop(source, None)
        if not lasts:
            claims[source] = status

    def clear_claim(self) -> None:
        """A backend clears a claim on some node that knows it."""
        node, user_id = self._ready_node(), self.random.choice(USERS[:-1])
        source = self.random.choice(list(SOURCES))
        if node is not None and self._may_clear(node) and node.service.clear_claim(user_id, source):
            self.log("clear claim", source, user_id, node.name)
            self.claims.get(user_id, {}).pop(source, None)

    def announce(self) -> None:
        """A backend announces a user, or withdraws that, on some node."""
        node, user_id = self._ready_node(), self.random.choice(USERS[:-1])
        online = self.random.random() < 0.4
        user = node.node.directory.users.user(user_id) if node is not None else None
        if node is None or (not online and not self._may_clear(node)):
            return
        if not online and not (user and user.announced) and not node.cluster.is_local:
            return  # a withdrawal that changes nothing is no decision
        self.log("announce" if online else "withdraw", user_id, node.name)
        node.service.announce(user_id, online)
        (self.announced.add if online else self.announced.discard)(user_id)

    def join(self) -> None:
        """A client joins a room, or sets other data there."""
        if (client := self._client()) is not None and client.can_send:
            room, data = self.random.choice(ROOMS), self.random.choice([None, 1, {"seat": 2}])
            self.log("join", client.user_id, client.device, room, data, client.node.name)
            client.send("JOIN", id=1, room=room, data=data)
            client.rooms[room] = data

    def leave(self) -> None:
        """A client leaves a room."""
        if (client := self._client()) is not None and client.can_send and client.rooms:
            room = self.random.choice(list(client.rooms))
            self.log("leave", client.user_id, client.device, room, client.node.name)
            client.send("LEAVE", id=1, room=room)
            del client.rooms[room]

    def pause_or_resume(self) -> None:
        """A client stops reading for a while, or reads again."""
        client = self._client()
        if client is not None and client.can_send:
            client.pause()
        elif client is not None and client.is_open and not client.node.is_frozen:
            client.resume()

    # Faults of nodes.

    def kill(self) -> None:
        """A node ends without a word, when it has committed what was decided on it."""
        if (node := self._expendable_node()) is None:
            return
        self._let_commit([node])
        self.log("kill", node.name)
        node.kill()
        self._lose_clients(node)

    def drain(self) -> None:
        """A node is stopped, as SIGTERM does, when it has committed what was decided on it."""
        if (node := self._expendable_node()) is None:
            return
        self._let_commit([node])
        if not node.takes_connections:
            return
        self.log("drain", node.name)
        node.cluster.leave(node.node.return_spread + node.node.settings.grace_lost)
        for wait in node.node.drain():
            self._advance(wait)
        self._advance(self.random.choice([0.0, 0.05, 0.5]))
        node.kill()
        self._lose_clients(node)

    def start(self) -> None:
        """Another node starts, unless the store is empty because the others have not written again what it has lost."""
        if self._is_flushed and not all(self._has_written_again(node) for node in self.nodes):
            return
        self._is_flushed = False
        if len(self.nodes) < 4:
            self._start()

    def cut(self) -> None:
        """A node loses the store, or reaches it again."""
        node = self.random.choice(self.nodes[1:])
        if node.backend.is_cut:
            self.hub.heal(node.name)
        else:
            self.hub.cut(node.name)
            self._cut_at[node.name] = self.clock.monotonic()
        self.log("cut" if node.backend.is_cut else "heal", node.name)

    def freeze(self) -> None:
        """A node is frozen, or thawed."""
        node = self.random.choice(self.nodes[1:])
        (node.thaw if node.is_frozen else node.freeze)()
        self.log("freeze" if node.is_frozen else "thaw", node.name)

    def slow_down(self) -> None:
        """A node is further from the store, or nearer."""
        self.hub.set_delay(self.random.choice(self.nodes).name, self.random.choice([0, 0.001, 0.02, 0.3]))

    def lose_messages(self) -> None:
        """The next commits of a node, or their replies, are lost."""
        name = self.random.choice(self.nodes[1:]).name
        self.random.choice([self.hub.lose_requests, self.hub.lose_replies])(name, self.random.choice([1, 3]))
        self.log("lose messages", name)

    # Faults of the store.

    def lose_store(self) -> None:
        """All nodes lose the store, or reach it again."""
        self.hub.is_reachable = not self.hub.is_reachable
        if not self.hub.is_reachable:
            self._cut_at["store"] = self.clock.monotonic()
        self.log("store", self.hub.is_reachable)

    def freeze_store(self) -> None:
        """The store is frozen, and later executes what has arrived."""
        self.log("freeze store")
        self._cut_at["store"] = self.clock.monotonic()
        self.hub.freeze()
        self._advance(self.random.choice([0.3, 2.0, 8.0]))
        self.hub.thaw()
        self.log("thaw store")

    def fail_over(self) -> None:
        """The store fails over, perhaps without its last writes."""
        lost = self.random.choice([0, 1, 3, 10])
        self.log("fail over", lost)
        self.hub.fail_over(lost)

    def flush(self) -> None:
        """The store is emptied, while all nodes know what was in it."""
        self._let_commit(self.nodes)
        self.log("flush")
        self.hub.flush()
        self._is_flushed = True

    def _let_commit(self, nodes: list[SimulatedNode]) -> None:
        """Wait until these nodes have committed everything."""
        self.hub.is_reachable = True
        for node in nodes:
            self.hub.heal(node.name)
            if node.is_frozen:
                node.thaw()
        self._advance(1)
        for _ in range(TO_COMMIT_S):
            self._advance(1)
            if all(node.has_committed(USERS) for node in nodes):
                return
        raise AssertionError(f"{[node.name for node in nodes]} have committed everything")

    def _lose_clients(self, node: SimulatedNode) -> None:
        """Have the clients of a node that is gone reconnect, or leave."""
        self.nodes.remove(node)
        for client in [client for client in self.clients if client.node is node]:
            if self.random.random() < 0.3:
                self.clients.remove(client)
            elif client.returns_at is None:
                client.returns_at = self.clock.monotonic() + self.random.choice([0.0, 0.3, 2.0])

    def _repair(self) -> None:
        self.log("calm")
        self.hub.is_reachable = True
        for node in self.nodes:
            self.hub.heal(node.name)
            if node.is_frozen:
                node.thaw()
        for client in self.clients:
            client.resume()

    # What must hold.

    def check(self) -> None:
        """Check that all nodes, all clients and the database show the truth."""
        self._advance(0)
        truth = {user_id: self.truth(user_id) for user_id in USERS}
        for node in self.nodes:
            assert not node.cluster.stale_since_ms, f"{node.name} is certain"
            shown = {user_id: _shown(node, user_id) for user_id in USERS}
            assert shown == truth, f"{node.name} shows the truth: {shown}, not {truth}"
        self._check_versions()
        for room in ROOMS:
            self._check_room(room)
        for client in self.clients:
            assert client.is_open, f"{client.name} is connected: {client.connection.closed_with}"
            assert not client.replica.stale, client.name
            marked = [user_id for user_id, record in client.replica.records.items() if "certainty" in record]
            assert marked == [], f"{client.name} knows everyone"
            views = {user_id: _view(client.replica.seen(user_id)) for user_id in USERS}
            assert views == truth, f"{client.name} shows the truth: {views}, not {truth}"
        self._check_database(truth)

    def truth(self, user_id: str) -> View:
        """Return what others see, derived from the actions alone."""
        devices = tuple(sorted({client.device for client in self.clients if client.user_id == user_id}))
        status, text = self._status(user_id, bool(devices))
        return status, text, () if status == "offline" else devices

    def _status(self, user_id: str, is_connected: bool) -> tuple[str, str]:
        if not is_connected and user_id not in self.announced:
            return "offline", ""
        choice = self.choices.get(user_id, Chosen())
        if choice.status == "invisible":
            return "offline", ""
        claims = sorted(self.claims.get(user_id, {}).items(), key=lambda item: -SOURCES[item[0]])
        source, status = claims[0] if claims else ("", Status.ONLINE)
        if claims and SOURCES[source] > 0:
            return status, source
        if choice.status != "auto":
            return choice.status, choice.text
        return status, choice.text or source

    def _check_versions(self) -> None:
        versions = [
            {change.user_id: change.version for change in node.node.directory.users.snapshot()} for node in self.nodes
        ]
        assert all(found == versions[0] for found in versions), f"all nodes have the same versions: {versions}"
        reports = [
            {node.name: node.cluster.shards[index].replica.digests() for node in self.nodes} for index in self._indexes
        ]
        assert all(not compare(report).differing for report in reports), f"all nodes have the same records: {reports}"
        digests = [_digest(node) for node in self.nodes]
        assert len(set(digests)) == 1, f"followers of all nodes compute the same digest: {digests}"

    @property
    def _indexes(self) -> range:
        return range(len(self.hub.shards))

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
                assert shown.keys() == expected.keys(), f"{client.name} sees in {name}: {[*shown]}, not {[*expected]}"
                assert all(shown[user_id] in expected[user_id] for user_id in shown), f"{client.name}: {shown}"

    def _check_database(self, truth: dict[str, View]) -> None:
        """Check what the designated writers have stored: the truth, and each user's history in order."""
        if self.database is None:
            return
        for user_id in USERS:
            stored = self.database.users.get(user_id)
            status = str(stored.status) if stored is not None else "offline"
            # If the log did not reach back, the worker marks absent users as offline later, which this database lacks.
            is_due = truth[user_id][0] == "offline" and any(message.users for message in self.database.absence_checks)
            assert is_due or status == truth[user_id][0], f"the database shows {user_id} as {status}, not {truth}"
            versions = [version for _, version in self.database.history(user_id)]
            if len(self._epochs) > len(self.hub.shards):
                continue  # a node that had just started has begun a new cluster, with numbers of its own
            assert versions == sorted(set(versions)), f"the history of {user_id} is in order: {versions}"

    # Parts.

    def _start(self) -> None:
        self._started += 1
        clock, worker = NodeClock(self.clock), None
        self.hub.delay = self.random.choice([0, 0, 0.02, 0.3])  # the new node's
        if self.database is not None:
            worker = FakeClusterWorker(self.database, clock, f"start{self._started}")
        node = SimulatedNode(f"n{self._started}", self.hub, clock, worker, **self._settings)
        self.nodes.append(node)
        self.log("start", node.name)

    def _ready_node(self, client: SimulatedClient | None = None) -> SimulatedNode | None:
        """Return a node that takes connections. `STEADY` stays on the first one."""
        if client is not None and client.user_id == STEADY:
            return self.nodes[0]
        ready = [node for node in self.nodes if node.takes_connections]
        return self.random.choice(ready) if ready else None

    def _expendable_node(self) -> SimulatedNode | None:
        return self.random.choice(self.nodes[1:]) if len(self.nodes) > 2 else None

    def _has_written_again(self, node: SimulatedNode) -> bool:
        """Return whether the node has registered in a store that was emptied, and has committed everything."""
        incarnations = [{member.incarnation for member in shard.nodes.values()} for shard in self.hub.shards]
        is_registered = all(
            shard.members.incarnation in known for shard, known in zip(node.cluster.shards, incarnations, strict=True)
        )
        return is_registered and node.has_committed(USERS)

    def _may_clear(self, node: SimulatedNode) -> bool:
        """Return whether the node knows what was decided elsewhere, or knows that it does not."""
        since = max(self._cut_at.get(node.name, 0.0), self._cut_at.get("store", 0.0))
        return self.clock.monotonic() - since > TO_NOTICE_S

    def _client(self) -> SimulatedClient | None:
        others = [client for client in self.clients if client.user_id != STEADY]
        return self.random.choice(others) if others else None

    def _see_whether_closed(self, client: SimulatedClient) -> None:
        """Remove a client that was closed because it fell behind. One whose node stops reconnects."""
        if client.is_behind:
            self.clients.remove(client)
        elif not client.is_open and client.returns_at is None:
            self.log("closed", client.user_id, client.device, client.connection.closed_with)
            client.returns_at = self.clock.monotonic() + self.random.choice([0.0, 0.3, 2.0])


ALL_ACTIONS: list[tuple[Callable[[NodeWorld], None], float]] = [
    (NodeWorld.come, 1),
    (NodeWorld.come, 1),
    (NodeWorld.go, 0.7),
    (NodeWorld.move, 1),
    (NodeWorld.choose, 1),
    (NodeWorld.choose_for_a_while, 0.3),
    (NodeWorld.claim, 1),
    (NodeWorld.clear_claim, 0.7),
    (NodeWorld.announce, 0.5),
    (NodeWorld.join, 1),
    (NodeWorld.leave, 0.5),
    (NodeWorld.pause_or_resume, 0.5),
    (NodeWorld.kill, 0.15),
    (NodeWorld.drain, 0.15),
    (NodeWorld.start, 0.4),
    (NodeWorld.cut, 0.4),
    (NodeWorld.freeze, 0.3),
    (NodeWorld.slow_down, 0.5),
    (NodeWorld.lose_messages, 0.3),
    (NodeWorld.lose_store, 0.2),
    (NodeWorld.freeze_store, 0.15),
    (NodeWorld.fail_over, 0.2),
    (NodeWorld.flush, 0.05),
]
"""Actions with the probability that one which was picked happens."""


def _digest(node: SimulatedNode) -> tuple[int, int]:
    """Return what followers of the node's journal compare: value, and number of users."""
    while (digest := node.service.digest()) is None:
        pass
    return digest.value, digest.users


def _shown(node: SimulatedNode, user_id: str) -> View:
    [change] = node.node.directory.users.changes_of([user_id])
    return (str(change.status), change.view.details.text, change.view.devices) if change else OFFLINE


def _view(record: dict[str, Any]) -> View:
    return record["status"], record.get("text", ""), tuple(record.get("devices", ()))
