"""Commands respond when all nodes of a cluster have the change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from tests.support.memory_api import api_client

from presenced.errors import CapacityError
from presenced.http.api import agreement
from presenced.node.service import PresenceService
from presenced.runtime.instant import Instant

pytestmark = pytest.mark.anyio


class FakeOtherNodes:
    """Other nodes, which answer as the test says."""

    def __init__(self) -> None:
        self.answers: list[bool] = []
        self.on_wait: Callable[[], None] = lambda: None
        self.waiting: dict[str, Callable[[bool], None]] = {}
        self.ended: list[str] = []

    def kick(self, user_id: str) -> int:
        return 3

    def forget(self, user_id: str, now: Instant) -> int:
        return 3

    def erase(self, user_id: str) -> None:
        pass

    def revoked(self, user_id: str, kind: str, subject: str) -> int:
        return 3

    def revoke_session(self, user_id: str, session_id: str) -> int:
        return 1

    def when_agreed(self, user_id: str, answered: Callable[[bool], None]) -> Callable[[], None]:
        self.on_wait()
        self.waiting[user_id] = answered
        if self.answers:
            answered(self.answers.pop())
        return lambda: self.ended.append(user_id)


@pytest.fixture
async def cluster() -> AsyncIterator[tuple[PresenceService, FakeOtherNodes, httpx.AsyncClient]]:
    async with api_client() as (service, client):
        service._node.other_nodes = others = FakeOtherNodes()
        yield service, others, client


Cluster = tuple[PresenceService, FakeOtherNodes, httpx.AsyncClient]

COMMANDS = [
    ("POST", "/users/ada/announce", {"online": True}),
    ("POST", "/users/ada/disconnect", {}),
    ("PUT", "/users/ada/status", {"status": "busy"}),
    ("DELETE", "/users/ada/status", None),
    ("PUT", "/users/ada/claims/calendar", {"status": "busy"}),
    ("DELETE", "/users/ada/claims/calendar", None),
    ("DELETE", "/users/ada", None),
]


@pytest.mark.parametrize(("method", "path", "body"), COMMANDS)
async def test_a_command_responds_when_all_nodes_have_it(
    cluster: Cluster, method: str, path: str, body: object
) -> None:
    _, others, client = cluster
    asked = asyncio.create_task(client.request(method, path, json=body))
    while "ada" not in others.waiting:
        await asyncio.sleep(0)
    assert not asked.done()
    others.waiting["ada"](True)
    response = await asked
    assert response.status_code == 200, response.text
    assert "certainty" not in response.json()
    assert others.ended == ["ada"]


@pytest.mark.parametrize(("method", "path", "body"), COMMANDS)
async def test_without_the_store_the_response_says_so(cluster: Cluster, method: str, path: str, body: object) -> None:
    _, others, client = cluster
    others.answers = [False]
    response = await client.request(method, path, json=body)
    assert response.status_code == 200, response.text
    assert response.json()["certainty"] == "stale"


@pytest.mark.parametrize(("method", "path", "body"), COMMANDS)
async def test_a_command_that_others_do_not_confirm_gets_503(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: object
) -> None:
    monkeypatch.setattr(agreement, "AGREEMENT_TIMEOUT_S", 0.01)
    _, others, client = cluster
    response = await client.request(method, path, json=body)
    assert response.status_code == 503
    assert response.headers["retry-after"]
    assert "send it again" in response.json()["detail"]
    assert others.ended == ["ada"]
    others.waiting["ada"](True)  # too late, which does no harm


async def test_a_command_beyond_the_bound_of_waiting_ones_gets_503(cluster: Cluster) -> None:
    _, others, client = cluster

    def refuse() -> None:
        raise CapacityError("too many wait")

    others.on_wait = refuse
    response = await client.post("/users/ada/announce", json={"online": True})
    assert response.status_code == 503
    assert response.headers["retry-after"]


async def test_an_announcement_has_changed_what_others_see_after_the_wait(cluster: Cluster) -> None:
    """In a cluster the change is visible only after the nodes have agreed."""
    service, others, client = cluster
    others.answers = [True]
    found = (await client.post("/users/ada/announce", json={"online": True})).json()
    assert found == {"changed": True}
    others.answers = [True]
    assert (await client.post("/users/ada/announce", json={"online": True})).json() == {"changed": False}

    def agree() -> None:
        service.announce("bo", online=True)

    others.answers = [True]
    others.on_wait = agree
    service.announce("bo", online=True)
    service.announce("bo", online=False)
    assert (await client.post("/users/bo/announce", json={"online": False})).json() == {"changed": True}


async def test_connections_of_other_nodes_are_counted(cluster: Cluster) -> None:
    _, others, client = cluster
    others.answers = [True]
    assert (await client.post("/users/ada/disconnect")).json() == {"closed": 3}
    others.answers = [True]
    assert (await client.delete("/users/ada")).json() == {"closed": 3, "stored": 0}


async def test_a_single_node_does_not_wait() -> None:
    async with api_client() as (_, client):
        response = await client.post("/users/ada/announce", json={"online": True})
        assert response.json() == {"changed": True}
