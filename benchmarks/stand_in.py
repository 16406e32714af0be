"""Stands in for a node with many users: a process that registers in the store, commits its users, and sends heartbeats.

To the other nodes it is a node like any other. It has no sockets, so it can have more users than this machine allows
open files, and it commits as fast as the store accepts. Arguments: URL of the store, number of users, users per batch,
bytes of data in each record. It reads orders from standard input, and answers each with a line of JSON:

    commit                   commit all users once, in batches
    change RATE S BATCHES    commit RATE changes a second for S seconds, in up to BATCHES batches a second
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator

from presenced.cluster.backend import Applicant, CommitBatch, Committed, ContributionUpdate, Proposal, State
from presenced.cluster.records import SharedSession, UserRecord, encode_record, encode_sessions
from presenced.cluster.redis.backend import open_backend
from presenced.presence.model import Cause, Status, StatusDetails, View
from presenced.testing.backend_peers import Recorder

HEARTBEAT_S = 0.4
"""Seconds between two heartbeats: the fifth of the shortest lease that a benchmark uses."""

FIRST_USER = 50_000_000
"""Id of the first user."""


class StandIn:
    """One registered node with its users."""

    def __init__(self, url: str, users: int, batch: int, record_bytes: int) -> None:
        self._users, self._batch = users, batch
        self._details = StatusDetails(data=b'"' + b"x" * record_bytes + b'"') if record_bytes else StatusDetails()
        self._backend = open_backend(url, "", cluster_name="presenced", shards=0)
        self._recorder = Recorder()
        self._slot = -1
        self._numbers = [0] * users  # of each user's record
        self._serial = 0
        self._next = 0

    async def run(self) -> None:
        """Register, and follow the orders until the end of standard input."""
        self._backend.start(Applicant("stand-in", 0), self._recorder)
        await self._recorder.until(lambda: self._recorder.registrations, "the registration")
        self._slot = self._recorder.registrations[0].slot
        beating = asyncio.create_task(self._beat())
        print(json.dumps({"slot": self._slot}), flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            match line.split():
                case ["commit"]:
                    await self._answer(self._commit_all())
                case ["change", rate, seconds, batches]:
                    await self._answer(self._change(int(rate), float(seconds), int(batches)))
        beating.cancel()

    async def _beat(self) -> None:
        while True:
            self._backend.heartbeat(0, State.READY, b"")
            await asyncio.sleep(HEARTBEAT_S)

    async def _answer(self, doing: Iterator[float]) -> None:
        """Commit until `doing` ends. It yields the seconds to wait before the next batch."""
        began, cpu, changes = time.monotonic(), time.process_time(), 0
        for wait in doing:
            if wait > 0:
                await asyncio.sleep(wait)
            changes += await self._commit()
        done = {"changes": changes, "seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu}
        print(json.dumps(done), flush=True)

    def _commit_all(self) -> Iterator[float]:
        for _ in range(0, self._users, self._batch):
            yield 0

    def _change(self, rate: int, seconds: float, batches: int) -> Iterator[float]:
        began = time.monotonic()
        self._batch = max(1, rate // batches)
        for number in range(round(seconds * rate / self._batch)):
            yield began + number * self._batch / rate - time.monotonic()

    async def _commit(self) -> int:
        """Commit the next batch, and return its number of items."""
        first = self._next
        chosen = range(first, min(first + self._batch, self._users))
        self._next = chosen.stop % self._users
        self._serial += 1
        self._recorder.sent(self._serial)
        self._backend.commit(0, CommitBatch(self._serial, tuple(map(self._proposal, chosen))), 0)
        await self._recorder.until(lambda: self._serial in self._recorder.results)
        result = self._recorder.results.pop(self._serial)
        if not isinstance(result, Committed) or result.refused:
            raise SystemExit(f"a commit that nobody else can disturb: {result}")
        for back, index in enumerate(reversed(chosen)):
            self._numbers[index] = result.n - back
        return len(chosen)

    def _proposal(self, index: int) -> Proposal:
        """Return a change of a user from online to away, or back."""
        before = self._numbers[index]
        is_online = before == 0 or self._serial % 2 == 0
        view = View(Status.ONLINE if is_online else Status.AWAY, self._details, ("web",))
        record = UserRecord(view, int(time.time() * 1000), 0, Cause.CONNECT)
        sessions = encode_sessions((SharedSession(index.to_bytes(6, "big"), "web", is_online),))
        return Proposal(
            str(FIRST_USER + index),
            before,
            encode_record(record),
            True,
            True,
            (ContributionUpdate(self._slot, sessions),),
        )


def main() -> None:
    """Run with the arguments of the command line."""
    url, *numbers = sys.argv[1:]
    users, batch, record_bytes = map(int, numbers)
    asyncio.run(StandIn(url, users, batch, record_bytes).run())


if __name__ == "__main__":
    main()
