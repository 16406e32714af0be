"""Responses for a viewer contain only users that the viewer may see."""

from __future__ import annotations

import pytest
from tests.support.api_client import api_client, connect_v1, is_unknown, parsed, send_request
from tests.support.server import server

from presenced.auth.api_keys import new_key

pytestmark = pytest.mark.anyio


async def test_a_response_for_a_viewer_contains_only_users_they_may_see() -> None:
    keys = new_key("admin")
    async with (
        server(auth="ticket", visibility="claims", api_keys=[keys.entry]) as running,
        api_client(running, keys.key) as api,
    ):
        await api.announce("bo")
        await api.announce("eve")
        allowed = {"watch": ["bo"], "rooms": ["lobby"]}
        ticket = parsed(await api.ask("POST", "/tickets", {"userId": "ada", "presence": allowed}), 201)["ticket"]
        async with connect_v1(running, f"token={ticket}") as ada:
            await send_request(ada, "JOIN", room="lobby")
            assert (await api.get("/users/bo?viewer=ada"))["status"] == "online"
            assert is_unknown(await api.get("/users/eve?viewer=ada"))
            both = await api.post("/users/query", {"users": ["eve", "bo"], "viewer": "ada"})
            assert [user["status"] for user in both["users"]] == ["offline", "online"]
            online = await api.get("/online?viewer=ada")
            assert sorted(user["userId"] for user in online["users"]) == ["ada", "bo"]
            assert await api.get("/counts?viewer=ada") == {"onlineUsers": 2, "rooms": None}
            assert (await api.get("/rooms/lobby?viewer=ada"))["count"] == 1
            assert (await api.get("/rooms/lobby?viewer=bo"))["count"] == 0, "bo has no session"
            assert (await api.get("/users/eve/explain?viewer=ada"))["viewer"]["maySee"] is False
        assert is_unknown(await api.get("/users/bo?viewer=ada")), "ada has no session any more"


async def test_a_response_for_a_viewer_contains_no_blocked_users() -> None:
    keys = new_key("admin")
    async with (
        server(auth="ticket", api_keys=[keys.entry]) as running,
        api_client(running, keys.key) as api,
    ):
        await api.announce("bo")
        await api.announce("eve")
        body = {"userId": "ada", "presence": {"block": ["eve"]}}
        ticket = parsed(await api.ask("POST", "/tickets", body), 201)["ticket"]
        others = [parsed(await api.ask("POST", "/tickets", {"userId": user}), 201)["ticket"] for user in ("bo", "eve")]
        async with (
            connect_v1(running, f"token={ticket}") as ada,
            connect_v1(running, f"token={others[0]}") as bo,
            connect_v1(running, f"token={others[1]}") as eve,
        ):
            await send_request(ada, "PING")
            for socket in (ada, bo, eve):
                await send_request(socket, "JOIN", room="lobby")
            await send_request(eve, "JOIN", room="cellar")
            page = await api.get("/rooms/lobby?viewer=ada")
            assert ([member["userId"] for member in page["members"]], page["count"]) == (["ada", "bo"], 2)
            first = await api.get("/rooms/lobby?viewer=ada&limit=2")
            assert (len(first["members"]), first["next"]) == (2, None)
            nothing = {"mode": "full", "count": 0, "members": [], "next": None}
            assert await api.get("/rooms/cellar?viewer=ada") == {"room": "cellar", **nothing}
            assert (await api.get("/rooms/lobby"))["count"] == 3
            assert (await api.get("/users/bo?viewer=ada"))["status"] == "online"
            assert is_unknown(await api.get("/users/eve?viewer=ada"))
            online = await api.get("/online?viewer=ada")
            assert sorted(user["userId"] for user in online["users"]) == ["ada", "bo"]
            assert await api.get("/counts?viewer=ada") == {"onlineUsers": 2, "rooms": None}
            seen = (await api.get("/users/eve/explain?viewer=ada"))["viewer"]
            assert (seen["maySee"], seen["rule"]) == (False, "has blocked this user")


async def test_display_data_is_visible_with_the_user_until_the_user_is_erased() -> None:
    keys, shown = new_key("admin"), {"name": "Eve"}
    settings = {"auth": "ticket", "visibility": "claims", "api_keys": [keys.entry]}
    async with server(**settings) as running, api_client(running, keys.key) as api:

        async def ticket(user_id: str, **presence: object) -> str:
            body = {"userId": user_id, "presence": presence}
            return str(parsed(await api.ask("POST", "/tickets", body), 201)["ticket"])

        body = {"userId": "ada", "presence": {"display": {"name": "x" * 1024}}}
        refused = await api.ask("POST", "/tickets", body)
        assert (refused.status_code, "1024 bytes" in refused.text) == (400, True)
        ada, desk = await ticket("ada"), await ticket("desk", watch=["eve"], roles=["causes", "desk"])
        eve = await ticket("eve", display=shown)
        async with (
            connect_v1(running, f"token={eve}") as socket,
            connect_v1(running, f"token={ada}"),
            connect_v1(running, f"token={desk}"),
        ):
            await send_request(socket, "PING")
            assert (await api.get("/users/eve"))["display"] == shown
            assert (await api.get("/online"))["users"][0]["display"] == shown
            assert is_unknown(await api.get("/users/eve?viewer=ada"))
            seen = await api.get("/users/eve?viewer=desk")
            assert (seen["display"], seen["cause"]) == (shown, "connect")
            explained = await api.get("/users/eve/explain?viewer=desk")
            assert (explained["viewer"]["roles"], explained["own"]["display"]) == (["causes", "desk"], shown)
            assert explained["changes"][0]["display"] == shown
            assert "cause" not in await api.get("/users/ada?viewer=ada"), "ada's token has no role"
            await api.delete("/users/eve")
        await api.announce("eve")
        assert "display" not in await api.get("/users/eve")


async def test_the_rooms_of_a_viewers_token_restrict_the_response_whatever_users_they_may_see() -> None:
    keys = new_key("admin")
    async with server(auth="ticket", api_keys=[keys.entry]) as running, api_client(running, keys.key) as api:
        body = {"userId": "ada", "presence": {"rooms": ["lobby"]}}
        ticket = parsed(await api.ask("POST", "/tickets", body), 201)["ticket"]
        other = parsed(await api.ask("POST", "/tickets", {"userId": "bo"}), 201)["ticket"]
        async with connect_v1(running, f"token={ticket}") as ada, connect_v1(running, f"token={other}") as bo:
            await send_request(bo, "JOIN", room="cellar")
            await send_request(ada, "PING")
            assert (await api.get("/rooms/cellar"))["count"] == 1
            assert (await api.get("/rooms/cellar?viewer=ada"))["count"] == 0
