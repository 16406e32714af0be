"""Requests of presenced.v1 that are almost valid: each gets a response, and none has an effect on others."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from tests.support.fuzz import seeds
from tests.support.node_harness import NodeHarness

from presenced.presence.model import Ending

REQUESTS: list[dict[str, Any]] = [
    {"type": "PING", "id": 1},
    {"type": "ACTIVITY", "state": "idle", "id": "a"},
    {
        "type": "SET_STATUS",
        "status": "busy",
        "text": "hm",
        "emoji": "☕",
        "data": {"a": [1, 2]},
        "expiresIn": 5,
        "id": 2,
    },
    {"type": "WATCH", "everyone": True, "users": ["ada", 7], "rooms": ["r"], "mode": "full", "id": 3},
    {"type": "WATCH", "everyone": True, "users": ["ada", 7], "rooms": ["r"], "mode": "count", "id": 4},
    {"type": "UNWATCH", "everyone": True, "users": ["ada", 7], "rooms": ["r"], "id": 5},
    {"type": "JOIN", "room": "r", "data": {"a": None}, "id": 6},
    {"type": "SET_MEMBER", "room": "r", "data": [True], "id": 7},
    {"type": "LEAVE", "room": "r", "id": 8},
]

VALUES: list[Any] = [
    *(None, True, 0, -1, 1.5, 2**53, 2**70, 1e300, "", "x", "x" * 200, "\u202e", "\x00", "👩‍💻", [], {}, [[]]),
    *({"a": 1}, ["r"], [None], [""], "everyone", "__proto__", "r", "auto", "invisible", 1e-9, "7", 7),
]


def almost(random: Random) -> str:
    """Return a request with changed parts."""
    request = dict(random.choice(REQUESTS))
    for _ in range(random.choice([0, 1, 1, 2, 4])):
        key = random.choice([*request, "extra", "room", "users", "data"])
        if random.random() < 0.2:
            request.pop(key, None)
        else:
            request[key] = random.choice(VALUES)
    text = json.dumps(request, ensure_ascii=random.random() < 0.5)
    if random.random() < 0.2:
        start, end = sorted(random.randrange(len(text) + 1) for _ in range(2))
        text = text[:start] + random.choice(["", "\\", '"', "[", "{}", "1e999", "\\ud800", "nul"]) * 2 + text[end:]
    return text


def test_every_request_gets_a_response_and_does_no_harm() -> None:
    for seed in seeds(150):
        random = Random(seed)
        harness = NodeHarness(
            request_rate=10_000, request_burst=10_000, room_coalesced=2, room_counts=3, snapshot_page=2
        )
        watch = ("everyone", "none")
        clients = [harness.open(f"userId={who}&watch={random.choice(watch)}") for who in ("ada", "7", "7", "eve")]
        for _ in range(60):
            client = random.choice(clients)
            before = len(client.messages)
            text = almost(random)
            harness.node.received(client, text)
            if not isinstance(request_id := id_of(text), (int, str)) or isinstance(request_id, bool):
                continue
            answers = [m for m in client.messages[before:] if m["type"] in ("ACK", "ERROR", "PONG")]
            assert len(answers) == 1, f"seed {seed}: {text}"
            harness.clock.advance(random.choice([0, 0, 0.01, 0.6, 2]))
        assert not any(client.closed_with for client in clients)
        harness.clock.advance(60)
        for client in clients:  # every message can be read: the fake connection has decoded it
            harness.end(client, random.choice([Ending.CLOSED, Ending.GOING_AWAY, Ending.LOST]))
        harness.clock.advance(200)
        assert harness.node.stats().online_users == 0
        assert harness.node.stats().total_connections == 0


def id_of(text: str) -> Any:
    """Return the id that the response must have, or None if it may have none."""
    try:
        request = json.loads(text)
    except ValueError:
        return None
    found = request.get("id") if isinstance(request, dict) else None
    return None if isinstance(found, str) and len(found) > 64 else found
