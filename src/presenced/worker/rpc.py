"""The protocol between the server and its storage worker, and its messages.

The server starts the worker (`python -m presenced.worker FD`) with one end of a socket pair. A message is MessagePack
behind its length, four bytes, little-endian. Both directions are ordered, and neither side waits for the other.

    server (`client`)                                        worker (`program`)
    Setup         where to store, secrets, what to restore ->
                                                           <- ProcessStarted     the process runs
                                                           <- RestoredPage ...   choices, claims, revocations, ...
                                                           <- Ready              batches and calls may follow
    RecordBatch 1, 2, 3, 4                                 ->
                                                           <- BatchStored 3      1 to 3 are committed
    WorkerCall 1  method, arguments                        ->
                                                           <- CallResult 1       JSON, or an error
                                                           <- FindAbsent         users and rooms
    Absent        the absent ones among them               ->
                                                           <- WebhookStats, StorageState, Refused    at any time
    TakeShard, LeaveShard, EndSessions, CheckAbsences      ->                    only in a cluster
                                                           <- ShardTaken, ShardLost
    Stop, end of the stream                                ->
                                                           <- end of the stream  everything is committed

- *Setup* holds the URL and the secrets, because everyone on the machine can read the arguments of a process. The
  worker's environment has no settings.
- *Batches* are numbered. The server has at most `client.MAX_UNCONFIRMED_BATCHES` unconfirmed ones, and collects further
  records itself. The worker writes all that have arrived in one transaction. It repeats a transaction that fails until
  it succeeds, and reports the failure (`StorageState`).
- *Restart*. If the worker dies, the server starts another one, which gets `Setup`, and after `Ready` all unconfirmed
  batches again. They may be stored already: writing a batch twice changes nothing.
- *Refused* names a fault that only an operator can remove. A server that is starting then exits. Otherwise the worker
  keeps trying.
- *Calls* are independent of batches, except for `Method.ERASE`, which takes effect after the batches before it and
  before those after it. A call is never repeated: its caller gets an error.
- *FindAbsent* is the worker's question about the live state (`absence_check`). The answer is correct at its place
  among the batches.
- *Shards*. In a cluster, a node that is the designated writer of a shard takes it (`TakeShard`). Batches with the
  number of the shard have what all nodes have agreed on. If another node has taken it since, nothing is written
  (`ShardLost`). A new worker has no shards: the node takes them again, and drops what was on its way, which the log
  still has.
- *End*. If the stream ends without `Stop`, the server has died: the worker stores all items, closes the server's
  sessions, and exits. If the worker's stream ends, it has died.
- *Bounds*. No message has more than `MAX_MESSAGE_BYTES`. The number of messages is bounded by the rules for batches and
  calls.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from presenced.storage.records import Record, Restored
from presenced.webhooks.config import WebhookConfig
from presenced.webhooks.stats import WebhookStats

MESSAGE_HEADER = struct.Struct("<I")
"""Length of the message that follows."""

MAX_MESSAGE_BYTES = 1 << 26
"""Maximum size of one message in bytes. The largest message that clients can cause is a page of 2,000 choices with
their data, about 10 MB. Larger sets of records are sent in several messages (`send_in_parts`). Any other longer message
is not sent (`MessageTooLong`). A reader to which a longer message is announced ends the connection (`BrokenStream`),
because nothing after a wrong length can be read."""

R = TypeVar("R")


class MessageTooLong(Exception):
    """A message would have more than `MAX_MESSAGE_BYTES`. Nothing was sent."""


class BrokenStream(Exception):
    """The other side announced a message of more than `MAX_MESSAGE_BYTES`."""


class Method(StrEnum):
    """Methods of the worker. `calls.StorageCalls` has their arguments and results."""

    LAST_SEEN = "last_seen"
    HISTORY = "history"
    SESSIONS = "sessions"
    ERASE = "erase"
    DEAD_LETTERS = "dead_letters"
    RETRY_DEAD = "retry_dead"


class Setup(Struct, frozen=True, array_like=True, kw_only=True, tag="setup"):
    """First message to a worker."""

    url: str
    node: str
    epoch: str
    """Identifier of this start of the server."""
    started_ms: int
    """When the server started, in epoch milliseconds."""
    position: int
    """Position of the newest change."""
    history_ms: int
    """Milliseconds for which changes are stored; 0 if they are not."""
    max_restored: int
    """Maximum number of users whose choices, or display data, are restored."""
    webhooks: WebhookConfig | None
    settling_s: float
    """Seconds after the start until webhooks report users and rooms that have not returned."""
    restore: bool
    """Whether the server needs the data from before its start."""
    cluster: str = ""
    """Setting `cluster_name`; empty if the server is alone."""


class RecordBatch(Struct, frozen=True, array_like=True, tag="batch"):
    """Records to store. A worker that starts after another one may receive batches that are stored already."""

    number: int
    """One more than the number of the previous batch."""
    position: int
    """Position of the newest change."""
    records: list[Record]
    shard: int = -1
    """Shard of the cluster that the records are about; -1 if they are about this server."""
    n: int = 0
    """Number up to which the log of the shard is stored with this batch; 0 if more batches are needed for that."""
    may_repeat: bool = False
    """Whether changes may look like the last ones of their users, which are stored already."""


class WorkerCall(Struct, frozen=True, array_like=True, tag="call"):
    """Call of a method. `CallResult` has the same number."""

    number: int
    method: Method
    arguments: tuple[Any, ...]


class Absent(Struct, frozen=True, array_like=True, tag="absent"):
    """Answer to `FindAbsent`. It is correct at its place in the stream, because later records follow it."""

    users: list[str]
    rooms: list[str]


class TakeShard(Struct, frozen=True, array_like=True, tag="take_shard"):
    """The server is the designated writer of a shard from now on. `ShardTaken` follows."""

    shard: int
    epoch: str
    """Epoch of the cluster."""


class LeaveShard(Struct, frozen=True, array_like=True, tag="leave_shard"):
    """The server is not the designated writer any more."""

    shard: int


class EndSessions(Struct, frozen=True, array_like=True, tag="end_sessions"):
    """A node of the cluster is dead: its sessions have ended."""

    node: str
    epoch: str


class CheckAbsences(Struct, frozen=True, array_like=True, tag="check_absences"):
    """Ask which users and rooms are absent (`FindAbsent`), because changes may be missing."""

    delay_s: float
    users: bool
    """Whether users are asked for, and not only rooms."""


class Stop(Struct, frozen=True, array_like=True, tag="stop"):
    """Last message: the server stops on purpose."""


ToWorker = Setup | RecordBatch | WorkerCall | Absent | TakeShard | LeaveShard | EndSessions | CheckAbsences | Stop


class ProcessStarted(Struct, frozen=True, array_like=True, tag="process_started"):
    """First message: the process runs, and opens the database now."""


class RestoredPage(Struct, frozen=True, array_like=True, tag="restored"):
    """Part of the data from before the start that is still in force."""

    records: list[Restored]


class Ready(Struct, frozen=True, array_like=True, tag="ready"):
    """The tables have the right version, and every `RestoredPage` was sent. Batches and calls may follow."""

    position: int
    """Lower bound for the positions of the server."""


class Refused(Struct, frozen=True, array_like=True, tag="refused"):
    """The database cannot be used until an operator does something. The worker keeps trying."""

    reason: str


class StorageState(Struct, frozen=True, array_like=True, tag="state"):
    """Whether records can be stored."""

    failing: str
    """Why nothing can be stored now; empty if nothing is wrong."""
    failures: int
    """Number of failed attempts since the worker's start."""


