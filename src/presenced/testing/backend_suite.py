"""Checks of every promise of `presenced.cluster.backend`, for any implementation.

A check is a coroutine function. It takes a `Stage`, which creates backends and injects faults. `CHECKS` lists them all:

    @pytest.mark.parametrize("check", CHECKS)
    async def test_backend(check, stage):
        await check(stage)

Each check needs an empty store. A failed promise raises `AssertionError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from presenced.cluster.backend import (
    Applicant,
    Committed,
    ContributionUpdate,
    Counts,
    Kind,
    Member,
    Proposal,
    State,
    StoreRecord,
)
from presenced.testing.backend_log_suite import (
    a_jump_of_the_numbers_does_not_trim_the_log,
    a_trimmed_log_interrupts_a_node_that_was_away,
    the_log_can_be_read_again,
)
from presenced.testing.backend_peers import Peer, PeerGroup, Stage
from presenced.testing.backend_values import VALUE_CHECKS

# Order, atomicity, comparison.


async def items_reach_every_node_in_one_order(stage: Stage) -> None:
    """Batches of two nodes reach three nodes in the same order, each item once."""
    async with PeerGroup(stage, "a", "b", "c") as [a, b, c]:
        last = 0
        for number in range(30):
            serials = [
                (one, one.send(*(one.set(f"{one.name}{number}.{i}", b"on") for i in range(3)))) for one in (a, b)
            ]
            for one, serial in serials:
                result = await one.result(serial)
                assert isinstance(result, Committed)
                assert not result.refused
                last = max(last, result.n)
        for one in (a, b, c):
            await one.reads(last)
            assert one.recorder.entries_read == a.recorder.entries_read
            assert one.recorder.users == a.recorder.users
            assert one.recorder.contributions == a.recorder.contributions
        assert len(a.recorder.users) == 180
        authors = {(entry.slot, entry.incarnation) for entry in c.recorder.entries_read}
        assert authors == {(a.slot, a.incarnation), (b.slot, b.incarnation)}


async def an_item_changes_record_contributions_and_log(stage: Stage) -> None:
    """A node that loads, and a node that reads the log, know the same."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        record, sessions, rooms = bytes(range(256)), b"\x00\xff", b"\xc1 room"
        contributions = (ContributionUpdate(a.slot, sessions, rooms), ContributionUpdate(9, b"elsewhere"))
        await a.commit(Proposal("ünï", 0, record, True, True, contributions), a.set("bob", b"1"))
        await b.reads(a.recorder.results[1].n)  # type: ignore[union-attr]  # any other result fails the check
        [entry] = b.recorder.entries_read
        assert entry.items[0].contributions == contributions
        assert entry.items[0].record == record
        assert b.recorder.contributions[("ünï", a.slot)] == (sessions, rooms)
        assert b.recorder.contributions[("ünï", 9)] == (b"elsewhere", b"")
        before = b.recorder.users, b.recorder.contributions
        await b.load()
        assert (b.recorder.users, b.recorder.contributions) == before
        assert b.recorder.loads[-1] == entry.key


async def versions_change_only_with_what_others_see(stage: Stage) -> None:
    """An invisible item keeps the version; a deleted record starts again."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        n = (await a.commit(a.set("ada", b"1"))).n
        await a.reads(n)
        first = a.recorder.users["ada"]
        assert (first.n, first.version) == (n, n)
        await a.reads((await a.commit(a.set("ada", b"2", visible=False))).n)
        second = a.recorder.users["ada"]
        assert second.n > first.n
        assert second.version == first.version
        n = (await a.commit(a.set("ada", b"off", kept=False))).n
        await a.reads(n)
        await b.reads(n)
        [item] = b.recorder.entries_read[-1].items
        assert (item.record, item.is_kept, item.version) == (b"off", False, n)
        await b.load()
        assert not b.recorder.users
        assert not b.recorder.contributions
        assert not (await a.commit(Proposal("ada", 0, b"3", True, True))).refused


async def outdated_proposals_are_refused_one_by_one(stage: Stage) -> None:
    """A proposal is refused if its record has another number; the others of the batch are accepted."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        n = (await a.commit(a.set("ada", b"1"), a.set("bob", b"1"))).n
        await b.reads(n)
        outdated = Proposal("ada", n + 7, b"x", True, True)
        absent = Proposal("eve", 5, b"x", True, True)
        new = Proposal("bob", 0, b"x", True, True)
        result = await b.commit(outdated, absent, new, Proposal("cem", 0, b"1", True, True))
        assert set(result.refused) == {"ada", "eve", "bob"}
        assert result.n == n + 1
        all_refused = await b.commit(outdated)
        assert all_refused.n == result.n
        await b.reads(result.n)
        assert [item.user_id for item in b.recorder.entries_read[-1].items] == ["cem"]
        await b.load()
        assert {user.user_id: user.record for user in b.recorder.users.values()} == {
            "ada": b"1",
            "bob": b"1",
            "cem": b"1",
        }


