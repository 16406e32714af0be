"""Tickets, revocations and commands of the HTTP API hold on all nodes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from tests.cluster.conftest import Nodes
from tests.cluster.test_nodes import soon, until_status, visit
from tests.support.clients import client, until
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE
from tests.support.services import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from presenced.auth.api_keys import new_key

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

KEY = new_key("admin")


def start(nodes: Nodes, **settings: Any) -> ServerProcess:
    """Start a node whose clients need tickets."""
    return nodes.start(auth="ticket", api_keys=KEY.entry, **settings)


async def ask(server: ServerProcess, method: str, path: str, body: object = None) -> httpx.Response:
    """Send a request to the HTTP API of a node."""
    headers = {"authorization": f"Bearer {KEY.key}"}
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE, headers=headers) as http:
        return await http.request(method, f"{server.url}api/v1{path}", json=body)


async def ticket_of(server: ServerProcess, user_id: str = "ada", **more: Any) -> str:
    answer = await ask(server, "POST", "/tickets", {"userId": user_id, **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["ticket"])


async def present(server: ServerProcess, ticket: str) -> int:
    """Present a ticket, and return the close code; 0 if the connection was admitted."""
    async with connect(f"{server.websocket_url}?token={ticket}", proxy=None) as socket:
        try:
            async with asyncio.timeout(PATIENCE):
                await socket.recv()
        except ConnectionClosed:
            return socket.close_code or 1006
        return 0


def enter(server: ServerProcess, ticket: str) -> connect:
    """Connect with a ticket."""
    return connect(f"{server.websocket_url}?token={ticket}", proxy=None)


async def closed(socket: ClientConnection) -> int:
    """Read until the server closes, and return its code."""
    with pytest.raises(ConnectionClosed):
        async with asyncio.timeout(PATIENCE):
            while True:
                await socket.recv()
    return socket.close_code or 1006


async def test_a_ticket_works_once_on_any_node(nodes: Nodes) -> None:
    first, second = start(nodes), start(nodes)
    for _ in range(2):
        ticket = await ticket_of(first, presence={"display": {"name": "Ada"}})
        assert await present(second, ticket) == 0
        assert await present(second, ticket) == 4401
        assert await present(first, ticket) == 4401
        ticket = await ticket_of(first)
        both = await asyncio.gather(*(present(server, ticket) for server in (first, second)))
        assert sorted(both) == [0, 4401]


async def test_an_event_stream_opens_once_with_a_ticket_of_another_node(nodes: Nodes) -> None:
    first, second = start(nodes), start(nodes)
    ticket = await ticket_of(first)
    headers = {"accept": "text/event-stream"}
    path = f"api/v1/watch?users=ada&token={ticket}"
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE, headers=headers) as http:
        async with http.stream("GET", second.url + path) as stream:
            assert stream.status_code == 200
            lines = stream.aiter_lines()
            last = ""
            async for line in lines:
                last = line.removeprefix("id: ") if line.startswith("id: ") else last
                if line.startswith("data: {") and "snapshot" not in line:
                    break
        for server in (first, second):
            assert (await http.get(server.url + path)).status_code == 401
        async with http.stream("GET", second.url + path, headers={"last-event-id": last}) as again:
            assert again.status_code == 200, "it resumes on the node that had it"


async def test_no_ticket_works_twice_when_the_store_is_killed_and_returns(store: Redis, nodes: Nodes) -> None:
    first, second = start(nodes), start(nodes)
    before = await ticket_of(first)
    store.kill()
    await soon_local(first)
    assert await present(first, before) == 1013
    assert await present(second, before) == 1013
    used, unused = await ticket_of(first), await ticket_of(first)
    assert await present(second, used) == 1013
    assert await present(first, used) == 0
    store.start()
    deadline = time.monotonic() + 25
    while (code := await present(second, unused)) == 1013 and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    assert code == 0
    for server in (first, second):
        assert await present(server, used) in (1013, 4401)
        assert await present(server, unused) in (1013, 4401)


async def soon_local(*servers: ServerProcess) -> None:
    """Wait until nodes know that the store is out of reach."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http, asyncio.timeout(PATIENCE):
        for server in servers:
            while not any("out of reach" in one for one in (await http.get(f"{server.url}readyz")).json()["warnings"]):
                await asyncio.sleep(0.05)