class BatchStored(Struct, frozen=True, array_like=True, tag="stored"):
    """All batches up to this number are committed."""

    number: int
    records: int
    """Number of records in them."""
    unusable: int
    """Number of records that were left out, because the database will never accept them."""
    seconds: float
    """Duration of the transaction."""


class FindAbsent(Struct, frozen=True, array_like=True, tag="find_absent"):
    """Question to the server: which of these users and rooms are absent? Receivers believe them to be present."""

    users: list[str]
    rooms: list[str]


class ShardTaken(Struct, frozen=True, array_like=True, tag="shard_taken"):
    """The server is the writer of a shard in the database."""

    shard: int
    n: int
    """Number up to which the log is stored; 0 if nothing of this epoch of the cluster is."""
    room_version: int
    """Highest version of a room that receivers of webhooks may know."""


class ShardLost(Struct, frozen=True, array_like=True, tag="shard_lost"):
    """Another node has taken a shard. Batches for it were dropped."""

    shard: int


class CallResult(Struct, frozen=True, array_like=True, tag="result"):
    """Result of a `WorkerCall`."""

    number: int
    json: bytes
    error: str = ""
    """Why there is no result."""


ToServer = (
    ProcessStarted
    | RestoredPage
    | Ready
    | Refused
    | StorageState
    | BatchStored
    | FindAbsent
    | ShardTaken
    | ShardLost
    | CallResult
    | WebhookStats
)

_encoder = msgspec.msgpack.Encoder()
to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
to_server: msgspec.msgpack.Decoder[ToServer] = msgspec.msgpack.Decoder(ToServer)


def encode_message(message: ToWorker | ToServer) -> bytes:
    """Return the message with its length as prefix.

    Raises:
        MessageTooLong: The message has more than `MAX_MESSAGE_BYTES`.
    """
    data = _encoder.encode(message)
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageTooLong(f"a message of {len(data):,} bytes; at most {MAX_MESSAGE_BYTES:,} are allowed")
    return MESSAGE_HEADER.pack(len(data)) + data


def send_in_parts(records: list[R], send: Callable[[list[R]], None]) -> int:
    """Send records in order, in as few messages as `MAX_MESSAGE_BYTES` allows.

    Args:
        send: Function that sends some of the records, or raises `MessageTooLong`.

    Returns:
        Number of records dropped because each of them alone is too long.
    """
    try:
        send(records)
    except MessageTooLong:
        if len(records) == 1:
            return 1
        middle = len(records) // 2
        return send_in_parts(records[:middle], send) + send_in_parts(records[middle:], send)
    return 0


class Splitter:
    """Decoder from bytes to messages.

    Bounds: one incomplete message of `MAX_MESSAGE_BYTES`, plus one read.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def split(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that are now complete.

        Raises:
            BrokenStream: A message is too long. The connection is unusable from then on.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= MESSAGE_HEADER.size:
            (size,) = MESSAGE_HEADER.unpack_from(buffer, start)
            if size > MAX_MESSAGE_BYTES:
                raise BrokenStream(
                    f"a message of {size:,} bytes was announced; at most {MAX_MESSAGE_BYTES:,} are allowed"
                )
            end = start + MESSAGE_HEADER.size + size
            if end > len(buffer):
                break
            yield bytes(buffer[start + MESSAGE_HEADER.size : end])
            start = end
        del buffer[:start]