async def one_of_two_simultaneous_changes_is_accepted(stage: Stage) -> None:
    """Of two nodes that replace the same record, exactly one succeeds."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        for number in range(20):
            serials = [(one, one.send(one.set("ada", b"%d" % number))) for one in (a, b)]
            results = [await one.result(serial) for one, serial in serials]
            assert sorted(len(result.refused) for result in results if isinstance(result, Committed)) == [0, 1]
            n = max(result.n for result in results if isinstance(result, Committed))
            await a.reads(n)
            await b.reads(n)
        assert len(a.recorder.entries_read) == 20


async def a_batch_whose_time_is_over_is_not_accepted(stage: Stage) -> None:
    """A store that was frozen executes requests late: the batch says until when it may."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        first = await a.commit(a.set("ada", b"1"))
        late = await a.commit(kind=Kind.KICK, body=b"ada", until_ms=first.time_ms - 10_000)
        assert (late.is_late, late.n) == (True, first.n)
        in_time = await a.commit(kind=Kind.KICK, body=b"bob", until_ms=first.time_ms + 60_000)
        assert (in_time.is_late, in_time.n) == (False, first.n + 1)
        await b.reads(in_time.n)
        assert [entry.body for entry in b.recorder.entries_read if entry.kind is Kind.KICK] == [b"bob"]


async def entries_of_other_kinds_have_a_number_of_their_own(stage: Stage) -> None:
    """A mark or a kick reaches all nodes, with its body."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        first = (await a.commit(a.set("ada", b"1"))).n
        second = (await a.commit(kind=Kind.KICK, body=b"\xff\x00ada")).n
        assert second == first + 1
        await b.reads(second)
        entry = b.recorder.entries_read[-1]
        assert (entry.kind, entry.body, entry.items, entry.serial) == (Kind.KICK, b"\xff\x00ada", (), 2)
        third = (await b.commit(b.set("bob", b"1"), kind=Kind.MARK, body=b"m")).n
        await a.reads(third)
        entry = a.recorder.entries_read[-1]
        assert (entry.kind, entry.body, len(entry.items), entry.n) == (Kind.MARK, b"m", 1, second + 1)


# Loading.


async def a_load_during_writes_misses_nothing(stage: Stage) -> None:
    """A node that loads while another one writes, some users in each turn, ends with the same state."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        for start in range(0, 2400, 200):
            await a.commit(*(a.set(f"u{i}", b"0") for i in range(start, start + 200)))
        await a.reads(a.recorder.n)
        done = asyncio.Event()

        async def write() -> None:
            number = 0
            while not done.is_set():
                number += 1
                users = [f"u{(number * 7 + i * 31) % 2400}" for i in range(20)]
                batch = [a.set(user, b"%d" % number, kept=number % 5 > 0) for user in dict.fromkeys(users)]
                await a.reads((await a.commit(*batch)).n)

        writing = asyncio.create_task(write())
        for turns in range(5):
            b.recorder.more_turns = 10 * turns
            await b.load()
            await asyncio.sleep(0.02)
        done.set()
        await writing
        await b.reads(a.recorder.entries_read[-1].n)
        assert b.recorder.users == a.recorder.users
        assert b.recorder.contributions == a.recorder.contributions


