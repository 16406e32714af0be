"""Worlds of a cluster: one store, four nodes, random faults, and what must hold in all of them.

A world has rounds. In each, users come and go while nodes are killed, frozen and cut off, and the store fails over,
loses writes or is emptied. Then everything is repaired. After 80 seconds of calm every node shows every user as they
are, and holds the store's records. At no time does a node show the user `STEADY`, who is connected throughout, as
offline, or a change with a version that is not above the last one.

A seed always produces the same world. The store has one shard, and a step of a node is atomic: the simulation has nodes
whose calls overlap.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, NamedTuple

from presenced.cluster.backend import (
    LOST_WRITES_JUMP,
    CommitBatch,
    Committed,
    ContributionUpdate,
    Entry,
    Item,
    Kind,
    Member,
    State,
    StoreRecord,
)
from presenced.cluster.contribution import Contribution
from presenced.cluster.directory import Agreement, SharedDirectory
from presenced.cluster.members import DutyKind, Members
from presenced.cluster.presence import Shown
from presenced.cluster.records import (
    SharedSession,
    UserRecord,
    decode_sessions,
    encode_sessions,
)
from presenced.cluster.replica.digest import compare
from presenced.cluster.replica.replica import ShardReplica, When
from presenced.presence.journal import Journal
from presenced.presence.model import SEEN_OFFLINE, Cause, Ending, Status, View
from presenced.presence.outcome import Outcome
from presenced.presence.session import Grace
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant

LEASE_S = 15.0
HEARTBEAT_S = 3.0
LOCAL_AFTER_S = 1.0
LOG_ENTRIES = 40
LOSABLE_WRITES = 6
"""Newest states of the store. A failover goes back to any of them."""
STEADY = "steady"
"""User who is connected to the first node throughout. That node is never killed, frozen or cut off."""

VIEWS = {status: View(status) for status in Status}


class Head(NamedTuple):
    n: int
    run_id: int
    generation: int
    registrations: int


class Tables(NamedTuple):
    """Everything in the store; values are replaced, never changed, so that a copy is cheap."""

    head: Head | None
    records: dict[str, StoreRecord]
    contributions: dict[int, dict[str, tuple[bytes, bytes]]]
    members: dict[int, Member]
    log: tuple[Entry, ...]


EMPTY = Tables(None, {}, {}, {}, ())


class Store:
    """The scripts of the store, each of them atomic."""

    def __init__(self) -> None:
        self.run_id = 1
        self.reachable = True
        self.tables = EMPTY
        self._history: list[Tables] = []

    def _save(self, **changes: Any) -> None:
        self.tables = self.tables._replace(**changes)
        self._history = [*self._history, self.tables][-LOSABLE_WRITES:]

    def head(self, floor: int, generation: int) -> Head:
        """Return the head, with its number raised above all that may have been lost."""
        head = self.tables.head
        if head is None:
            self.tables = EMPTY
            return Head(floor + LOST_WRITES_JUMP if floor else 0, self.run_id, generation + 1, 0)
        if head.run_id != self.run_id:
            return Head(max(head.n, floor) + LOST_WRITES_JUMP, self.run_id, head.generation + 1, head.registrations)
        return head._replace(n=max(head.n, floor))

    def live(self, slot: int, incarnation: str) -> Member | None:
        member = self.tables.members.get(slot)
        return member if member and member.incarnation == incarnation and member.state is not State.DEAD else None

    def register(self, node: Node, slot: int) -> tuple[int, str]:
        head = self.head(node.shard.floor, node.generation)
        head = head._replace(registrations=head.registrations + 1)
        while slot in self.tables.members:
            slot = (slot + 1) % 64
        incarnation = f"{head.registrations}.{head.generation}.{head.n}"
        member = Member(slot, node.name, incarnation, 0, State.READY)
        self._save(head=head, members={**self.tables.members, slot: member})
        return slot, incarnation

    def heartbeat(self, node: Node) -> bool:
        if member := self.live(node.shard.slot, node.members.incarnation):
            changed = member._replace(heartbeat=member.heartbeat + 1)
            self._save(members={**self.tables.members, member.slot: changed})
        return member is not None

    def commit(self, node: Node, batch: CommitBatch) -> Committed | None:
        """Return None if the node is fenced."""
        slot, incarnation = node.shard.slot, node.members.incarnation
        if self.tables.head is None or self.live(slot, incarnation) is None:
            return None
        head = self.head(node.shard.floor, node.generation)
        records, contributions, n = dict(self.tables.records), dict(self.tables.contributions), head.n
        items, refused = [], []
        for user_id, expected, record, is_kept, is_visible, changed in batch.proposals:
            before = records.get(user_id)
            if (before.n if before else 0) != expected:
                refused.append(user_id)
                continue
            n += 1
            version = n if is_visible else before.version if before else 0
            items.append(Item(user_id, n, version, record, is_kept, changed))
            records[user_id] = StoreRecord(user_id, n, version, record)
            if not is_kept:
                del records[user_id]
            for part in changed:
                of_slot = dict(contributions.get(part.slot, {}))
                of_slot[user_id] = part.sessions or b"", part.rooms or b""
                if of_slot[user_id] == (b"", b""):
                    del of_slot[user_id]
                contributions[part.slot] = of_slot
        log = self.tables.log
        if items:
            log = (*log, Entry(n, slot, incarnation, batch.serial, Kind.ITEMS, tuple(items)))[-LOG_ENTRIES:]
        self._save(head=head._replace(n=n), records=records, contributions=contributions, log=log)
        return Committed(batch.serial, n, tuple(refused), 0)

    def declare_dead(self, node: Node, seen: Member) -> None:
        member = self.tables.members.get(seen.slot)
        if self.live(node.shard.slot, node.members.incarnation) is None or member is None:
            return
        if (member.incarnation, member.heartbeat) != (seen.incarnation, seen.heartbeat):
            return
        removers = {one.incarnation for one in self.tables.members.values()}
        if member.remover in removers and member.remover != node.members.incarnation:
            return
        dead = member._replace(state=State.DEAD, remover=node.members.incarnation)
        self._save(members={**self.tables.members, member.slot: dead})

    def remove(self, node: Node, seen: Member) -> None:
        member = self.tables.members.get(seen.slot)
        if member is None or member.incarnation != seen.incarnation or member.remover != node.members.incarnation:
            return
        head = self.head(node.shard.floor, node.generation)
        head = head._replace(n=head.n + 1)
        members = {slot: one for slot, one in self.tables.members.items() if slot != seen.slot}
        contributions = {slot: part for slot, part in self.tables.contributions.items() if slot != seen.slot}
        body = f"{seen.slot} {seen.incarnation}".encode()
        entry = Entry(head.n, node.shard.slot, node.members.incarnation, 0, Kind.REMOVED, (), body)
        log = (*self.tables.log, entry)[-LOG_ENTRIES:]
        self._save(head=head, members=members, contributions=contributions, log=log)

    def fail_over(self, rng: random.Random) -> None:
        """Restart with another run id, and perhaps without the last writes."""
        lost = rng.randint(0, len(self._history) - 1) if self._history else 0
        if lost:
            self.tables = self._history[-1 - lost]
        self.run_id += 1
        self._history = []
        self._save()

    def flush(self) -> None:
        self.tables = EMPTY
        self._save()


class NaivePresence:
    """The simplest rule of presence: online if a session is active, away if none is (`cluster.presence.Presence`)."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self.sessions: dict[str, bool] = {}
        self.others: dict[str, dict[int, bool]] = {}
        self.agreement: Agreement | None = None
        self._shown: dict[str, Shown] = {}

    def use(self, user_id: str, active: bool | None, now: Instant) -> None:
        """Connect the user, make the user active or idle, or disconnect the user."""
        if active is None:
            self.sessions.pop(user_id, None)
        else:
            self.sessions[user_id] = active
        assert self.agreement
        self.agreement.user_changed(user_id, now)

    def own_contribution(self, user_id: str, slot: int) -> Contribution:
        if user_id not in self.sessions:
            return Contribution(slot)
        return Contribution(slot, encode_sessions((SharedSession(b"", "", self.sessions[user_id]),)))

    def contributed_users(self) -> Iterable[str]:
        return sorted(self.sessions)

    def shown_users(self) -> Iterable[str]:
        return sorted(user_id for user_id, shown in self._shown.items() if shown.view != SEEN_OFFLINE)

    def decided_users(self) -> Iterable[str]:
        return ()

    def forget_cleared(self, user_id: str) -> None:
        """Nothing can be cleared."""

    def set_contribution(self, user_id: str, new: Contribution) -> None:
        of_user = self.others.setdefault(user_id, {})
        of_user.pop(new.slot, None)
        for session in decode_sessions(new.sessions):
            of_user[new.slot] = session.active

    def expect(self, user_id: str, cause: Cause, now: Instant) -> None:
        pass

    def record(self, user_id: str, now: Instant) -> UserRecord:
        active = [
            *self.others.get(user_id, {}).values(),
            *([self.sessions[user_id]] if user_id in self.sessions else []),
        ]
        status = Status.OFFLINE if not active else Status.ONLINE if any(active) else Status.AWAY
        return UserRecord(VIEWS[status], 0, 0, Cause.CONNECT)

    def shown(self, user_id: str) -> Shown:
        return self._shown.get(user_id, Shown(0, SEEN_OFFLINE))

    def accept(self, user_id: str, record: UserRecord, version: int, now: Instant) -> None:
        self._show(user_id, record.view, version)

    def adopt(self, user_id: str, record: UserRecord, now: Instant) -> None:
        """Nothing can be chosen."""

    def show_locally(self, user_id: str, version: int, now: Instant) -> None:
        self._show(user_id, self.record(user_id, now).view, version)

    def _show(self, user_id: str, view: View, version: int) -> None:
        before = self.shown(user_id)
        if view != before.view:
            assert version > before.version, (self._name, user_id, version, before)
            assert (user_id, view) != (STEADY, SEEN_OFFLINE), self._name
            self._world.trace(self._name, "shows", user_id, view.status, version)
        self._shown[user_id] = Shown(max(version, before.version), view)


