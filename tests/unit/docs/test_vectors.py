"""Conversations of the specification: the node reproduces them, and `spec/asyncapi.yaml` describes their messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.asyncapi import DOCUMENT, check
from tests.support.known_state import with_expectations
from tests.support.v1_replica import V1Replica
from tests.support.vectors import FILES, lines_of, recorded

RECORD = "if this is intended, run `python -m tests.support.vectors`, and review the changes in spec/vectors"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_the_node_reproduces_a_conversation_of_the_specification(path: Path) -> None:
    lines = [line for line in lines_of(path) if line.get("do") != "expect"]
    heard = recorded(lines)
    for found, expected in zip(heard, lines, strict=False):
        assert found == expected, RECORD
    assert len(heard) == len(lines), RECORD


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_the_reference_model_knows_what_a_conversation_expects(path: Path) -> None:
    lines = lines_of(path)
    for found, expected in zip(with_expectations(lines), lines, strict=False):
        assert found == expected, RECORD
    assert len(with_expectations(lines)) == len(lines), RECORD


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_a_line_that_expects_something_follows_messages_to_its_client(path: Path) -> None:
    heard: set[str] = set()
    for line in lines_of(path)[1:]:
        if line["do"] == "hear":
            heard.add(line["client"])
        assert line["do"] != "expect" or line["client"] in heard


def test_the_model_forgets_the_members_of_a_room_that_only_counts_them() -> None:
    replica = V1Replica()
    member = {"userId": "bob", "presence": {"userId": "bob", "status": "online", "version": 1}}
    room = {"type": "ROOM_CHANGES", "room": "hall"}
    replica.take({**room, "type": "ROOM_SNAPSHOT", "mode": "full", "count": 1, "page": 1, "members": [member]})
    assert replica.rooms == {"hall": {"bob": None}}
    replica.take({**room, "mode": "counts", "count": 9})
    assert replica.rooms == {}
    replica.take({**room, "mode": "coalesced", "count": 1, "members": [member]})
    assert replica.rooms == {}, "unknown until the client has requested the members again"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_the_messages_of_a_conversation_are_described(path: Path) -> None:
    channels: dict[str, str] = {}
    for line in lines_of(path)[1:]:
        if line["do"] == "connect":
            channels[line["client"]] = "v1" if "subprotocol" in line else "classic"
        elif line["do"] == "hear":
            check(with_values(line["message"]), channels[line["client"]])


def with_values(part: Any) -> Any:
    """Return the part with 1 in place of the names that stand for versions."""
    if isinstance(part, dict):
        return {key: 1 if key == "version" else with_values(value) for key, value in part.items()}
    return [with_values(value) for value in part] if isinstance(part, list) else part


def test_every_kind_of_message_except_going_away_is_in_a_conversation() -> None:
    heard = {line["message"]["type"] for path in FILES for line in lines_of(path)[1:] if line["do"] == "hear"}
    sent = {line["message"]["type"] for path in FILES for line in lines_of(path)[1:] if "message" in line}
    assert heard | sent - {"DANCE"} == {
        *DOCUMENT["channels"]["classic"]["messages"],
        *DOCUMENT["channels"]["v1"]["messages"],
    } - {"GOING_AWAY"}