async def a_node_that_was_away_reads_on(stage: Stage) -> None:
    """If the log still reaches back, nothing is interrupted."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        await a.commit(a.set("ada", b"0"))
        await b.reads(a.recorder.n)
        await stage.cut("b")
        await b.happens("disconnected")
        await a.reads((await a.commit(a.set("ada", b"1"))).n)
        await stage.heal("b")
        await b.happens("reconnected")
        await b.reads((await a.commit(a.set("bob", b"1"))).n)
        assert [entry.serial for entry in b.recorder.entries_read] == [1, 2, 3]
        assert b.recorder.generations == [a.recorder.registrations[0].generation]
        assert "interrupted" not in b.recorder.events
        assert len(b.recorder.registrations) == 1


async def records_can_be_read_one_by_one(stage: Stage) -> None:
    """`read` returns the records of some users."""
    async with PeerGroup(stage, "a") as [a]:
        await a.commit(a.set("ada", b"1"), a.set("bob", b"2", visible=False))
        answers: list[Mapping[str, StoreRecord]] = []
        a.backend.read(0, ["ada", "bob", "eve"], answers.append)
        await a.recorder.until(lambda: answers, "an answer")
        await a.reads(a.recorder.n)
        assert answers == [a.recorder.users]


# Numbers and losses.


async def numbers_are_above_every_floor(stage: Stage) -> None:
    """An item has a number above the floors that were passed before."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        a.floor = 5_000_000_000
        n = (await a.commit(a.set("ada", b"1"))).n
        assert n > 5_000_000_000
        assert (await b.commit(b.set("bob", b"1"))).n == n + 1
        refused = Proposal("eve", 3, b"", True, True)
        a.floor = n + 100
        await a.commit(refused)
        assert (await b.commit(b.set("cem", b"1"))).n > n + 100


async def a_flushed_store_continues_above_all_numbers(stage: Stage) -> None:
    """After FLUSHALL nodes register again: other generation, higher numbers, same epoch."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        a.floor = 7_000_000
        n = (await a.commit(a.set("ada", b"1"))).n
        await a.reads(n)
        await stage.flush()
        assert await a.result(a.send(a.set("ada", b"2"))) == "fenced"
        await a.happens("registered", 2)
        before, after = a.recorder.registrations
        assert after.slot == before.slot
        assert after.incarnation != before.incarnation
        assert after.generation > before.generation
        assert after.epoch == before.epoch
        assert after.n > n
        await a.load()
        assert not a.recorder.users
        assert (await a.commit(a.set("ada", b"3"))).n > n
        b.backend.heartbeat(0, State.READY, b"")
        await b.happens("fenced")
        await b.happens("registered", 2)
        await b.load()
        assert b.recorder.registrations[1].generation > before.generation
        assert b.recorder.users["ada"].record == b"3"
        await b.reads((await a.commit(a.set("bob", b"3"))).n)


async def a_newcomer_after_a_flush_does_not_repeat_numbers(stage: Stage) -> None:
    """If a node that knows nothing registers first, the others still see another generation and higher numbers."""
    async with PeerGroup(stage, "a") as [a]:
        a.floor = 7_000_000
        n = (await a.commit(a.set("ada", b"1"))).n
        await stage.flush()
        new = Peer(stage, "new", 7)
        await new.start()
        await new.commit(new.set("bob", b"1"))
        assert await a.result(a.send(a.set("ada", b"2"))) == "fenced"
        await a.happens("registered", 2)
        before, after = a.recorder.registrations
        assert after.generation != before.generation
        await a.load()
        assert (await new.commit(new.set("cem", b"1"))).n > n
        assert (await a.commit(a.set("ada", b"3"))).n > n
        await new.backend.stop()


async def lost_writes_change_the_generation(stage: Stage) -> None:
    """After a failover numbers are above the lost ones, and a node that has read lost entries is interrupted."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        await a.commit(a.set("ada", b"1"))
        await a.reads(a.recorder.n)
        await stage.save()
        lost = (await a.commit(a.set("ada", b"2"), a.set("bob", b"2"))).n
        await b.reads(lost)
        await stage.fail_over()
        for one in (a, b):
            await one.happens("reconnected")
            assert one.recorder.generations[-1] > one.recorder.registrations[0].generation
            await one.happens("interrupted")
            await one.load()
            assert {user.user_id: user.record for user in one.recorder.users.values()} == {"ada": b"1"}
        n = (await a.commit(a.set("bob", b"3"))).n
        assert n > lost
        await b.reads(n)
        assert a.recorder.generations[-1] == b.recorder.generations[-1]


