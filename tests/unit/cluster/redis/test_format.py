"""Keys and values in Redis."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from presenced.cluster.backend import CommitBatch, ContributionUpdate, Kind, Member, Proposal, State
from presenced.cluster.redis.format import (
    MAX_SHARDS,
    Keys,
    decode_entry,
    decode_entry_key,
    decode_member,
    decode_user,
    encode_about,
    encode_commit,
    inbox_key,
    number,
)

KEYS = Keys("c", 0)


def test_all_keys_of_a_shard_are_in_one_hash_slot() -> None:
    keys = Keys("my cluster", 5)
    every = [keys.head, keys.log, keys.users, keys.nodes, *keys.sessions, *keys.rooms]
    assert len(set(every)) == 132
    assert len({key_slot(key) for key in every}) == 1


@pytest.mark.parametrize("shards", [8, 16])
@pytest.mark.parametrize("masters", [1, 2, 3, 4, 5, 6, 8])
def test_masters_have_equally_many_shards(shards: int, masters: int) -> None:
    counts = Counter(key_slot(Keys("c", shard).head) * masters // 16384 for shard in range(shards))
    assert len(counts) == masters
    assert max(counts.values()) - min(counts.values()) <= 1


def test_there_is_a_tag_for_every_shard() -> None:
    assert len({Keys("c", shard).head for shard in range(MAX_SHARDS)}) == MAX_SHARDS


def test_inboxes_are_spread() -> None:
    assert len({key_slot(inbox_key("c", slot)) for slot in range(64)}) > 50


def test_a_number_is_empty_for_no_record() -> None:
    assert number(0) == b""
    assert number(258) == bytes([0, 0, 0, 0, 0, 0, 1, 2])


def test_a_user_has_two_numbers_before_the_record() -> None:
    user = decode_user("ünï".encode(), number(7) + number(5) + b"record")
    assert user == ("ünï", 7, 5, b"record")


@given(name=st.text(), figures=st.binary(), state=st.sampled_from(list(State)), remover=st.sampled_from(["", "1abc"]))
def test_a_member_is_read_as_it_was_written(name: str, figures: bytes, state: State, remover: str) -> None:
    member = Member(12, name, "a0ff", 1234, state, figures, remover)
    written = f"a0ff {state.value} 1234 {remover or '-'} ".encode() + encode_about(name, figures)
    assert decode_member(b"12", written) == member


contributions = st.builds(ContributionUpdate, st.integers(0, 63), st.none() | st.binary(), st.none() | st.binary())
proposals = st.builds(
    Proposal,
    st.text(min_size=1),
    st.integers(0, 2**50),
    st.binary(),
    st.booleans(),
    st.booleans(),
    st.lists(contributions, max_size=3).map(tuple),
)


@given(st.lists(proposals, max_size=5))
def test_an_item_is_read_as_it_was_proposed(proposed: list[Proposal]) -> None:
    """The script puts a version before each item, and logs the rest as it is."""
    _, arguments = encode_commit(KEYS, CommitBatch(1, tuple(proposed)))
    packed = []
    position = 0
    for proposal in proposed:
        user_id, expected, flags, record, tail, count = arguments[position : position + 6]
        assert user_id == proposal.user_id.encode()
        assert expected == number(proposal.expected)
        assert flags == (b"v" if proposal.is_visible else b"-") + (b"k" if proposal.is_kept else b"-")
        assert record == (proposal.record if proposal.is_kept else b"")
        position += 6 + 2 * int(count)
        packed.append(b"\x95\xcf" + (99).to_bytes(8, "big") + tail)
    assert position == len(arguments)
    fields = _fields(b"items", b"", b"\xdc" + len(packed).to_bytes(2, "big") + b"".join(packed))
    entry, previous = decode_entry(b"1000-0", fields)
    assert previous == 17
    assert (entry.n, entry.slot, entry.incarnation, entry.serial, entry.kind) == (1000, 3, "1ab", 42, Kind.ITEMS)
    for index, (item, proposal) in enumerate(zip(entry.items, proposed, strict=True)):
        assert item.n == 1000 - len(proposed) + 1 + index
        assert item.version == 99
        wanted = (proposal.user_id, proposal.record, proposal.is_kept, proposal.contributions)
        assert (item.user_id, item.record, item.is_kept, item.contributions) == wanted
    assert decode_entry_key(b"1000-0", fields) == entry.key


def test_contributions_are_numbered_after_the_four_fixed_keys() -> None:
    batch = CommitBatch(
        1,
        (
            Proposal("a", 0, b"", True, True, (ContributionUpdate(3, b"s"), ContributionUpdate(9, None, b"r"))),
            Proposal("b", 0, b"", True, True, (ContributionUpdate(3, b"", b"x"), ContributionUpdate(4))),
        ),
    )
    keys, arguments = encode_commit(KEYS, batch)
    assert keys == [KEYS.sessions[3], KEYS.rooms[9], KEYS.rooms[3]]
    assert arguments[5:10] == [b"2", b"5", b"s", b"6", b"r"]
    assert arguments[15:] == [b"2", b"5", b"", b"7", b"x"]


def test_an_entry_without_items_has_a_body() -> None:
    entry = decode_entry(b"5-0", _fields(b"removed", b"3 1ab", b"\x90")).entry
    assert (entry.kind, entry.body, entry.items) == (Kind.REMOVED, b"3 1ab", ())


def test_fields_that_a_newer_release_adds_to_an_item_are_ignored() -> None:
    item: list[Any] = [7, "ada", b"r", True, [], "new"]
    entry = decode_entry(b"5-0", _fields(b"items", b"", msgspec.msgpack.encode([item]))).entry
    assert entry.items[0].user_id == "ada"


def _fields(kind: bytes, body: bytes, items: bytes) -> list[bytes]:
    return [b"a", b"3 1ab", b"b", b"42", b"k", kind, b"p", b"17", b"d", body, b"e", items]