async def test_a_revocation_closes_connections_on_all_nodes_and_holds_on_a_later_one(nodes: Nodes) -> None:
    first, second = start(nodes), start(nodes)
    async with (
        enter(first, await ticket_of(first)) as here,
        enter(second, await ticket_of(first)) as there,
        enter(second, await ticket_of(first, "bo")) as other,
    ):
        for socket in (here, there, other):
            await socket.recv()
        unused = await ticket_of(first)
        assert (await ask(first, "POST", "/users/ada/revoke", {})).json() == {"closed": 2}
        assert await closed(here) == await closed(there) == 4401
        late = start(nodes)
        assert await present(late, unused) == 4401
        assert await present(late, await ticket_of(second)) == 0
        assert other.close_code is None


async def test_a_response_says_the_change_and_watchers_of_other_nodes_see_it(nodes: Nodes) -> None:
    first, second = nodes.start(), nodes.start()
    async with client(second, "watcher") as watcher, watcher.watch(["ada"]), httpx.AsyncClient(trust_env=False) as http:
        for number in range(10):
            online = number % 2 == 0
            answer = await http.post(f"{first.url}api/v1/users/ada/announce", json={"online": online})
            assert answer.json() == {"changed": True}
            assert (await http.get(f"{first.url}api/v1/users/ada")).json()["status"] == ("online", "offline")[
                not online
            ]
            await until_status(watcher, "ada", "online" if online else "offline")
        answer = await http.post(f"{first.url}api/v1/users/ada/announce", json={"online": False})
        assert answer.json() == {"changed": False}
        await http.post(f"{first.url}api/v1/users/ada/announce", json={"online": True})
        answer = await http.put(f"{second.url}api/v1/users/ada/status", json={"status": "busy", "text": "deploying"})
        assert (answer.json()["status"], answer.json()["text"]) == ("busy", "deploying")
        answer = await http.put(f"{first.url}api/v1/users/ada/claims/calendar", json={"status": "away", "priority": 1})
        assert (answer.json()["status"], "certainty" in answer.json()) == ("away", False)
        answer = await http.delete(f"{second.url}api/v1/users/ada/claims/calendar")
        assert answer.json() == {"cleared": True}


async def test_a_user_is_disconnected_and_erased_on_all_nodes(nodes: Nodes) -> None:
    first, second = nodes.start(), nodes.start()
    async with client(second, "watcher") as watcher, watcher.watch(["ada"]), httpx.AsyncClient(trust_env=False) as http:
        async with visit(second, "ada") as ada:
            await until(watcher, lambda: watcher.user("ada").online)
            assert (await http.post(f"{first.url}api/v1/users/ada/disconnect")).json() == {"closed": 1}
            assert await closed(ada) == 4410
        await until_status(watcher, "ada", "offline")
        await http.put(f"{first.url}api/v1/users/ada/status", json={"status": "busy", "text": "secret"})
        async with visit(second, "ada") as ada:
            await until(watcher, lambda: watcher.user("ada").text == "secret")
            assert (await http.delete(f"{first.url}api/v1/users/ada")).json() == {"closed": 1, "stored": 0}
            assert await closed(ada) == 4410
        await until_status(watcher, "ada", "offline")
        async with visit(second, "ada"):
            await until(watcher, lambda: watcher.user("ada").online)
            assert watcher.user("ada").text == ""
        for server in (first, second):
            changes = (await http.get(f"{server.url}api/v1/users/ada/explain")).json()["changes"]
            assert not any("secret" in str(change) for change in changes)


async def test_without_the_store_a_response_is_stale(store: Redis, nodes: Nodes) -> None:
    first, second = nodes.start(), nodes.start()
    store.kill()
    await soon_local(first, second)
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        answer = await http.post(f"{first.url}api/v1/users/ada/announce", json={"online": True})
        assert answer.json() == {"changed": True, "certainty": "stale"}
        store.start()

        async def is_online() -> bool:
            return bool((await http.get(f"{second.url}api/v1/users/ada")).json()["status"] == "online")

        async with asyncio.timeout(PATIENCE):
            while not await is_online():
                await asyncio.sleep(0.05)


async def test_a_frozen_store_is_503_or_stale_and_the_command_takes_effect(store: Redis, nodes: Nodes) -> None:
    first, second = nodes.start(), nodes.start()
    async with client(second, "watcher") as watcher, watcher.watch(["ada"]), httpx.AsyncClient(trust_env=False) as http:
        await until_status(watcher, "ada", "offline")
        store.pause()
        try:
            answer = await http.post(f"{first.url}api/v1/users/ada/announce", json={"online": True}, timeout=PATIENCE)
        finally:
            store.resume()
        assert answer.status_code in (200, 503)
        if answer.status_code == 200:
            assert answer.json()["certainty"] == "stale"
        else:
            assert answer.headers["retry-after"]
        await until_status(watcher, "ada", "online")
        await soon(lambda: watcher.user("ada").online)