class DirectoryPresence(SharedDirectory[str]):
    """The real directory of a node, used like `NaivePresence`."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(Grace(0, 0), Limits(1000, 3600, 10), Journal(1000))
        self._world = world
        self._name = name
        self._last: dict[str, int] = {}

    def use(self, user_id: str, active: bool | None, now: Instant) -> None:
        """Connect the user, make the user active or idle, or disconnect the user."""
        user = self._by_id.get(user_id)
        connection = f"{self._name} {user_id}"
        if active is None:
            outcomes = [self.close(user_id, connection, Ending.CLOSED, now)]
        elif user is None or user.session_of(connection) is None:
            outcomes = [self.open(user_id, connection, now, session_id=connection, active=active)]
        else:
            outcomes = [self.set_active(user_id, connection, active, now)]
        self._publish(outcomes)

    def accept(self, user_id: str, record: UserRecord, version: int, now: Instant) -> None:
        super().accept(user_id, record, version, now)
        self._publish(self.take_outcomes())

    def show_locally(self, user_id: str, version: int, now: Instant) -> None:
        super().show_locally(user_id, version, now)
        self._publish(self.take_outcomes())

    def _publish(self, outcomes: list[Outcome[str]]) -> None:
        for outcome in outcomes:
            if (change := outcome.change) is None:
                continue
            assert change.version > self._last.get(change.user_id, 0), (self._name, change)
            assert (change.user_id, change.status) != (STEADY, Status.OFFLINE), self._name
            self._last[change.user_id] = change.version
            self._world.trace(self._name, "shows", change.user_id, change.status, change.version)


class Node:
    """One node: the pure parts, and what drives them in one step. Certainty is not part of these worlds."""

    stale_since_ms = 0
    transitions = 0

    def __init__(self, name: str, world: World) -> None:
        self.world = world
        self.name = name
        self.alive, self.frozen, self.cut_off = True, False, False
        self.sessions: dict[str, bool] = {}
        """Whether the session is active, of the users connected here."""
        self.presence = world.presence(world, name)
        self.shard = ShardReplica(self.presence, LEASE_S)
        self.presence.agreement = self
        self.members = Members(LEASE_S)
        self.generation = 0
        self.run_id: int | None = None
        self.unreachable_since: float | None = None
        self.heartbeat_at = -99.0

    def user_changed(self, user_id: str, now: Instant) -> None:
        self.shard.user_changed(user_id, now)

    def contribution_changed(self, user_id: str) -> None:
        self.shard.contribution_changed(user_id)

    def is_out_of_reach(self, user_id: str) -> bool:
        return False

    def session_moved_here(self, user_id: str, tag: bytes) -> None:
        self.shard.session_moved_here(user_id, tag, self.members.contact)

    has_newcomers = False

    def ends_for_absent(self, user_id: str) -> bool:
        return True

    @property
    def when(self) -> When:
        return When(self.members.contact, Instant(self.world.now, int(self.world.now * 1000)))

    def use(self, user_id: str, active: bool | None) -> None:
        if active is None:
            del self.sessions[user_id]
        else:
            self.sessions[user_id] = active
        self.presence.use(user_id, active, self.when.now)

    def step(self) -> None:
        if not self.alive or self.frozen:
            return
        if self.cut_off or not self.world.store.reachable:
            self._step_without_store()
        else:
            self._step_with_store(self.world.store)

    def _step_without_store(self) -> None:
        now = self.world.now
        if self.unreachable_since is None:
            self.unreachable_since = now
        if now - self.unreachable_since > LOCAL_AFTER_S and not self.shard.is_local:
            self.shard.disconnected(self.when.now)
        self.run_id = None
        self.members.lost()

    def _step_with_store(self, store: Store) -> None:
        self.unreachable_since = None
        self.members.look(self.world.now)
        is_fresh = self.run_id != store.run_id  # a failover breaks the connections, so a node notices it
        self.run_id = store.run_id
        slot = self.shard.slot
        member = store.tables.members.get(slot)
        if member and member.incarnation == self.members.incarnation and member.state is State.DEAD:
            return  # it waits until it is removed, and then registers
        if store.tables.head is None or not member or member.incarnation != self.members.incarnation:
            slot = slot if slot >= 0 else self.world.rng.randrange(64)
            slot, self.members.incarnation = store.register(self, slot)
            self.shard.registered(slot)
            is_fresh = True
        if is_fresh:
            self.shard.unknown()
        head = store.tables.head
        assert head
        if head.generation != self.generation:
            self.generation = head.generation
            is_fresh = True
        # Continuity: the entry applied last is still in the log.
        applied, keys = self.shard.applied, [entry.key for entry in store.tables.log]
        if applied is None or (applied not in keys if applied.n else is_fresh):
            self._load(store)
            is_fresh = True
        self._read(store)
        self.shard.reconnected()
        if is_fresh:
            self.shard.verify()
        if self.world.rng.random() < 0.8 and (batch := self.shard.next_batch(self.members.members, self.when)):
            self._commit(store, batch)
        if self.world.now - self.heartbeat_at >= HEARTBEAT_S and store.heartbeat(self):
            self.heartbeat_at = self.world.now
        self._observe(store)

    def _load(self, store: Store) -> None:
        self.world.trace(self.name, "loads")
        tables = store.tables
        self.shard.begin_load(self.when)
        contributions = [
            (user_id, ContributionUpdate(slot, *value))
            for slot, of_slot in tables.contributions.items()
            for user_id, value in of_slot.items()
        ]
        self.shard.page([*tables.records.values()], contributions)
        assert tables.head
        last = tables.log[-1].key if tables.log else None
        while not self.shard.loaded(last, last.n if last else tables.head.n, self.when):
            pass

    def _read(self, store: Store) -> None:
        applied = self.shard.applied
        for entry in store.tables.log:
            if applied is None or entry.n > applied.n:
                self.shard.apply(entry, self.when)
        assert store.tables.head
        self.shard.read_up_to(store.tables.head.n, self.when)

    def _commit(self, store: Store, batch: CommitBatch) -> None:
        result = store.commit(self, batch)
        if result is None or self.world.rng.random() < 0.1:
            self.shard.unknown()  # fenced, or the reply is lost
        else:
            self.shard.committed(result)

    def _observe(self, store: Store) -> None:
        for duty in self.members.observe(store.tables.members.values()):
            if duty.kind is DutyKind.DECLARE_DEAD:
                store.declare_dead(self, duty.member)
            else:
                self._remove(store, duty.member)

    def _remove(self, store: Store, member: Member) -> None:
        self.world.trace(self.name, "removes", member.name)
        self.shard.begin_removal(member, Cause.TIMEOUT, self.when.now)
        for _ in range(3 if self.world.rng.random() < 0.2 else 50):  # some stall midway, and go on at a later step
            if self.shard.removable() == member:
                store.remove(self, member)
                self._read(store)
                return
            if batch := self.shard.next_batch(self.members.members, self.when):
                self._commit(store, batch)
            self._read(store)


class World:
    """Nodes, users and the store, driven by one random generator."""

    def __init__(
        self,
        seed: int,
        nodes: int = 4,
        users: int = 6,
        presence: type[NaivePresence | DirectoryPresence] = NaivePresence,
    ) -> None:
        self.presence = presence
        self.rng = random.Random(seed)
        self.now = 0.0
        self.store = Store()
        self.events: list[tuple[object, ...]] = []
        self.nodes = [Node(f"n{number}", self) for number in range(nodes)]
        self.users = [*(f"u{number}" for number in range(users)), STEADY]
        self.nodes[0].use(STEADY, True)

    def trace(self, *event: object) -> None:
        self.events.append((round(self.now, 2), *event))

    def running(self) -> list[Node]:
        return [node for node in self.nodes if node.alive and not node.frozen]

    def run(self, rounds: int = 3) -> None:
        """Run the world.

        Raises:
            AssertionError: Something does not hold.
        """
        for _ in range(rounds):
            for _ in range(400):
                if self.rng.random() < 0.5:
                    self._act()
                self._tick(self.rng.choice([0.01, 0.05, 0.2, 1.0]))
            self.store.reachable = True
            for node in self.nodes:
                node.frozen = node.cut_off = False
            for _ in range(400):
                self._tick(0.2)
            self._check()

    def _tick(self, seconds: float) -> None:
        self.now += seconds
        for node in self.rng.sample(self.nodes, len(self.nodes)):
            node.step()

    def _act(self) -> None:
        """Let one user do something (55 %), cause or end a fault (11 %), or do nothing."""
        dice, running = self.rng.random(), self.running()
        if not running:
            return
        node, user_id = self.rng.choice(running), self.rng.choice(self.users)
        if dice < 0.55:
            self._use(node, user_id, dice)
        elif dice < 0.61 and node is not self.nodes[0]:
            self._disturb_node(node, dice)
        elif 0.61 <= dice < 0.66:
            self._disturb_store(dice)

    def _use(self, node: Node, user_id: str, dice: float) -> None:
        is_steady = node is self.nodes[0] and user_id == STEADY
        if is_steady or node.shard.applied is None or not node.shard.applied.n:
            return  # a node takes no connection before it has loaded; and one that knows nobody does not know STEADY
        active = node.sessions.get(user_id)
        if dice < 0.35:
            node.use(user_id, True if active is None else None)
        elif active is not None:
            node.use(user_id, not active)
        self.trace("act", node.name, user_id, node.sessions.get(user_id))

    def _disturb_node(self, node: Node, dice: float) -> None:
        if dice < 0.56 and len(self.running()) > 1:
            node.alive = False
            self.trace("kill", node.name)
        elif dice < 0.57:
            node.frozen = True
            self.trace("freeze", node.name)
        elif dice < 0.59:
            for frozen in self.nodes:
                frozen.frozen = False
            self.trace("thaw")
        else:
            node.cut_off = not node.cut_off
            self.trace("cut", node.name, node.cut_off)

    def _disturb_store(self, dice: float) -> None:
        if dice < 0.62:
            self.store.reachable = not self.store.reachable
            self.trace("store", self.store.reachable)
        elif dice < 0.64:
            self.store.fail_over(self.rng)
            self.trace("failover")
        elif dice < 0.643:
            self.store.flush()
            self.trace("flush")
        else:
            dead = [index for index, node in enumerate(self.nodes) if not node.alive]
            if dead:
                self.nodes[dead[0]] = Node(self.nodes[dead[0]].name, self)
                self.trace("start", self.nodes[dead[0]].name)

    def _check(self) -> None:
        truth = dict.fromkeys(self.users, Status.OFFLINE)
        for node in self.running():
            for user_id, active in node.sessions.items():
                if active:
                    truth[user_id] = Status.ONLINE
                elif truth[user_id] is Status.OFFLINE:
                    truth[user_id] = Status.AWAY
        stored = self.store.tables.records
        for node in self.running():
            for user_id in self.users:
                shown = node.presence.shown(user_id)
                assert shown.view.status is truth[user_id], (node.name, user_id, truth[user_id], shown)
                known = node.shard.records.get(user_id)
                assert (known and known.n) == (stored[user_id].n if user_id in stored else None), (node.name, user_id)
        result = compare({node.name: node.shard.digests() for node in self.running()})
        assert not result.differing, "state digests"
        assert len(result.compared) in (0, len(self.running()))