async def a_restart_without_losses_continues_the_log(stage: Stage) -> None:
    """After a failover that has lost nothing, nodes read on, in another generation."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        n = (await a.commit(a.set("ada", b"1"))).n
        await a.reads(n)
        await b.reads(n)
        await stage.save()
        await stage.fail_over()
        for one in (a, b):
            await one.happens("reconnected")
            assert one.recorder.generations[-1] > one.recorder.registrations[0].generation
        await b.reads((await a.commit(a.set("ada", b"2"))).n)
        assert "interrupted" not in b.recorder.events
        assert len(b.recorder.entries_read) == 2


async def a_lost_reply_is_reported_as_unknown(stage: Stage) -> None:
    """The batch is in the log exactly once, with its serial number, and the node can commit again."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        await a.commit(a.set("ada", b"1"))
        await a.reads(a.recorder.n)
        await stage.lose_reply("a")
        serial = a.send(a.set("ada", b"2"), a.set("bob", b"2"))
        assert await a.result(serial) == "unknown"
        await a.happens("reconnected")
        await a.reads((await a.commit(a.set("cem", b"3"))).n)
        await b.reads(a.recorder.n)
        for one in (a, b):
            assert [entry.serial for entry in one.recorder.entries_read] == [1, serial, serial + 1]
            assert one.recorder.users["bob"].record == b"2"
        assert len(a.recorder.registrations) == 1


async def without_the_store_a_commit_is_unknown(stage: Stage) -> None:
    """A commit without a connection has a result too."""
    async with PeerGroup(stage, "a") as [a]:
        await stage.cut("a")
        await a.happens("disconnected")
        assert await a.result(a.send(a.set("ada", b"1"))) == "unknown"
        assert a.recorder.events.count("disconnected") == 1
        await stage.heal("a")
        await a.happens("reconnected")
        await a.commit(a.set("ada", b"1"))


# Members.


async def heartbeats_are_seen_by_all(stage: Stage) -> None:
    """Counter, state and figures of a node reach the others, and members are reported again and again."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        await b.sees(lambda nodes: len(nodes) == 2, "two nodes")
        assert b.recorder.nodes[a.slot]._replace(heartbeat=0) == Member(
            a.slot, "a", a.incarnation, 0, State.LOADING, b"", ""
        )
        before = b.recorder.nodes[a.slot].heartbeat
        figures = b"\xff fig ures"
        a.backend.heartbeat(0, State.READY, figures)
        await a.sees(lambda nodes: nodes[a.slot].state is State.READY, "itself ready")
        a.backend.heartbeat(0, State.LEAVING, figures)
        await b.sees(lambda nodes: nodes[a.slot].heartbeat == before + 2, "two heartbeats")
        assert b.recorder.nodes[a.slot].state is State.LEAVING
        assert b.recorder.nodes[a.slot].figures == figures
        reports = b.recorder.members_reports
        await b.recorder.until(lambda: b.recorder.members_reports > reports + 1, "further looks")


async def users_are_counted(stage: Stage) -> None:
    """Each node is notified of the number of records, and of the number of users to which it contributes."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        rooms = ContributionUpdate(a.slot, sessions=b"s", rooms=b"r")
        await a.commit(a.set("ada", b"1"), Proposal("bob", 0, b"1", True, True, (rooms,)))
        await a.recorder.until(lambda: a.recorder.counts == Counts(2, 2, 1), "the counts of a")
        await b.recorder.until(lambda: b.recorder.counts == Counts(2, 0, 0), "the counts of b")


async def slots_are_distinct(stage: Stage) -> None:
    """A node gets the slot that it proposes, or the next free one."""
    peers = [Peer(stage, name, 62) for name in "abcd"]
    for peer in peers:
        await peer.start()
    assert [peer.slot for peer in peers] == [62, 63, 0, 1]
    assert len({peer.incarnation for peer in peers}) == 4
    for peer in peers:
        await peer.backend.stop()


async def a_node_is_rejected_if_all_slots_are_taken(stage: Stage) -> None:
    """The 65th node is rejected, and gets the first slot that becomes free."""
    peers = [Peer(stage, f"n{number}", number) for number in range(64)]
    for peer in peers:
        await peer.start()
    late = Peer(stage, "late", 5)
    late.backend.start(Applicant("late", 5), late.recorder)
    await late.happens("rejected")
    first, second = peers[:2]
    await first.sees(lambda nodes: second.slot in nodes, "the second node")
    await _end(first, second)
    await late.happens("registered")
    assert late.slot == second.slot
    for peer in [*peers, late]:
        await peer.backend.stop()


