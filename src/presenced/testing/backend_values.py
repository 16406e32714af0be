"""Checks of the messages, values and revocations of `presenced.cluster.backend`, for any implementation.

They are a part of `presenced.testing.backend_suite`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from presenced.cluster.backend import StoredKey
from presenced.storage.records import StoredRevocation
from presenced.testing.backend_peers import Peer, PeerGroup, Stage

# Messages and values.


async def messages_arrive_in_order(stage: Stage) -> None:
    """A node gets the messages to its slot, with the slot of their sender."""
    async with PeerGroup(stage, "a", "b", "c") as [a, b, c]:
        for number in range(50):
            a.backend.send(b.slot, b"\xff%d" % number)
        c.backend.send(a.slot, b"from c")
        a.backend.send(60, b"to nobody")
        await b.recorder.until(lambda: len(b.recorder.messages) == 50, "50 messages")
        assert b.recorder.messages == [(a.slot, b"\xff%d" % number) for number in range(50)]
        await a.recorder.until(lambda: a.recorder.messages, "a message")
        assert a.recorder.messages == [(c.slot, b"from c")]
        assert not c.recorder.messages


async def a_value_is_taken_once(stage: Stage) -> None:
    """Of several takers at the same time, one gets the value."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        key = StoredKey("sess", "d1")
        answers: list[bytes | None] = []
        a.backend.put(key, b"\x00value", 30.0)
        a.backend.take(StoredKey("sess", "other"), answers.append)
        await a.recorder.until(lambda: answers == [None], "no value")
        for one in (a, b, a, b):
            one.backend.take(key, answers.append)
        await a.recorder.until(lambda: len(answers) == 5, "four answers")
        assert sorted(answers, key=lambda value: value or b"") == [None, None, None, None, b"\x00value"]


async def a_value_expires(stage: Stage) -> None:
    """A value that nobody takes is deleted."""
    async with PeerGroup(stage, "a") as [a]:
        key = StoredKey("ticket", "d1")
        answers: list[bytes | None] = []
        a.backend.put(key, b"value", 0.05)
        await asyncio.sleep(0.2)
        a.backend.take(key, answers.append)
        await a.recorder.until(lambda: answers, "an answer")
        assert answers == [None]


async def a_taker_learns_that_there_is_no_answer(stage: Stage) -> None:
    """Without the store it is unknown whether there is a value. It stays for a later taker."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        key = StoredKey("ticket", "d1")
        answers: list[bytes | str | None] = []
        a.backend.put(key, b"value", 30.0)
        await stage.cut("b")
        await b.happens("disconnected")
        b.backend.take(key, answers.append, lambda: answers.append("lost"))
        await b.recorder.until(lambda: answers, "an answer")
        b.backend.take(key, answers.append)
        await b.recorder.until(lambda: len(answers) == 2, "another answer")
        assert answers == ["lost", None]
        await stage.heal("b")
        await b.happens("reconnected")
        await b.backend_answers()
        b.backend.take(key, answers.append, lambda: answers.append("lost"))
        await b.recorder.until(lambda: len(answers) == 3, "a third answer")
        assert answers[2] == b"value"


# Revocations.


async def revocations_are_remembered_for_all_nodes(stage: Stage) -> None:
    """Of several revocations of one subject, the newest counts."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        assert await _revoked(b) == []
        first = StoredRevocation("user", "ünï 1", 1000.125, 5000.0)
        token = StoredRevocation("token", "ünï 1", 1001.0, 5001.0)
        assert await _revoke(a, first, token)
        assert await _revoked(b) == sorted([first, token], key=_subject)
        newer, older = replace(first, at=1002.0, until=5002.0), replace(token, at=900.0, until=9000.0)
        assert await _revoke(b, newer, older)
        assert await _revoked(a) == sorted([newer, token], key=_subject)


async def all_of_many_revocations_are_read(stage: Stage) -> None:
    """Revocations that fill several pages are all read. One that was written twice is read once."""
    async with PeerGroup(stage, "a", "b") as [a, b]:
        many = [StoredRevocation("user", f"u{number}", 1000.0 + number, 9000.0) for number in range(2500)]
        assert await _revoke(a, *many[:2000])
        assert await _revoke(b, *many[1000:])
        assert await _revoked(b) == sorted(many, key=_subject)


async def revocations_whose_time_is_over_are_deleted(stage: Stage) -> None:
    """Each write deletes some of them, so a few writes delete them all."""
    async with PeerGroup(stage, "a") as [a]:
        lasting = StoredRevocation("user", "lasts", 1000.0, 9000.0)
        over = [StoredRevocation("user", f"u{number}", 1000.0, 2000.0) for number in range(300)]
        assert await _revoke(a, lasting, *over)
        assert len(await _revoked(a)) == 301
        for number in range(300):
            assert await _revoke(a, StoredRevocation("token", "t", 3000.0 + number, 9000.0), now=2000.0)
            if len(await _revoked(a)) == 2:
                break
        assert [one.subject for one in await _revoked(a)] == ["t", "lasts"]


async def revocations_without_the_store_are_not_confirmed(stage: Stage) -> None:
    """A node learns that a write or a read has failed."""
    async with PeerGroup(stage, "a") as [a]:
        revocation = StoredRevocation("user", "ada", 1000.0, 9000.0)
        await stage.cut("a")
        await a.happens("disconnected")
        assert not await _revoke(a, revocation)
        answers: list[object] = []
        a.backend.read_revoked(answers.append)
        await a.recorder.until(lambda: answers, "an answer")
        assert answers == [None]
        await stage.heal("a")
        await a.happens("reconnected")
        await a.backend_answers()
        assert await _revoke(a, revocation)
        assert await _revoked(a) == [revocation]


def _subject(revocation: StoredRevocation) -> tuple[str, str]:
    return revocation.kind, revocation.subject


async def _revoke(peer: Peer, *revocations: StoredRevocation, now: float = 1000.0) -> bool:
    """Add revocations, and return whether they are remembered."""
    answers: list[bool] = []
    peer.backend.add_revoked(revocations, now, answers.append)
    await peer.recorder.until(lambda: answers, "an answer")
    return answers == [True]


async def _revoked(peer: Peer) -> list[StoredRevocation]:
    """Return all revocations in the order of their subjects."""
    answers: list[Sequence[StoredRevocation] | None] = []
    peer.backend.read_revoked(answers.append)
    await peer.recorder.until(lambda: answers, "an answer")
    assert answers[0] is not None
    return sorted(answers[0], key=_subject)


VALUE_CHECKS = (
    messages_arrive_in_order,
    a_value_is_taken_once,
    a_value_expires,
    a_taker_learns_that_there_is_no_answer,
    revocations_are_remembered_for_all_nodes,
    all_of_many_revocations_are_read,
    revocations_whose_time_is_over_are_deleted,
    revocations_without_the_store_are_not_confirmed,
)
"""Checks of this file, a part of `backend_suite.CHECKS`."""
