"""Messages between nodes."""

from __future__ import annotations

import pytest
from msgspec import msgpack

from presenced.cluster.messages import Drain, decode_node_message, encode_node_message


def test_a_message_reads_as_it_was_written() -> None:
    assert decode_node_message(encode_node_message(Drain("1abc"))) == Drain("1abc")


def test_fields_that_a_newer_release_appends_are_ignored() -> None:
    assert decode_node_message(msgpack.encode(["drain", "1abc", "new"])) == Drain("1abc")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"nonsense",
        msgpack.encode(["unknown", 1]),
        msgpack.encode(["drain"]),
        msgpack.encode(["drain", 1]),
    ],
)
def test_unknown_and_damaged_messages_are_ignored(data: bytes) -> None:
    assert decode_node_message(data) is None