async def nothing_is_accepted_from_a_node_that_was_declared_dead(stage: Stage) -> None:
    """Commits and heartbeats are fenced. The node registers again once it has been removed."""
    async with PeerGroup(stage, "a", "b", "c") as [a, b, c]:
        await b.reads((await a.commit(a.set("ada", b"1"))).n)
        await b.sees(lambda nodes: a.slot in nodes, "a")
        b.backend.declare_dead(0, b.recorder.nodes[a.slot])
        await b.sees(lambda nodes: nodes[a.slot].state is State.DEAD, "a dead")
        assert b.recorder.nodes[a.slot].remover == b.incarnation
        assert await a.result(a.send(a.set("ada", b"2"))) == "fenced"
        assert await a.result(a.send(a.set("ada", b"2"))) == "unknown"
        assert len(a.recorder.registrations) == 1
        b.backend.remove(0, b.recorder.nodes[a.slot])
        await c.recorder.until(lambda: len(c.recorder.entries_read) == 2, "the removal")
        [changed, removed] = c.recorder.entries_read
        assert (removed.kind, removed.slot, removed.incarnation) == (Kind.REMOVED, b.slot, b.incarnation)
        assert removed.body == f"{changed.slot} {changed.incarnation}".encode()
        assert not c.recorder.contributions
        await a.happens("registered", 2)
        assert a.recorder.registrations[1].slot == a.recorder.registrations[0].slot
        assert a.incarnation != a.recorder.registrations[0].incarnation
        await a.load()
        assert "ada" in a.recorder.users
        assert not a.recorder.contributions
        assert a.recorder.events.count("fenced") == 1
        assert not (await a.commit(a.set("ada", b"3"))).refused


