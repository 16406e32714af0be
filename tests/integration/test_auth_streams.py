"""Event streams opened with tickets: they resume for a browser's `EventSource`, and for nobody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.support.api_client import ApiClient, Event, api_client, problem
from tests.support.server import metric, server, until
from tests.support.tokens import KEY, WRITE, call_api, close_of, url
from websockets.asyncio.client import connect

from presenced import PresenceServer
from presenced.http import waiting

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def ticket_server(**changes: object) -> AsyncIterator[tuple[PresenceServer, ApiClient, ApiClient]]:
    """A server, a backend with a key, and a browser without one."""
    async with (
        server(auth="ticket", api_keys=[KEY.entry, WRITE.entry], **changes) as running,
        api_client(running, KEY.key) as api,
        api_client(running) as page,
    ):
        yield running, api, page


async def ticket(api: ApiClient, user_id: str = "ada", **more: Any) -> str:
    answer = await api.ask("POST", "/tickets", {"userId": user_id, **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["ticket"])


async def opened(page: ApiClient, path: str) -> str:
    """Open a stream, lose it, and return the id of its last event."""
    async with page.events(path) as events:
        return (await anext(events)).id


def statuses(event: Event) -> dict[int | str, str]:
    return {user["userId"]: user["status"] for user in event.data["users"]}


async def test_a_stream_that_is_lost_repeatedly_resumes_and_misses_nothing() -> None:
    async with ticket_server() as (_, api, page):
        path = f"/watch?users=bo&token={await ticket(api)}"
        last = await opened(page, path)
        for online in (True, False) * 3:
            await api.announce("bo", online)
            async with page.events(path, last_event_id=last) as events:
                event = await anext(events)
                assert (event.kind, statuses(event)) == ("changes", {"bo": "online" if online else "offline"})
                last = event.id


async def test_a_stream_lost_before_its_first_event_resumes() -> None:
    """The first bytes carry an id. Browsers accept one without data, as the HTML standard says."""
    async with ticket_server() as (running, api, page):
        target = f"/api/v1/watch?users=bo&token={await ticket(api)}"
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(f"GET {target} HTTP/1.1\r\nhost: 127.0.0.1:{running.port}\r\n\r\n".encode())
        async with asyncio.timeout(5):
            found = await reader.readuntil(b"\nretry: ")
        writer.close()
        last = found.rpartition(b"\nid: ")[2].partition(b"\n")[0].decode()
        async with page.events(target.removeprefix("/api/v1"), last_event_id=last) as events:
            assert (await anext(events)).kind == "snapshot"


async def test_clients_that_cannot_set_headers_send_the_last_id_in_the_url() -> None:
    async with ticket_server() as (_, api, page):
        path = f"/watch?users=bo&token={await ticket(api)}"
        last = await opened(page, path)
        await api.announce("bo")
        async with page.events(f"{path}&lastEventId={last}") as events:
            assert statuses(await anext(events)) == {"bo": "online"}


async def test_a_stream_with_a_ticket_in_the_header_resumes() -> None:
    async with ticket_server() as (_, api, page):
        shown = {"authorization": f"Bearer {await ticket(api)}"}
        async with page.events("/watch?users=bo", **shown) as events:
            last = (await anext(events)).id
        async with page.events("/watch?users=bo", last_event_id=last, **shown) as events:
            await api.announce("bo")
            assert statuses(await anext(events)) == {"bo": "online"}


async def test_the_url_alone_does_not_reopen_a_stream() -> None:
    """Proxies may have logged the URL."""
    async with ticket_server() as (running, api, page):
        given = await ticket(api)
        path = f"/watch?users=bo&token={given}"
        last = await opened(page, path)
        for headers in ({}, {"last_event_id": last.partition("~")[0]}, {"last_event_id": "~" + "x" * 22}):
            assert problem(await page.ask("GET", path, **headers)) == (401, "UNAUTHORIZED")
        for shown in (given, last.partition("~")[2]):
            async with connect(url(running, f"?token={shown}"), proxy=None) as socket:
                assert (await close_of(socket))[0] == 4401
        async with page.events(path, last_event_id=last) as events:
            await api.announce("bo")
            assert statuses(await anext(events)) == {"bo": "online"}, "the client with the id is not affected"


async def test_the_id_of_another_user_s_stream_opens_nothing() -> None:
    async with ticket_server() as (_, api, page):
        mine, theirs = [f"/watch?users=bo&token={await ticket(api, user_id)}" for user_id in ("ada", "eve")]
        await opened(page, mine)
        last = await opened(page, theirs)
        assert problem(await page.ask("GET", mine, last_event_id=last)) == (401, "UNAUTHORIZED")


async def test_a_resuming_stream_sees_no_more_than_its_ticket_allows() -> None:
    async with ticket_server(visibility="claims") as (_, api, page):
        await api.announce("bo")
        await api.announce("eve")
        given = await ticket(api, presence={"watch": ["bo"]})
        last = await opened(page, f"/watch?users=bo&token={given}")
        async with page.events(f"/watch?everyone=true&token={given}", last_event_id=f"~{last[-22:]}") as events:
            assert statuses(await anext(events)) == {"bo": "online"}


async def test_a_resuming_stream_replaces_the_connection_that_the_server_still_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stream takes no second place of the user. Otherwise an unreliable network would lock the user out."""
    monkeypatch.setattr(waiting, "MAX_WAITING_OF_USER", 1)
    async with ticket_server() as (running, api, page):
        path = f"/watch?users=bo&token={await ticket(api)}"
        async with page.events(path) as old:
            last = (await anext(old)).id
            async with page.events(path, last_event_id=last) as new:
                assert [event async for event in old] == [], "it has ended"
                await api.announce("bo")
                assert statuses(await anext(new)) == {"bo": "online"}
                assert metric(running, "presenced_api_followers") == 1
        await until(lambda: metric(running, "presenced_api_followers") == 0)


