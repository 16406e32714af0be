"""Keys and values in Redis: users, entries, members and commits as bytes.

`P` is `<cluster_name>:{<tag>}:`. All keys of a shard have its tag, so they are in one hash slot of a Redis Cluster:

    P head            hash      highest number `n`, generation `gen`, id of the store's process `run`, `epoch`,
                                registrations `count`, number of the `last` entry, `layout`, `shards`,
                                logged `items`, marks for trimming the log `mark<0..20>`
    P log             stream    ids `<n>-0`; fields `a` author, `b` serial, `k` kind, `p` number of the entry before,
                                `d` body, `e` items as a MessagePack array
    P users           hash      user id -> 8 bytes n, 8 bytes version, record
    P nodes           hash      slot -> `<incarnation> <state> <heartbeat> <remover> `, and name and figures
    P at:<slot>       hash      user id -> sessions of the user on this node
    P rooms:<slot>    hash      user id -> rooms of the user on this node
    <cluster_name>:{i<slot>}:in           stream    messages to a node: field `m`, 1 byte slot of the sender, message
    <cluster_name>:<kind>:<digest>        string    a value that one node leaves for another
    <cluster_name>:{r}:revoked            hash      `<kind> <subject>` -> `<at> <until>`, in epoch seconds
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct

import msgspec

from presenced.cluster.backend import (
    MAX_SLOTS,
    CommitBatch,
    ContributionUpdate,
    Entry,
    EntryKey,
    Item,
    Kind,
    Member,
    State,
    StoreRecord,
)
from presenced.cluster.log import LoggedEntry
from presenced.storage.records import StoredRevocation

LAYOUT = 1
"""Version of this format. A node does not start on a store with another version."""

MAX_SHARDS = 16
"""Maximum number of shards. Each needs a tag."""

# Tags whose hash slots distribute the shards evenly over any number of masters. With `{0}` to `{15}`, three masters
# would have 4, 6 and 6 shards.
# fmt: off
TAGS = (
    "0ax", "1lr", "2zv", "3yz", "4lr", "5ax", "6yz", "7jr",
    "8uv", "9vz", "10dj", "11xc", "12wh", "13ka", "14hg", "15tn",
)
# fmt: on

_NUMBERS = Struct(">QQ")  # n and version of a user


def other_layout(layout: bytes, shards: bytes, own_shards: int) -> str:
    """Return why a node cannot use a store with this layout and this number of shards."""
    advice = f"set cluster_shards to {shards.decode()}, or " if layout == b"%d" % LAYOUT else ""
    return (
        f"the store has layout {layout.decode()} and {shards.decode()} shards, but this node expects "
        f"layout {LAYOUT} and {own_shards}: {advice}choose another cluster_name"
    )


Arguments = list[bytes]
"""Arguments of a script."""


class Keys:
    """Names of the keys of one shard."""

    def __init__(self, cluster_name: str, shard: int) -> None:
        prefix = f"{cluster_name}:{{{TAGS[shard]}}}:"
        self.head = f"{prefix}head".encode()
        self.log = f"{prefix}log".encode()
        self.users = f"{prefix}users".encode()
        self.nodes = f"{prefix}nodes".encode()
        self.sessions = [f"{prefix}at:{slot}".encode() for slot in range(MAX_SLOTS)]
        self.rooms = [f"{prefix}rooms:{slot}".encode() for slot in range(MAX_SLOTS)]


def inbox_key(cluster_name: str, slot: int) -> bytes:
    """Return the key of the messages to the node in a slot."""
    return f"{cluster_name}:{{i{slot}}}:in".encode()


def revoked_key(cluster_name: str) -> bytes:
    """Return the key of the revoked users and tokens."""
    return f"{cluster_name}:{{r}}:revoked".encode()


# Revoked users and tokens.


def encode_revoked(revoked: Iterable[StoredRevocation]) -> Arguments:
    """Return revocations as alternating fields and values."""
    pieces: Arguments = []
    for one in revoked:
        pieces += (f"{one.kind} {one.subject}".encode(), f"{one.at!r} {one.until!r}".encode())
    return pieces


def decode_revoked(flat: Sequence[bytes]) -> list[StoredRevocation]:
    """Return the revocations in a reply of alternating fields and values."""
    found = []
    for name, value in pairs(flat):
        kind, _, subject = name.decode().partition(" ")
        at, until = value.split()
        found.append(StoredRevocation(kind, subject, float(at), float(until)))
    return found


# Users.


def number(n: int) -> bytes:
    """Return `n` as the 8 bytes that the scripts compare; empty for 0."""
    return n.to_bytes(8, "big") if n else b""


def decode_user(user_id: bytes, value: bytes) -> StoreRecord:
    """Return the user in a field and a value of `P users`."""
    n, version = _NUMBERS.unpack_from(value)
    return StoreRecord(user_id.decode(), n, version, value[16:])


def decode_users(flat: Sequence[bytes]) -> list[StoreRecord]:
    """Return the users in a reply of alternating ids and values."""
    return [decode_user(user_id, value) for user_id, value in pairs(flat)]


# Members.


class _About(msgspec.Struct, array_like=True):
    """Part of a member that the scripts do not read."""

    name: str
    figures: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode_about = msgspec.msgpack.Decoder(_About).decode


def encode_about(name: str, figures: bytes) -> bytes:
    """Return the name and the figures of a member as bytes."""
    return _encode(_About(name, figures))


def decode_member(slot: bytes, value: bytes) -> Member:
    """Return the member in a field and a value of `P nodes`."""
    incarnation, state, heartbeat, remover, rest = value.split(b" ", 4)
    about = _decode_about(rest)
    return Member(
        slot=int(slot),
        name=about.name,
        incarnation=incarnation.decode(),
        heartbeat=int(heartbeat),
        state=State(state.decode()),
        figures=about.figures,
        remover="" if remover == b"-" else remover.decode(),
    )


def decode_members(flat: Sequence[bytes]) -> list[Member]:
    """Return the members in a reply of alternating slots and values."""
    return [decode_member(slot, value) for slot, value in pairs(flat)]


# Batches.


def encode_commit(keys: Keys, batch: CommitBatch) -> tuple[Arguments, Arguments]:
    """Return a batch for `commit.lua`.

    Returns:
        Keys of the contributions that the batch changes, and the arguments for its proposals.
    """
    extra: dict[bytes, bytes] = {}  # index of each key among all keys of the script, from 1 as in Lua
    arguments: Arguments = []
    for proposal in batch.proposals:
        user_id, _, record, is_kept, is_visible, updates = proposal
        values: Arguments = []
        for slot, sessions, rooms in updates:
            if sessions is not None:
                values += (_index(extra, keys.sessions[slot]), sessions)
            if rooms is not None:
                values += (_index(extra, keys.rooms[slot]), rooms)
        arguments += (
            user_id.encode(),
            number(proposal.expected),
            (b"v" if is_visible else b"-") + (b"k" if is_kept else b"-"),
            record if is_kept else b"",
            _encode((user_id, record, is_kept, updates))[1:],  # without the header: the script adds an element
            b"%d" % (len(values) // 2),
            *values,
        )
    return list(extra), arguments


def _index(extra: dict[bytes, bytes], key: bytes) -> bytes:
    """Return the index of a key, after adding it to `extra` if it is new."""
    found = extra.get(key)
    if found is None:
        found = extra[key] = b"%d" % (len(extra) + 5)  # after head, log, users and nodes
    return found


# Entries.


class _Item(msgspec.Struct, array_like=True):
    """Item of an entry, as `commit.lua` writes it. Its number follows from its place in the entry."""

    version: int
    user_id: str
    record: bytes
    is_kept: bool
    contributions: tuple[ContributionUpdate, ...]


_decode_items = msgspec.msgpack.Decoder(list[_Item]).decode


def decode_entry(stream_id: bytes, fields: Sequence[bytes]) -> LoggedEntry:
    """Return an entry of `P log`."""
    _, author, _, serial, _, kind, _, previous, _, body, _, packed = fields
    key = _entry_key(stream_id, author, serial)
    items = _decode_items(packed)
    accepted = []
    for n, item in enumerate(items, key.n - len(items) + 1):
        version = n if item.version == n else item.version  # one object for both saves memory
        accepted.append(Item(item.user_id, n, version, item.record, item.is_kept, item.contributions))
    entry = Entry(key.n, key.slot, key.incarnation, key.serial, Kind(kind.decode()), tuple(accepted), body)
    return LoggedEntry(entry, int(previous))


def decode_entry_key(stream_id: bytes, fields: Sequence[bytes]) -> EntryKey:
    """Return the identity of an entry."""
    return _entry_key(stream_id, fields[1], fields[3])


def _entry_key(stream_id: bytes, author: bytes, serial: bytes) -> EntryKey:
    slot, incarnation = author.split()
    return EntryKey(int(stream_id.partition(b"-")[0]), int(slot), incarnation.decode(), int(serial))


def pairs(flat: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Return a flat sequence of keys and values as pairs."""
    iterator = iter(flat)
    return zip(iterator, iterator, strict=True)
