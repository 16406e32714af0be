"""Checks of `presenced.testing.backend_suite` about the log: how far it reaches back."""

from __future__ import annotations

from presenced.cluster.backend import Entry, Excerpt
from presenced.testing.backend_peers import PeerGroup, Stage


async def the_log_can_be_read_again(stage: Stage) -> None:
    """`read_log` returns the first entries after a number, and says if some before them were dropped."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        for number in range(150):
            await a.reads((await a.commit(a.set("ada", b"%d" % number), a.set("bob", b"%d" % number))).n)
        await b.reads(a.recorder.n)
        read: list[Entry] = []
        after = b.recorder.entries_read[9].n
        while entries := (await b.reads_log(after)).entries:
            read += entries
            after = entries[-1].n
        assert read == b.recorder.entries_read[10:]
        assert (await b.reads_log(after)).is_whole
        for _ in range(40):
            users = [a.set(f"u{i}", b"1") for i in range(200)]
            await a.reads((await a.commit(*users)).n)
        excerpt = await b.reads_log(after)
        assert excerpt.entries
        assert not excerpt.is_whole
        last = a.recorder.entries_read[-1].n
        assert await b.reads_log(last) == Excerpt((), True)


async def a_trimmed_log_interrupts_a_node_that_was_away(stage: Stage) -> None:
    """A node whose next entries were trimmed is notified of that, and loads."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        await a.commit(a.set("ada", b"0"))
        await a.reads(a.recorder.n)
        await b.reads(a.recorder.n)
        await stage.cut("b")
        await b.happens("disconnected")
        for _ in range(40):
            users = [a.set(f"u{i}", b"1") for i in range(199)]
            await a.reads((await a.commit(a.set("ada", b"1"), *users)).n)
        assert b.recorder.users["ada"].record == b"0"
        await stage.heal("b")
        await b.happens("interrupted")
        await b.load()
        assert b.recorder.users == a.recorder.users
        await b.reads((await a.commit(a.set("ada", b"end"))).n)


async def a_jump_of_the_numbers_does_not_trim_the_log(stage: Stage) -> None:
    """A node that connects late after a failover reads on, although others have committed far higher numbers."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        for number in range(300):
            await a.reads((await a.commit(a.set("ada", b"%d" % number))).n)
        await b.reads(a.recorder.n)
        await stage.save()
        await stage.cut("b")
        await stage.fail_over()
        await b.happens("disconnected")
        await a.happens("reconnected")
        a.floor = 7_000_000_000
        for number in range(300):
            await a.reads((await a.commit(a.set("ada", b"%d" % number))).n)
        await stage.heal("b")
        await b.reads(a.recorder.n)
        assert "interrupted" not in b.recorder.events
        assert len(b.recorder.entries_read) == 600
