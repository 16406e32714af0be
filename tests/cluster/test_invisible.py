"""Users who are invisible, on several nodes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from tests.cluster.conftest import Nodes
from tests.cluster.test_nodes import until_status, visit
from tests.support.clients import Backend, client, until
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE
from websockets.asyncio.client import ClientConnection

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


async def get(server: ServerProcess, path: str) -> Any:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        response = await http.get(f"{server.url}api/v1{path}")
    assert response.is_success, response.text
    return response.json()


async def received(socket: ClientConnection, until_user: str) -> list[dict[str, Any]]:
    """Return what a classic client receives until it is told that this user is online."""
    messages: list[dict[str, Any]] = []
    while messages[-1:] == [] or (messages[-1].get("type"), messages[-1].get("userId")) != ("USER_ONLINE", until_user):
        messages.append(json.loads(await socket.recv()))
    return messages


async def until_chosen(server: ServerProcess, user_id: str, status: str) -> None:
    """Wait until a node knows the choice of a user."""
    async with asyncio.timeout(PATIENCE):
        while ((await get(server, f"/users/{user_id}/explain"))["chosen"] or {}).get("status") != status:
            await asyncio.sleep(0.01)


async def test_invisible_leaks_on_no_node(nodes: Nodes) -> None:
    """An invisible user looks offline in every answer of every node, and their own devices know better."""
    first, second = nodes.start(), nodes.start()
    shown: list[str] = []
    cursors = {server.port: (await get(server, "/changes"))["next"] for server in (first, second)}
    async with (
        visit(second, "classic") as classic,
        client(second, "bob") as bob,
        bob.watch(["ada"]),
        bob.watch(),
        client(first, "ada", status="invisible") as ada,
    ):
        await until(ada, lambda: ada.self is not None and ada.self.status == "invisible")
        await until_chosen(second, "ada", "invisible")  # before that, another device makes the user online there
        async with (
            client(second, "ada", device="phone") as phone,
            ada.room("lobby"),
            bob.room("lobby") as there,
            visit(first, "marker"),
        ):
            await until(phone, lambda: phone.self is not None and phone.self.status == "invisible")
            await until_status(bob, "marker", "online")  # everything before has reached the second node
            messages = await received(classic, "marker")
            assert not [message for message in messages if "ada" in json.dumps(message)]
            assert "ada" not in there.members
            assert "ada" not in bob.everyone
            for server in (first, second):
                backend = Backend(server)
                assert await backend.status("ada") == "offline"
                assert "ada" not in json.dumps(await get(server, "/rooms/lobby"))
                changes = await get(server, f"/changes?after={cursors[server.port]}&limit=500")
                shown += [one["status"] for one in changes["changes"] if one["userId"] == "ada"]
            assert bob.user("ada").status == "offline"
            assert bob.user("ada").devices == ()
            await phone.set_status("busy")
            await until_status(bob, "ada", "busy")
            await until(bob, lambda: "ada" in there.members)
            await ada.set_status("invisible")
            await until_status(bob, "ada", "offline")
            await until(bob, lambda: "ada" not in there.members)
            await until(phone, lambda: phone.self is not None and phone.self.status == "invisible")
            assert bob.user("ada").text == ""
    assert [status for status in shown if status != "offline"] == []