async def a_node_with_a_newer_heartbeat_is_not_declared_dead(stage: Stage) -> None:
    """`declare_dead` compares incarnation and heartbeat."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        await b.sees(lambda nodes: a.slot in nodes, "a")
        seen = b.recorder.nodes[a.slot]
        a.backend.heartbeat(0, State.READY, b"")
        await a.sees(lambda nodes: nodes[a.slot].heartbeat > seen.heartbeat, "its heartbeat")
        reports = b.recorder.members_reports
        b.backend.declare_dead(0, seen)
        b.backend.declare_dead(0, seen._replace(incarnation="other", heartbeat=seen.heartbeat + 1))
        b.backend.remove(0, seen)
        await b.recorder.until(lambda: b.recorder.members_reports >= reports + 3, "three answers")
        assert b.recorder.nodes[a.slot].state is State.READY
        await a.commit(a.set("ada", b"1"))


async def one_of_two_nodes_becomes_the_remover(stage: Stage) -> None:
    """The other one cannot remove, nor take over while the remover lives."""
    async with PeerGroup(stage, "dead", "a", "b") as [dead, a, b]:
        for one in (a, b):
            await one.sees(lambda nodes: len(nodes) == 3, "three nodes")
        target = a.recorder.nodes[dead.slot]
        for one in (a, b):
            one.backend.declare_dead(0, target)
        for one in (a, b):
            await one.sees(lambda nodes: nodes[dead.slot].state is State.DEAD, "the dead node")
        winner = a if a.recorder.nodes[dead.slot].remover == a.incarnation else b
        loser = b if winner is a else a
        assert loser.recorder.nodes[dead.slot].remover == winner.incarnation
        reports = loser.recorder.members_reports
        loser.backend.declare_dead(0, loser.recorder.nodes[dead.slot])
        loser.backend.remove(0, loser.recorder.nodes[dead.slot])
        await loser.recorder.until(lambda: loser.recorder.members_reports >= reports + 2, "two answers")
        assert loser.recorder.nodes[dead.slot].remover == winner.incarnation
        winner.backend.remove(0, winner.recorder.nodes[dead.slot])
        await loser.sees(lambda nodes: dead.slot not in nodes, "the node removed")


async def another_node_takes_over_from_a_dead_remover(stage: Stage) -> None:
    """A remover that was declared dead, or removed, is replaced."""
    async with PeerGroup(stage, "dead", "remover", "c") as [dead, remover, c]:
        await remover.sees(lambda nodes: len(nodes) >= 2, "the dead node")
        remover.backend.declare_dead(0, remover.recorder.nodes[dead.slot])
        await c.sees(lambda nodes: nodes.get(dead.slot) and nodes[dead.slot].state is State.DEAD, "the dead node")
        c.backend.declare_dead(0, c.recorder.nodes[remover.slot])
        await c.sees(lambda nodes: nodes[remover.slot].state is State.DEAD, "the dead remover")
        c.backend.declare_dead(0, c.recorder.nodes[dead.slot])
        await c.sees(lambda nodes: nodes[dead.slot].remover == c.incarnation, "itself as the remover")
        c.backend.remove(0, c.recorder.nodes[dead.slot])
        await c.sees(lambda nodes: dead.slot not in nodes, "the node removed")


async def a_remover_takes_contributions_out_by_commits(stage: Stage) -> None:
    """An item may contain contributions of another node, and removal keeps those of others."""
    async with PeerGroup(stage, "a", "b", "c") as [a, b, c]:
        await b.reads((await a.commit(a.set("ada", b"a"), a.set("bob", b"a"))).n)
        await b.reads((await b.commit(b.set("ada", b"b"))).n)
        await b.sees(lambda nodes: a.slot in nodes, "a")
        b.backend.declare_dead(0, b.recorder.nodes[a.slot])
        await b.sees(lambda nodes: nodes[a.slot].state is State.DEAD, "a dead")
        known = b.recorder.users["bob"].n
        gone = Proposal("bob", known, b"off", False, True, (ContributionUpdate(a.slot, b"", b""),))
        await c.reads((await b.commit(gone)).n)
        assert set(c.recorder.contributions) == {("ada", a.slot), ("ada", b.slot)}
        b.backend.remove(0, b.recorder.nodes[a.slot])
        await c.recorder.until(lambda: c.recorder.entries_read[-1].kind is Kind.REMOVED, "the removal")
        assert set(c.recorder.contributions) == {("ada", b.slot)}
        before = c.recorder.users, c.recorder.contributions
        await c.load()
        assert (c.recorder.users, c.recorder.contributions) == before


async def _end(by: Peer, peer: Peer) -> None:
    """Stop `peer`, and remove it through the node `by`."""
    await peer.backend.stop()
    by.backend.declare_dead(0, by.recorder.nodes[peer.slot])
    await by.sees(lambda nodes: nodes[peer.slot].state is State.DEAD, "the dead node")
    by.backend.remove(0, by.recorder.nodes[peer.slot])


CHECKS = (
    items_reach_every_node_in_one_order,
    an_item_changes_record_contributions_and_log,
    versions_change_only_with_what_others_see,
    outdated_proposals_are_refused_one_by_one,
    one_of_two_simultaneous_changes_is_accepted,
    a_batch_whose_time_is_over_is_not_accepted,
    entries_of_other_kinds_have_a_number_of_their_own,
    a_load_during_writes_misses_nothing,
    a_trimmed_log_interrupts_a_node_that_was_away,
    a_node_that_was_away_reads_on,
    records_can_be_read_one_by_one,
    the_log_can_be_read_again,
    numbers_are_above_every_floor,
    a_flushed_store_continues_above_all_numbers,
    a_newcomer_after_a_flush_does_not_repeat_numbers,
    lost_writes_change_the_generation,
    a_restart_without_losses_continues_the_log,
    a_jump_of_the_numbers_does_not_trim_the_log,
    a_lost_reply_is_reported_as_unknown,
    without_the_store_a_commit_is_unknown,
    heartbeats_are_seen_by_all,
    users_are_counted,
    slots_are_distinct,
    a_node_is_rejected_if_all_slots_are_taken,
    nothing_is_accepted_from_a_node_that_was_declared_dead,
    a_node_with_a_newer_heartbeat_is_not_declared_dead,
    one_of_two_nodes_becomes_the_remover,
    another_node_takes_over_from_a_dead_remover,
    a_remover_takes_contributions_out_by_commits,
    *VALUE_CHECKS,
)
"""All checks."""
