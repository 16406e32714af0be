"""Log lines about decisions of backends, and about the stop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.node_harness import NodeHarness

from presenced.auth.tickets import Tickets


def lines(caplog: pytest.LogCaptureFixture, *events: str) -> list[tuple[str, dict[str, Any]]]:
    """Return message and fields of each line with one of these events."""
    found = [(record.getMessage(), record.__dict__) for record in caplog.records]
    return [(text, about["fields"]) for text, about in found if about.get("event") in events]


def test_a_revocation_is_one_line_with_the_user(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "presenced")
    harness = NodeHarness(Tickets(), auth="ticket")
    harness.service.revoke("ada")
    harness.service.revoke("bob", token_id="t1")
    assert lines(caplog, "revoked") == [
        ("🔒 WS: Tokens of user ada revoked", {"userId": "ada", "tokens": "user", "closed": 0}),
        ("🔒 WS: Tokens of user bob revoked", {"userId": "bob", "tokens": "token", "closed": 0}),
    ]


def test_an_anonymous_log_names_no_user_whose_tokens_are_revoked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "presenced")
    harness = NodeHarness(Tickets(), auth="ticket", log_anonymous=True)
    harness.service.revoke("ada")
    assert "ada" not in caplog.text


def test_an_erasure_is_one_line_without_the_user(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "presenced")
    harness = NodeHarness()
    harness.connect("ada")
    caplog.clear()
    asyncio.run(harness.service.erase("ada"))
    [(text, fields)] = lines(caplog, "erased")
    assert text == "🧹 WS: A user was erased: 1 connections closed, 0 rows deleted"
    assert fields == {"closed": 1, "stored": 0}
