"""`MemoryHub` on a clock that the test moves: the same run every time, and the faults it injects."""

from __future__ import annotations

import pytest

from presenced.cluster.backend import Applicant, CommitBatch, Committed, Kind, Proposal, State
from presenced.cluster.log import LastKnown
from presenced.cluster.memory.hub import MemoryBackend, MemoryHub
from presenced.cluster.memory.store import MemoryShard, Undo, Waiting
from presenced.testing import FakeClock
from presenced.testing.backend_peers import Recorder


class World:
    """Nodes on one hub and one clock."""

    def __init__(self, *names: str, shards: int = 1, delay: float = 0.0) -> None:
        self.clock = FakeClock()
        self.hub = MemoryHub(self.clock, shards=shards, delay=delay)
        self.recorders: dict[str, Recorder] = {}
        self.backends: dict[str, MemoryBackend] = {}
        for name in names:
            self.start(name)

    def start(self, name: str, slot: int = 0) -> None:
        self.recorders[name] = Recorder()
        self.backends[name] = self.hub.backend(name)
        self.backends[name].start(Applicant(name, slot), self.recorders[name])
        self.clock.advance(2)
        self.load(name)

    def load(self, name: str) -> None:
        self.recorders[name].forget()
        self.backends[name].load(0)
        self.clock.advance(2)

    def send(self, name: str, serial: int, *proposals: Proposal) -> None:
        self.recorders[name].sent(serial)
        self.backends[name].commit(0, CommitBatch(serial, proposals), 0)

    def commit(self, name: str, serial: int, *proposals: Proposal) -> Committed | str:
        self.send(name, serial, *proposals)
        self.clock.advance(3)
        return self.recorders[name].results[serial]


def change(user_id: str, expected: int = 0) -> Proposal:
    return Proposal(user_id, expected, b"record", True, True)


def test_messages_take_the_delay_of_the_node() -> None:
    world = World("a", "b", delay=0.2)
    world.send("a", 1, change("ada"))
    world.clock.advance(0.39)
    assert not world.recorders["a"].results
    world.clock.advance(0.02)
    assert world.recorders["a"].results
    assert world.recorders["b"].entries_read
    world.hub.set_delay("b", 0.0)
    world.send("a", 2, change("bob"))
    world.clock.advance(0.21)
    assert len(world.recorders["b"].entries_read) == 2
    assert len(world.recorders["a"].entries_read) == 1


def test_nothing_is_reported_in_the_turn_of_the_call() -> None:
    world = World("a")
    reports = world.recorders["a"].members_reports
    world.backends["a"].heartbeat(0, State.READY, b"")
    world.send("a", 1, change("ada"))
    assert world.recorders["a"].members_reports == reports
    world.clock.run_soon()
    assert world.recorders["a"].members_reports == reports + 1
    assert isinstance(world.recorders["a"].results[1], Committed)


def test_a_lost_request_was_not_executed_and_a_lost_reply_was() -> None:
    world = World("a", "b")
    world.hub.lose_requests("a")
    assert world.commit("a", 1, change("ada")) == "unknown"
    world.hub.lose_replies("a")
    assert world.commit("a", 2, change("bob")) == "unknown"
    assert [entry.serial for entry in world.recorders["b"].entries_read] == [2]
    assert world.recorders["a"].events.count("reconnected") == 2


def test_a_frozen_store_executes_late_what_it_has_received() -> None:
    world = World("a", "b")
    world.hub.freeze()
    assert world.commit("a", 1, change("ada")) == "unknown"
    assert not world.recorders["b"].entries_read
    world.hub.thaw()
    world.clock.advance(2)
    assert [entry.serial for entry in world.recorders["b"].entries_read] == [1]
    assert [entry.serial for entry in world.recorders["a"].entries_read] == [1]


def test_a_frozen_node_gets_everything_when_it_continues() -> None:
    world = World("a", "b")
    world.send("b", 1, change("bob"))
    world.hub.freeze_node("b")
    world.commit("a", 1, change("ada"))
    world.clock.advance(30)
    assert not world.recorders["b"].results
    world.hub.thaw_node("b")
    world.clock.advance(1)
    assert isinstance(world.recorders["b"].results[1], Committed)
    assert len(world.recorders["b"].entries_read) == 2


def test_a_killed_node_reports_nothing_and_stays_registered() -> None:
    world = World("a", "b")
    events = list(world.recorders["b"].events)
    world.hub.kill_node("b")
    world.commit("a", 1, change("ada"))
    assert world.recorders["b"].events == events
    assert not world.recorders["b"].entries_read
    assert len(world.recorders["a"].nodes) == 2


def test_without_the_store_every_node_is_disconnected_once() -> None:
    world = World("a", "b")
    world.hub.is_reachable = False
    world.clock.advance(60)
    for recorder in world.recorders.values():
        assert recorder.events[2:] == ["disconnected"]
    world.hub.is_reachable = True
    world.clock.advance(3)
    for recorder in world.recorders.values():
        assert recorder.events[2:] == ["disconnected", "reconnected"]


def test_out_of_memory_refuses_commits_and_nothing_else() -> None:
    world = World("a", "b")
    world.hub.is_out_of_memory = True
    assert world.commit("a", 1, change("ada")) == "unknown"
    world.backends["a"].heartbeat(0, State.READY, b"")
    world.clock.advance(1)
    assert world.recorders["b"].nodes[0].heartbeat == 1
    world.hub.is_out_of_memory = False
    assert isinstance(world.commit("a", 2, change("ada")), Committed)
    assert world.recorders["a"].events == ["registered", "loaded", "full"]


