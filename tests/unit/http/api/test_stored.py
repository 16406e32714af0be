"""Endpoints that the database answers, with a fake database."""

from __future__ import annotations

import pytest
from tests.support.memory_api import FakeStorage, api_client

from presenced.storage.records import StoredUser
from presenced.testing import FakeClock

pytestmark = pytest.mark.anyio


async def test_answers_of_the_database_are_passed_on_unchanged() -> None:
    storage = FakeStorage()
    async with api_client(storage) as (_, client):
        assert (await client.get("/users/7/history?after=9&limit=5")).json() == {"changes": [], "next": None}
        assert (await client.get("/users/7/sessions/past")).json()["sessions"] == []
        await client.get("/users/7/sessions/past?after=1767-7-1767")
        assert (await client.get("/webhooks/dead?after=x")).json()["deadLetters"] == []
        assert (await client.post("/webhooks/dead/retry", json={"ids": ["a"]})).json() == {"retried": 3}
        assert (await client.delete("/users/7")).json() == {"closed": 0, "stored": 12}
        refused = await client.get("/users/7/sessions/past?after=nonsense")
        assert (refused.status_code, refused.json()["code"]) == (400, "BAD_PARAMETER")
        assert storage.asked == [
            ("7", "9", 5),
            ("7", "", 100),
            ("7", "1767-7-1767", 100),
            ("x", 100),
            (["a"],),
            ("7",),
        ]


async def test_last_seen_is_newer_than_the_stored_row_while_facts_wait() -> None:
    storage = FakeStorage()
    storage.waiting = {
        "7": StoredUser("7", "offline", 9, 800, 900, 800),
        "eve": StoredUser("eve", "offline", 9, 1, 2, 3),
    }
    async with api_client(storage) as (_, client):
        found = (await client.post("/users/last-seen", json={"users": [7, "ada", "eve"]})).json()
        assert found["users"] == [
            {"userId": 7, "status": "offline", "lastSeen": 900, "lastActive": 800},
            {"userId": "ada", "status": "offline", "lastSeen": 100, "lastActive": 90},
            {"userId": "eve", "status": "offline", "lastSeen": 2, "lastActive": 3},
        ]


async def test_last_seen_is_the_stored_time_or_now_for_users_online() -> None:
    async with api_client(FakeStorage()) as (service, client):
        service.announce("ada", online=True)
        found = (await client.post("/users/last-seen", json={"users": [7, "ada", "eve", "", None]})).json()
        now = FakeClock().now().epoch_ms
        assert found["users"] == [
            {"userId": 7, "status": "offline", "lastSeen": 500, "lastActive": 400},
            {"userId": "ada", "status": "online", "lastSeen": now, "lastActive": 90},
            {"userId": "eve", "status": "offline"},
        ]
        assert [error["index"] for error in found["errors"]] == [3, 4]
        assert (await client.get("/users/7/last-seen")).json()["lastSeen"] == 500


PATHS = ("/users/7/history", "/users/7/last-seen", "/users/7/sessions/past", "/webhooks/dead")


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_database_the_error_names_the_missing_setting(path: str) -> None:
    async with api_client() as (_, client):
        response = await client.get(path)
        detail = "no webhooks are sent: set webhook_urls" if "webhooks" in path else "nothing is stored: set database"
        assert (response.status_code, response.json()["detail"]) == (409, detail)
        assert (await client.delete("/users/7")).json() == {"closed": 0, "stored": 0}


@pytest.mark.parametrize("path", PATHS)
async def test_an_unavailable_database_is_a_503(path: str) -> None:
    async with api_client(FakeStorage(is_down=True)) as (_, client):
        response = await client.get(path)
        assert (response.status_code, response.json()["detail"]) == (503, "the database does not answer")
        assert response.headers["retry-after"]


async def test_an_empty_list_retries_no_dead_letter_and_no_list_retries_all() -> None:
    storage = FakeStorage()
    async with api_client(storage) as (_, client):
        await client.post("/webhooks/dead/retry", json={"ids": []})
        await client.post("/webhooks/dead/retry", json={})
    assert storage.asked == [([],), (None,)]
