"""Bytes of the classic messages, compared with `spec/vectors/classic.jsonl`, and their frames."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from presenced.presence.model import Cause, Change, Status, View
from presenced.protocols.classic.codec import change_message, established_message
from presenced.runtime.instant import Instant, timestamp
from presenced.runtime.text import refused_character

NOON = 1_704_110_400_000


def change(user_id: str, status: Status, epoch_ms: int = NOON) -> Change:
    return Change(1, user_id, View(status), Status.OFFLINE, 1, Instant(0, epoch_ms), 0, 0, Cause.CONNECT)


def test_connection_established_matches_the_contract() -> None:
    assert established_message("123", "123-1704110400000", Instant(0, NOON)) == (
        b'{"type":"CONNECTION_ESTABLISHED","userId":123,"timestamp":"2024-01-01T12:00:00.000Z",'
        b'"connectionId":"123-1704110400000"}'
    )


def test_user_online_and_offline_match_the_contract() -> None:
    online, offline = (change_message(change("123", s)) for s in (Status.ONLINE, Status.OFFLINE))
    assert online == b'{"type":"USER_ONLINE","userId":123,"timestamp":"2024-01-01T12:00:00.000Z"}'
    assert offline == b'{"type":"USER_OFFLINE","userId":123,"timestamp":"2024-01-01T12:00:00.000Z"}'


@pytest.mark.parametrize(
    "vector",
    [
        json.decode(line)
        for line in (Path(__file__).parents[4] / "spec/vectors/classic.jsonl").read_text("utf-8").splitlines()
    ],
    ids=lambda vector: str(vector["name"]),
)
def test_messages_match_the_vectors_of_the_specification(vector: dict[str, object]) -> None:
    user_id, epoch_ms = str(vector["user"]), int(str(vector["epochMs"]))
    match vector["event"]:
        case "established":
            made = established_message(user_id, f"{user_id}-{epoch_ms}", Instant(0, epoch_ms))
        case event:
            made = change_message(change(user_id, Status(str(event)), epoch_ms))
    assert made.decode() == vector["message"]


@pytest.mark.parametrize(
    ("epoch_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (NOON + 7, "2024-01-01T12:00:00.007Z"),
        (1709208000999, "2024-02-29T12:00:00.999Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_timestamps_have_the_format_of_javascript(epoch_ms: int, text: str) -> None:
    assert timestamp(epoch_ms) == text


@given(st.text(min_size=1, max_size=128).filter(lambda text: not refused_character(text)))
def test_every_user_id_arrives_unchanged(user_id: str) -> None:
    told = json.decode(change_message(change(user_id, Status.ONLINE)))
    assert str(told["userId"]) == user_id
    assert type(told["userId"]) in (int, str)