def test_an_evicted_record_is_refused_until_it_is_loaded_again() -> None:
    world = World("a")
    first = world.commit("a", 1, change("ada"))
    assert isinstance(first, Committed)
    world.hub.evict(0, "ada")
    refused = world.commit("a", 2, change("ada", first.n))
    assert isinstance(refused, Committed)
    assert refused.refused == ("ada",)
    world.load("a")
    assert not world.recorders["a"].users


def test_a_failover_loses_the_last_writes_only() -> None:
    world = World("a", "b")
    for serial in range(1, 6):
        world.send("a", serial, change(f"u{serial}"))
        world.clock.run_soon()
    lost = world.recorders["a"].entries_read[-1].n
    world.hub.fail_over(lost_writes=2)
    world.clock.advance(3)
    for name in ("a", "b"):
        assert world.recorders[name].events[-1] == "interrupted"
        world.load(name)
        assert sorted(world.recorders[name].users) == ["u1", "u2", "u3"]
    after = world.commit("a", 9, change("u4"))
    assert isinstance(after, Committed)
    assert after.n > lost


def test_a_node_has_one_slot_in_all_shards() -> None:
    world = World(shards=4)
    recorder = Recorder()
    backend = world.hub.backend("a")
    backend.start(Applicant("a", 17), recorder)
    world.clock.advance(2)
    assert [registration.slot for registration in recorder.registrations] == [17] * 4
    assert world.hub.shards[3].nodes[17].name == "a"


def test_a_node_whose_registration_lost_its_reply_has_no_second_slot() -> None:
    store = World().hub.shards[0]
    known = LastKnown(0, 0, "")
    first, _ = store.register(Applicant("a", 17), False, 0, known, "0000ab")
    again, is_kept = store.register(Applicant("a", 17), False, 0, known, "0000ab")
    assert (again.slot, again.incarnation, is_kept) == (first.slot, first.incarnation, False)
    other, _ = store.register(Applicant("b", 17), False, 0, known, "0000cd")
    assert other.slot == 18


def test_no_result_of_a_batch_follows_after_its_node_was_fenced() -> None:
    world = World("a", "b")
    a, b = world.backends["a"], world.backends["b"]
    [member] = [one for one in world.hub.shards[0].nodes.values() if one.name == "a"]
    world.hub.lose_requests("a")
    world.send("a", 7, change("ada"))
    b.declare_dead(0, member)
    world.clock.run_soon()
    a.heartbeat(0, State.READY, b"")
    world.clock.run_soon()
    b.remove(0, world.hub.shards[0].nodes[member.slot])
    world.clock.advance(3)  # the link fails, because the batch gets no reply
    assert world.recorders["a"].results == {7: "fenced"}
    assert len(world.recorders["a"].registrations) == 2
    world.load("a")
    assert isinstance(world.commit("a", 8, change("ada")), Committed)


def test_a_failover_restores_entries_that_were_trimmed_from_the_log_since() -> None:
    undo = Undo()
    store = MemoryShard(undo, log_items=3)
    registration, _ = store.register(Applicant("a", 0), False, 1, LastKnown(), "0000ab")
    for serial in range(1, 11):
        batch = CommitBatch(serial, (change(f"u{serial}"),))
        store.commit(registration.slot, registration.incarnation, 1, LastKnown(), batch, 0)
    undo.take_back(5)
    assert [logged.entry.serial for logged in store.log] == [3, 4, 5]
    assert len(store.users) == 5


def test_a_failover_takes_back_what_a_refused_registration_has_written() -> None:
    undo = Undo()
    store = MemoryShard(undo, log_items=3)
    store.register(Applicant("a", 0), False, 1, LastKnown(), "0000ab")
    head = store.head
    with pytest.raises(Waiting):
        store.register(Applicant("b", 0), True, 2, LastKnown(), "0000cd")
    assert store.head != head, "another process of the store has written"
    undo.take_back(1)
    assert store.head == head


def test_two_runs_are_equal() -> None:
    def run() -> list[object]:
        world = World("a", "b", "c", delay=0.03)
        world.hub.set_delay("b", 0.1)
        for serial in range(1, 30):
            for name in "abc":
                if serial in (10, 20):
                    world.hub.lose_replies(name)
                world.send(name, serial, change(f"u{serial}"))
            world.clock.advance(3)
            if serial == 15:
                world.hub.fail_over(lost_writes=3)
                world.clock.advance(3)
                for name in "abc":
                    world.load(name)
        assert all(entry.kind is Kind.ITEMS for entry in world.recorders["c"].entries_read)
        return [(one.entries_read, one.events, one.results, one.users) for one in world.recorders.values()]

    assert run() == run()


def test_a_node_registers_again_if_the_store_loses_that_it_was_declared_dead() -> None:
    """It has stopped reading, so it has to load."""
    world = World("a", "b")
    [member] = [one for one in world.hub.shards[0].nodes.values() if one.name == "b"]
    before = len(world.recorders["b"].registrations)
    world.backends["a"].declare_dead(0, member)
    world.clock.run_soon()
    world.backends["b"].heartbeat(0, State.READY, b"")
    world.clock.run_soon()
    assert world.recorders["b"].events.count("fenced") == 1
    world.hub.fail_over(1)
    world.clock.advance(3)
    assert world.hub.shards[0].nodes[member.slot].state is not State.DEAD
    assert len(world.recorders["b"].registrations) == before + 1
