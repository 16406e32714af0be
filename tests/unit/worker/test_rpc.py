"""The pipe between the server and its storage worker: messages of any size up to the bound, and none beyond it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.storage.records import RestoredDisplay, StoredRevocation
from presenced.worker import rpc
from presenced.worker.rpc import (
    MAX_MESSAGE_BYTES,
    MESSAGE_HEADER,
    BrokenStream,
    CallResult,
    MessageTooLong,
    RecordBatch,
    RestoredPage,
    Splitter,
    encode_message,
    send_in_parts,
    to_server,
    to_worker,
)


@given(sizes=st.lists(st.integers(0, 300), max_size=8), step=st.integers(1, 400))
def test_messages_are_decoded_whole_however_the_bytes_arrive(sizes: list[int], step: int) -> None:
    sent = [CallResult(number, b"x" * size) for number, size in enumerate(sizes)]
    data, splitter = b"".join(map(encode_message, sent)), Splitter()
    parts = [part for start in range(0, len(data), step) for part in splitter.split(data[start : start + step])]
    assert [to_server.decode(part) for part in parts] == sent


def test_a_message_above_the_bound_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(encode_message(CallResult(1, b"x" * 1000))) - MESSAGE_HEADER.size
    monkeypatch.setattr(rpc, "MAX_MESSAGE_BYTES", size)
    assert encode_message(CallResult(1, b"x" * 1000))
    with pytest.raises(MessageTooLong, match=rf"{size + 1:,} bytes; at most {size:,}"):
        encode_message(CallResult(1, b"x" * 1001))


def test_the_announcement_of_a_message_above_the_bound_is_an_error() -> None:
    """Its header alone ends the connection, without buffering."""
    splitter = Splitter()
    assert list(splitter.split(MESSAGE_HEADER.pack(MAX_MESSAGE_BYTES)[:2])) == []
    assert list(splitter.split(MESSAGE_HEADER.pack(MAX_MESSAGE_BYTES)[2:])) == []
    with pytest.raises(BrokenStream, match=f"{MAX_MESSAGE_BYTES + 1:,} bytes was announced"):
        list(Splitter().split(MESSAGE_HEADER.pack(MAX_MESSAGE_BYTES + 1)))


def test_records_too_many_for_a_message_are_sent_in_several_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [StoredRevocation("user", f"u{number}", 1.0, 2.0) for number in range(100)]
    monkeypatch.setattr(rpc, "MAX_MESSAGE_BYTES", 300)
    sent: list[bytes] = []
    assert send_in_parts(records, lambda some: sent.append(encode_message(RecordBatch(1, 1, list(some))))) == 0
    assert len(sent) > 1
    assert max(map(len, sent)) <= 300 + MESSAGE_HEADER.size
    batches = [to_worker.decode(message[MESSAGE_HEADER.size :]) for message in sent]
    assert [record for batch in batches if isinstance(batch, RecordBatch) for record in batch.records] == records


def test_a_record_that_is_too_long_by_itself_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [RestoredDisplay(f"u{number}", b"x" * (1000 if number == 3 else 10)) for number in range(7)]
    monkeypatch.setattr(rpc, "MAX_MESSAGE_BYTES", 300)
    sent: list[RestoredDisplay] = []

    def send(some: list[RestoredDisplay]) -> None:
        encode_message(RestoredPage(list(some)))
        sent.extend(some)

    assert send_in_parts(records, send) == 1
    assert sent == records[:3] + records[4:]
