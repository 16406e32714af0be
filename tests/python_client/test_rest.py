"""`PresenceApi` has a method for each operation of the HTTP API, and works with the real server."""

from __future__ import annotations

import asyncio
import inspect
import json
import re

import pytest
from tests.support.clients import StartServer
from tests.support.documents import ROOT
from tests.support.raw import PATIENCE
from tests.support.tokens import KEY, READ

from presenced_client import PresenceError
from presenced_client.rest import PresenceApi

NOT_HERE = {"watch"}
"""A stream for browsers behind a proxy without WebSockets. Programs have `Presence`."""

HELPERS = {"request", "changes"}


def test_there_is_a_method_for_each_operation() -> None:
    paths = json.loads((ROOT / "spec/openapi.json").read_text("utf-8"))["paths"]
    names = {operation["operationId"] for methods in paths.values() for operation in methods.values()}
    methods = {
        name
        for name, method in inspect.getmembers(PresenceApi, inspect.isfunction)
        if not name.startswith("_") and name not in HELPERS
    }
    assert methods == {re.sub(r"([A-Z])", r"_\1", name).lower() for name in names - NOT_HERE}


@pytest.mark.anyio
@pytest.mark.slow
async def test_every_method_reaches_its_endpoint(start_server: StartServer) -> None:
    server = start_server({"PRESENCED_API_KEYS": KEY.entry}, auth="ticket")
    async with PresenceApi(server.url, KEY.key, trust_env=False) as api:
        assert await api.announce("ada/1", online=True)
        assert (await api.get_user("ada/1", viewer="bob"))["status"] == "online"
        assert (await api.query_users([7, "ada/1"]))["users"][0]["userId"] == 7
        online = await api.list_online(limit=5)
        assert [user["userId"] for user in online["users"]] == ["ada/1"]
        assert await api.get_counts()
        assert await api.list_rooms()
        assert (await api.set_status("ada/1", "busy", text="x", expires_in=60))["text"] == "x"
        assert (await api.clear_status("ada/1"))["status"] == "online"
        assert (await api.set_claim("ada/1", "calendar", "busy", priority=5))["status"] == "busy"
        assert len((await api.list_claims("ada/1"))["claims"]) == 1
        await api.clear_claim("ada/1", "calendar")
        assert await api.explain_user("ada/1")
        assert (await api.new_ticket("ada/1", presence={"watch": ["bob"]}))["ticket"]
        assert await api.list_sessions("ada/1") is not None
        assert await api.list_all_sessions() is not None
        await api.revoke("ada/1")
        await api.disconnect("ada/1")
        page = await api.follow_changes(online["position"])
        assert page["changes"]
        await api.erase("ada/1")
        assert (await api.get_room("lobby"))["members"] == []
        for method in (api.get_last_seen, api.list_history, api.list_past_sessions):
            with pytest.raises(PresenceError) as refused:
                await method("ada/1")
            assert (refused.value.code, refused.value.numeric_code) == ("CONFLICT", 409), "there is no database"
        for call in (api.query_last_seen(["ada"]), api.list_dead_letters(), api.retry_dead_letters()):
            with pytest.raises(PresenceError, match="CONFLICT"):
                await call


@pytest.mark.anyio
@pytest.mark.slow
async def test_changes_follows_across_a_restart_until_they_are_gone(start_server: StartServer) -> None:
    server = start_server()
    async with PresenceApi(server.url, trust_env=False) as api, asyncio.timeout(PATIENCE):
        changes = aiter(api.changes((await api.list_online())["position"]))
        await api.announce("ada", online=True)
        assert (await anext(changes))["userId"] == "ada"
        following = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        with pytest.raises(PresenceError, match="CURSOR_TOO_OLD"):
            await following


@pytest.mark.anyio
@pytest.mark.slow
async def test_a_key_without_the_scope_is_refused(start_server: StartServer) -> None:
    server = start_server({"PRESENCED_API_KEYS": f"{KEY.entry},{READ.entry}"})
    async with PresenceApi(server.url, READ.key, trust_env=False) as api:
        assert (await api.get_user("ada"))["status"] == "offline"
        with pytest.raises(PresenceError) as refused:
            await api.announce("ada", online=True)
        assert (refused.value.code, refused.value.retryable) == ("FORBIDDEN", False)
