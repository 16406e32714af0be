"""What the server and its keeper tell each other: MessagePack, each message behind its length (`HEADER`)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec
from msgspec import Struct

from presenced.storage.records import Record, Restored
from presenced.webhooks.config import WebhookConfig
from presenced.webhooks.stats import WebhookFigures

HEADER = struct.Struct("<I")

MAX_MESSAGE = 1 << 26
"""Maximum size of one message in bytes. The largest message that clients can cause is a page of 2,000 choices with
their data, about 10 MB. Larger sets of facts are sent in several messages (`in_parts`). Any other longer message is not
sent (`MessageTooLong`). A reader to which a longer message is announced ends the connection (`BrokenStream`), because
nothing after a wrong length can be read."""

F = TypeVar("F")


class MessageTooLong(Exception):
    """A message would have more than `MAX_MESSAGE` bytes. Nothing was sent."""


class BrokenStream(Exception):
    """The other side announced a message of more than `MAX_MESSAGE` bytes."""


class Setup(Struct, frozen=True, array_like=True, tag="setup"):
    """The first message to a keeper. The URL comes here, for everyone on the machine can read arguments."""

    url: str
    node: str
    epoch: str
    """Of the server's start."""
    started_ms: int
    position: int
    """Of the newest change."""
    history_ms: int
    most_restored: int
    """Users of whom something is read again."""
    webhooks: WebhookConfig | None
    settling: float
    """Seconds after the start in which those who were there before may come back without a word about it."""
    restore: bool
    """The server knows nothing yet of what is kept."""


class Batch(Struct, frozen=True, array_like=True, tag="batch"):
    """What is to be written down."""

    number: int
    """One more than the one before; some may come again."""
    position: int
    """Of the newest change."""
    facts: list[Record]


class LastSeen(Struct, frozen=True, array_like=True, tag="last_seen"):
    """When these users were last there."""

    user_ids: list[str]


class History(Struct, frozen=True, array_like=True, tag="history"):
    """Changes of a user."""

    user_id: str
    before: int
    limit: int


class Sessions(Struct, frozen=True, array_like=True, tag="sessions"):
    """Sessions of a user, past ones included."""

    user_id: str
    before: tuple[int, str] | None
    limit: int


class Erase(Struct, frozen=True, array_like=True, tag="erase"):
    """Delete all that is kept of a user; done after the batches that came before."""

    user_id: str


class DeadLetters(Struct, frozen=True, array_like=True, tag="dead_letters"):
    """Webhooks that could not be delivered."""

    after: str
    limit: int


class RetryDead(Struct, frozen=True, array_like=True, tag="retry_dead"):
    """Have them delivered after all; None: all."""

    ids: list[str] | None


Question = LastSeen | History | Sessions | Erase | DeadLetters | RetryDead


class Ask(Struct, frozen=True, array_like=True, tag="ask"):
    """A question."""

    number: int
    question: Question


class Absent(Struct, frozen=True, array_like=True, tag="absent"):
    """Response to `WhoIsAbsent`. It is correct at its place in the stream, because later facts follow it."""

    users: list[str]
    rooms: list[str]


class Farewell(Struct, frozen=True, array_like=True, tag="farewell"):
    """The server stops, and this is the last message."""


ToWorker = Setup | Batch | Ask | Absent | Farewell


class Page(Struct, frozen=True, array_like=True, tag="page"):
    """A part of what is kept and still holds."""

    facts: list[Restored]


class Ready(Struct, frozen=True, array_like=True, tag="ready"):
    """There is a database of the right version, and all pages were sent: batches may come."""

    position: int
    """Positions have to grow from here."""
    closed: int
    """Users whom a server that is no more had left online."""


class Refused(Struct, frozen=True, array_like=True, tag="refused"):
    """The database can't be used as it is; the keeper keeps trying."""

    reason: str


class State(Struct, frozen=True, array_like=True, tag="state"):
    """How it goes."""

    failing: str
    """Why nothing can be stored now; empty when all is well."""
    failures: int
    """How often something failed, since the keeper's start."""


class Stored(Struct, frozen=True, array_like=True, tag="stored"):
    """All batches up to this number are stored."""

    number: int
    facts: int
    """How many facts that were."""
    unusable: int
    """Facts that the database does not take, whatever is tried."""
    seconds: float
    """That it took."""


class WhoIsAbsent(Struct, frozen=True, array_like=True, tag="who_is_absent"):
    """Question to the server which of these users and rooms are absent. Receivers of webhooks believe them present."""

    users: list[str]
    rooms: list[str]


class Answer(Struct, frozen=True, array_like=True, tag="answer"):
    """To a question."""

    number: int
    json: bytes
    error: str = ""
    """Why there is no answer."""


class Figures(Struct, frozen=True, array_like=True, tag="figures"):
    """How the webhooks are."""

    webhooks: WebhookFigures


ToServer = Page | Ready | Refused | State | Stored | WhoIsAbsent | Answer | Figures

_encoder = msgspec.msgpack.Encoder()
to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
to_server: msgspec.msgpack.Decoder[ToServer] = msgspec.msgpack.Decoder(ToServer)


def encode(message: ToWorker | ToServer) -> bytes:
    """Return the message with its length as prefix.

    Raises:
        MessageTooLong: The message has more than `MAX_MESSAGE` bytes.
    """
    data = _encoder.encode(message)
    if len(data) > MAX_MESSAGE:
        raise MessageTooLong(f"a message of {len(data):,} bytes; at most {MAX_MESSAGE:,} are allowed")
    return HEADER.pack(len(data)) + data


def in_parts(facts: list[F], send: Callable[[list[F]], None]) -> int:
    """Send facts in as few messages as `MAX_MESSAGE` allows.

    Args:
        send: Function that sends some of the facts, or raises `MessageTooLong`.

    Returns:
        Number of facts dropped because each of them alone is too long.
    """
    try:
        send(facts)
    except MessageTooLong:
        if len(facts) == 1:
            return 1
        middle = len(facts) // 2
        return in_parts(facts[:middle], send) + in_parts(facts[middle:], send)
    return 0


def size_in(header: bytes | bytearray | memoryview) -> int:
    """Return the size of the message after this header.

    Raises:
        BrokenStream: The size is above `MAX_MESSAGE`.
    """
    size: int = HEADER.unpack(header)[0]
    if size > MAX_MESSAGE:
        raise BrokenStream(f"a message of {size:,} bytes was announced; at most {MAX_MESSAGE:,} are allowed")
    return size


class Splitter:
    """Decoder from bytes to messages.

    Bounds: one incomplete message of `MAX_MESSAGE` bytes, plus one read.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def split(self, data: bytes) -> Iterator[bytes]:
        """Return the messages that are now complete.

        Raises:
            BrokenStream: A message is too long. The connection is unusable from then on.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= HEADER.size:
            end = start + HEADER.size + size_in(buffer[start : start + HEADER.size])
            if end > len(buffer):
                break
            yield bytes(buffer[start + HEADER.size : end])
            start = end
        del buffer[:start]