async def test_the_stream_of_a_revoked_user_ends_and_does_not_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.http.api.watch.TOKEN_CHECK_S", 0.05)
    async with ticket_server() as (_, api, page):
        path, lost = [f"/watch?users=bo&token={await ticket(api)}" for _ in range(2)]
        last_of_lost = await opened(page, lost)
        async with page.events(path) as events:
            last = (await anext(events)).id
            await api.post("/users/ada/revoke", {})
            assert [event async for event in events] == []
        for one, its_last in ((path, last), (lost, last_of_lost)):
            refused = await page.ask("GET", one, last_event_id=its_last)
            assert (problem(refused), refused.json()["detail"]) == ((401, "UNAUTHORIZED"), "the token was revoked")


@pytest.mark.parametrize("erased", [False, True])
async def test_streams_of_a_disconnected_user_end_immediately_and_do_not_resume(erased: bool) -> None:
    async with ticket_server() as (running, api, page):
        path, lost, other = [f"/watch?users=bo&token={await ticket(api, u)}" for u in ("ada", "ada", "eve")]
        last_of_lost = await opened(page, lost)
        await until(lambda: metric(running, "presenced_api_followers") == 0)
        async with page.events(other) as others, page.events(path) as events:
            await anext(others)
            last = (await anext(events)).id
            end = api.delete("/users/ada") if erased else api.post("/users/ada/disconnect")
            assert (await end)["closed"] == 1
            assert [event async for event in events] == []
            for one, its_last in ((path, last), (lost, last_of_lost)):
                assert problem(await page.ask("GET", one, last_event_id=its_last)) == (401, "UNAUTHORIZED")
            await api.announce("bo")
            assert statuses(await anext(others)) == {"bo": "online"}, "other users keep theirs"


async def test_after_a_restart_a_stream_needs_a_new_ticket_and_the_old_one_is_no_guess() -> None:
    """All pages of an office reconnect at that moment, with tickets that the new process does not know."""
    limits = {"trusted_proxies": "127.0.0.1", "address_failure_burst": 1, "address_failure_rate": 0.001}
    office = {"x_forwarded_for": "203.0.113.7"}
    async with ticket_server(**limits) as (_, api, page):
        path = f"/watch?users=bo&token={await ticket(api)}"
        last = await opened(page, path)
    async with ticket_server(**limits) as (_, api, page):
        for _ in range(5):
            refused = await page.ask("GET", path, last_event_id=last, **office)
            assert problem(refused) == (401, "UNAUTHORIZED")
        async with page.events(f"/watch?users=bo&token={await ticket(api)}", **office) as events:
            assert (await anext(events)).kind == "snapshot"


async def test_neither_ticket_nor_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with ticket_server(log_level="debug") as (running, api, page):
        given = await ticket(api)
        last = await opened(page, f"/watch?users=bo&token={given}")
        await api.announce("bo")
        await opened(page, f"/watch?users=bo&token={given}&lastEventId={last}")
        await page.ask("GET", f"/watch?users=bo&token={given}&lastEventId={last}x")
        exposition = (await call_api(running, "GET", "/metrics")).text
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("presenced"))
    for secret in (given, last.partition("~")[2]):
        assert secret
        assert secret not in ours
        assert secret not in exposition


async def test_a_head_request_occupies_no_place() -> None:
    async with ticket_server() as (running, api, page):
        path = f"/watch?users=bo&token={await ticket(api)}"
        assert (await page.ask("HEAD", path)).status_code == 200
        await until(lambda: metric(running, "presenced_api_followers") == 0)


async def test_requests_without_credentials_do_not_count_as_guesses() -> None:
    """A page without a token, a probe or a browser at the address: others behind the same address can still connect."""
    limits = {"trusted_proxies": "127.0.0.1", "address_failure_burst": 1, "address_failure_rate": 0.001}
    office = {"x_forwarded_for": "203.0.113.7"}
    async with ticket_server(**limits) as (_, api, page):
        basic = httpx.BasicAuth("a", "b")._auth_header
        for path in ("/watch?users=bo", "/counts"):
            for headers in (office, {**office, "authorization": basic}):
                assert problem(await page.ask("GET", path, **headers)) == (401, "UNAUTHORIZED")
        assert (await api.ask("GET", "/counts", **office)).status_code == 200
        assert problem(await page.ask("GET", "/counts", authorization="Bearer pk_guess", **office))[0] == 401
        assert problem(await api.ask("GET", "/counts", **office)) == (429, "TOO_MANY_REQUESTS")
