"""Queries and commands of a backend over HTTP: presence, errors, scopes."""

from __future__ import annotations

import json
from typing import get_args

import httpx
import pytest
from tests.support.api_client import api_client, connect_v1, is_unknown, problem, send_request
from tests.support.server import server, until

from presenced.auth.api_keys import SCOPES, Scope, new_key
from presenced.http.api.routes import ENDPOINTS

pytestmark = pytest.mark.anyio


async def test_a_user_looks_the_same_as_on_the_websocket() -> None:
    async with server() as running, api_client(running) as api:
        assert is_unknown(await api.get("/users/7"))
        async with connect_v1(running, "userId=7&device=phone") as socket:
            await send_request(socket, "SET_STATUS", status="busy", text="lunch", data={"a": 1})
            found = await api.get("/users/7")
            assert found.pop("since") > 0
            assert found == {
                "userId": 7,
                "status": "busy",
                "version": 2,
                "text": "lunch",
                "data": {"a": 1},
                "devices": ["phone"],
                "cause": "choice",
            }


async def test_an_unknown_user_has_the_newest_version_in_every_interface() -> None:
    """The version is above any that a client still knows of the user, and below the one when the user connects."""
    async with server() as running, api_client(running) as api, connect_v1(running, "userId=ada&watch=none") as ada:
        await api.announce("bo")
        await send_request(ada, "SET_STATUS", status="busy")
        await ada.send('{"type":"WATCH","users":["dora"]}')
        while (heard := json.loads(await ada.recv()))["type"] != "PRESENCE_SNAPSHOT":
            pass
        found = {"push": heard["users"], "query": (await api.post("/users/query", {"users": ["dora"]}))["users"]}
        found["http"] = [await api.get("/users/dora")]
        found["explain"] = [(await api.get("/users/dora/explain"))["shown"]]
        async with api.events("/watch?users=dora") as events:
            found["watch"] = (await anext(events)).data["users"]
        newest = max([(await api.get(f"/users/{user_id}"))["version"] for user_id in ("ada", "bo")])
        versions = {name: user["version"] for name, (user,) in found.items()}
        assert len(set(versions.values())) == 1, versions
        assert versions["http"] >= newest > 0
        assert all(is_unknown(user) for (user,) in found.values())
        await api.announce("dora")
        assert (await api.get("/users/dora"))["version"] > versions["http"]


async def test_auto_by_put_is_the_same_as_no_status_by_delete() -> None:
    async with server() as running, api_client(running) as api:
        for user_id, ask in (
            ("put", api.put("/users/put/status", {"status": "auto"})),
            ("del", api.delete("/users/del/status")),
        ):
            assert is_unknown(await ask)
            async with connect_v1(running, f"userId={user_id}&status=invisible") as socket:
                await send_request(socket, "PING")
                assert is_unknown(await api.get(f"/users/{user_id}")), "the status in the URL counts"


async def test_a_client_with_the_same_etag_gets_304() -> None:
    async with server() as running, api_client(running) as api:
        first = await api.ask("GET", "/users/ada")
        tag = first.headers["etag"]
        again = await api.ask("GET", "/users/ada", if_none_match=f'"other", W/{tag}')
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        await api.announce("ada")
        assert (await api.ask("GET", "/users/ada", if_none_match=tag)).json()["status"] == "online"
        room = (await api.ask("GET", "/rooms/lobby")).headers["etag"]
        assert (await api.ask("GET", "/rooms/lobby", if_none_match=room)).status_code == 304


async def test_a_query_of_many_users_has_a_result_or_an_error_for_each() -> None:
    async with server() as running, api_client(running) as api:
        await api.announce("bo")
        found = await api.post("/users/query", {"users": [7, "", "bo", "a\nb", "x" * 129]})
        assert [(user["userId"], user["status"]) for user in found["users"]] == [(7, "offline"), ("bo", "online")]
        assert [error["index"] for error in found["errors"]] == [1, 3, 4]
        odd = await api.post("/users/query", {"users": [None, 7, 1.5, True, "bo", [7], {"userId": 7}, 7.0]})
        assert [user["userId"] for user in odd["users"]] == [7, "bo"]
        assert [error["index"] for error in odd["errors"]] == [0, 2, 3, 5, 6, 7]
        assert await api.post("/users/query", {"users": ["bo"], "viewer": 7}), "a whole number is a valid id"
        assert odd["errors"][0]["detail"] == "userId must be a string or a whole number"
        assert len((await api.post("/users/query", {"users": list(range(1000))}))["users"]) == 1000
        assert problem(await api.ask("POST", "/users/query", {"users": list(range(1001))})) == (400, "BAD_BODY")


async def test_a_room_is_returned_in_pages() -> None:
    async with server() as running, api_client(running) as api:
        async with (
            connect_v1(running, "userId=ada") as ada,
            connect_v1(running, "userId=9") as nine,
            connect_v1(running, "userId=bo") as bo,
        ):
            for socket in (bo, nine, ada):
                await send_request(socket, "JOIN", room="a/b ö", data={"seat": 1})
            first = await api.get("/rooms/a%2Fb%20%C3%B6?limit=2")
            assert (first["room"], first["mode"], first["count"], first["next"]) == ("a/b ö", "full", 3, "ada")
            assert [member["userId"] for member in first["members"]] == [9, "ada"]
            assert first["members"][0]["data"] == {"seat": 1}
            assert first["members"][0]["presence"]["status"] == "online"
            rest = await api.get("/rooms/a%2Fb%20%C3%B6?limit=2&after=ada")
            assert [member["userId"] for member in rest["members"]] == ["bo"]
            assert rest["next"] is None
        assert (await api.get("/rooms/nowhere"))["count"] == 0


async def test_rooms_are_returned_in_pages() -> None:
    async with server() as running, api_client(running) as api:
        assert await api.get("/rooms") == {"rooms": [], "next": None}
        async with connect_v1(running, "userId=ada") as ada, connect_v1(running, "userId=bo&status=invisible") as bo:
            for socket, rooms in ((ada, ("lobby", "bar", "attic")), (bo, ("lobby", "cellar"))):
                for room in rooms:
                    await send_request(socket, "JOIN", room=room)
            first = await api.get("/rooms?limit=2")
            assert first["rooms"] == [{"room": name, "mode": "full", "count": 1} for name in ("lobby", "bar")], (
                "an invisible user is in no room"
            )
            rest = await api.get(f"/rooms?limit=2&after={first['next']}")
            assert ([room["room"] for room in rest["rooms"]], rest["next"]) == (["attic"], None)
            await send_request(bo, "SET_STATUS", status="busy")
            found = {room["room"]: room["count"] for room in (await api.get("/rooms"))["rooms"]}
            assert found == {"lobby": 2, "bar": 1, "attic": 1, "cellar": 1}
        for wrong in ("viewer=ada", "after=", "after=lobby", "limit=0", "limit=1001", "room=lobby"):
            assert problem(await api.ask("GET", f"/rooms?{wrong}")) == (400, "BAD_PARAMETER"), wrong


async def test_sessions_of_all_users_are_returned_in_pages() -> None:
    async with server(grace_lost=60) as running, api_client(running) as api:
        assert await api.get("/sessions") == {"sessions": [], "next": None}
        running.announce("announced")
        async with (
            connect_v1(running, "userId=7&device=phone") as seven,
            connect_v1(running, "userId=7&device=laptop"),
            connect_v1(running, "userId=eve&status=invisible") as eve,
            connect_v1(running, "userId=lost") as lost,
        ):
            await send_request(seven, "JOIN", room="lobby")
            await send_request(eve, "PING")
            await send_request(lost, "PING")
            lost.transport.abort()
            await until(lambda: not running.sessions("lost")[0].connected)
            first = await api.get("/sessions?limit=1")
            assert [(one["userId"], one["device"]) for one in first["sessions"]] == [(7, "phone"), (7, "laptop")], (
                "the sessions of a user are not divided"
            )
            assert first["sessions"][0]["rooms"] == ["lobby"]
            assert first["sessions"][0]["connectionId"].startswith("7-")
            second = await api.get(f"/sessions?limit=1&after={first['next']}")
            assert [one["userId"] for one in second["sessions"]] == ["eve"], "invisible users, too"
            third = await api.get(f"/sessions?limit=1&after={second['next']}")
            [session] = third["sessions"]
            assert (session["userId"], session["connected"], third["next"]) == ("lost", False, None)
            assert 0 < session["graceEndsIn"] <= 60
            assert len((await api.get("/sessions"))["sessions"]) == 4
        for wrong in ("viewer=ada", "after=", "after=x", "limit=0", "limit=1001"):
            assert problem(await api.ask("GET", f"/sessions?{wrong}")) == (400, "BAD_PARAMETER"), wrong


async def test_rooms_need_scope_read_and_sessions_scope_admin() -> None:
    keys = {scope: new_key(scope) for scope in get_args(Scope)}
    async with server(api_keys=[key.entry for key in keys.values()]) as running:
        for path, allowed in (("/rooms", {"read", "write", "admin"}), ("/sessions", {"admin"})):
            for scope, key in keys.items():
                async with api_client(running, key.key) as api:
                    answer = await api.ask("GET", path)
                    assert answer.status_code == (200 if scope in allowed else 403), (path, scope)


async def test_online_users_are_returned_in_pages_and_counted() -> None:
    async with server() as running, api_client(running) as api:
        for number in range(7):
            await api.announce(f"user{number}")
        async with connect_v1(running, "userId=hidden") as socket:
            await send_request(socket, "SET_STATUS", status="invisible")
            seen: list[str] = []
            cursor: int | None = 0
            while cursor is not None:
                page = await api.get(f"/online?limit=3&after={cursor}")
                assert len(page["users"]) <= 3
                seen += [user["userId"] for user in page["users"]]
                cursor = page["next"]
            assert sorted(seen) == [f"user{number}" for number in range(7)]
            assert await api.get("/counts") == {"onlineUsers": 7, "rooms": 0}


async def test_a_backend_announces_and_disconnects_a_user() -> None:
    async with server() as running, api_client(running) as api:
        assert await api.post("/users/bo/announce", {"online": True}) == {"changed": True}
        assert await api.post("/users/bo/announce", {"online": True}) == {"changed": False}
        async with connect_v1(running, "userId=ada") as socket:
            await socket.recv()
            assert await api.post("/users/ada/disconnect") == {"closed": 1}
            await socket.wait_closed()
            assert socket.close_code == 4410
        assert (await api.get("/users/ada"))["status"] == "offline"


async def test_a_status_set_for_an_absent_user_is_remembered() -> None:
    async with server() as running, api_client(running) as api:
        body = {"status": "busy", "text": "at the doctor", "emoji": "🩺", "expiresIn": 3600}
        assert (await api.put("/users/ada/status", body))["status"] == "offline"
        async with connect_v1(running, "userId=ada") as socket:
            await socket.recv()
            found = await api.get("/users/ada")
            assert (found["status"], found["text"], found["emoji"]) == ("busy", "at the doctor", "🩺")
            assert found["until"] > found["since"]
            assert (await api.delete("/users/ada/status"))["status"] == "online"


async def test_claims_are_set_listed_and_cleared() -> None:
    async with server() as running, api_client(running) as api:
        await api.announce("ada")
        await api.put("/users/ada/claims/calendar", {"status": "busy", "text": "meeting", "priority": -1})
        seen = await api.put("/users/ada/claims/a%2Fb", {"status": "away", "priority": 5, "expiresIn": 60})
        assert (seen["status"], seen["cause"]) == ("away", "claim")
        found = (await api.get("/users/ada/claims"))["claims"]
        assert [(one["source"], one["priority"], "until" in one) for one in found] == [
            ("calendar", -1, False),
            ("a/b", 5, True),
        ]
        assert await api.delete("/users/ada/claims/a%2Fb") == {"cleared": True}
        assert await api.delete("/users/ada/claims/a%2Fb") == {"cleared": False}
        assert (await api.get("/users/ada"))["text"] == "meeting"
        for number in range(15):
            await api.put(f"/users/ada/claims/{number}", {"status": "busy"})
        refused = await api.ask("PUT", "/users/ada/claims/one-more", {"status": "busy"})
        assert problem(refused) == (503, "UNAVAILABLE")


async def test_sessions_are_listed_and_a_status_is_explained() -> None:
    async with server() as running, api_client(running) as api, connect_v1(running, "userId=ada&device=web") as socket:
        await send_request(socket, "JOIN", room="lobby")
        await send_request(socket, "SET_STATUS", status="invisible")
        (session,) = (await api.get("/users/ada/sessions"))["sessions"]
        assert (session["protocol"], session["connected"], session["device"]) == ("presenced.v1", True, "web")
        assert session["rooms"] == ["lobby"]
        assert "graceEndsIn" not in session
        assert session["connectionId"].startswith("ada-")
        found = await api.get("/users/ada/explain?viewer=bo")
        assert found["shown"]["status"] == "offline"
        assert (found["own"]["status"], found["chosen"]["status"]) == ("invisible", "invisible")
        assert found["sessions"][0]["heard"] >= 0
        assert found["viewer"]["userId"] == "bo"
        assert found["changes"][0]["cause"] == "choice"
        assert "ada" in found["why"]


async def test_erasing_a_user_forgets_everything_about_them() -> None:
    async with server() as running, api_client(running) as api, connect_v1(running, "userId=ada") as socket:
        await socket.recv()
        await api.announce("ada")
        await api.put("/users/ada/status", {"status": "busy", "text": "private"})
        await api.put("/users/ada/claims/x", {"status": "busy", "text": "private"})
        assert await api.delete("/users/ada") == {"closed": 1, "stored": 0}
        assert (await api.get("/users/ada"))["status"] == "offline"
        assert (await api.get("/users/ada/claims"))["claims"] == []
        assert "private" not in str(await api.get("/users/ada/explain")), "not in earlier changes either"
        assert "lastSeen" not in await api.get("/users/ada")
        await api.announce("ada")
        assert (await api.get("/users/ada"))["status"] == "online", "the choice is forgotten"


@pytest.mark.parametrize("scope", ["", "read", "write", "admin"])
async def test_each_endpoint_requires_its_scope(scope: str) -> None:
    order = ("", *SCOPES)
    keys = {name: new_key(name) for name in get_args(Scope)}
    entries = [key.entry for key in keys.values()]
    async with server(api_keys=entries) as running, api_client(running, keys[scope].key if scope else "") as api:
        for endpoint in ENDPOINTS:
            if not endpoint.checks_access:
                continue
            path = endpoint.path.format(user_id="u", room="r", source="s")
            answer = await api.ask(endpoint.method, path, json.loads(endpoint.example or "{}"))
            if order.index(scope) >= order.index(endpoint.scope):
                assert answer.status_code in (200, 201, 409), endpoint.name
            else:
                assert answer.status_code == (403 if scope else 401), endpoint.name


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nothing", None, 404, "NOT_FOUND"),
        ("GET", "/counts/", None, 404, "NOT_FOUND"),
        ("GET", "/users/", None, 404, "NOT_FOUND"),
        ("PATCH", "/users/ada", None, 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/users/query/announce", None, 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/users/a%0Ab", None, 400, "BAD_BODY"),
        ("GET", "/users/%FF", None, 400, "BAD_BODY"),
        ("GET", "/users/" + "a" * 129, None, 400, "BAD_BODY"),
        ("GET", "/rooms/%00", None, 400, "BAD_BODY"),
        ("GET", "/users/ada?viewer=%07", None, 400, "BAD_PARAMETER"),
        ("GET", "/users/ada?viewer=%FF", None, 400, "BAD_PARAMETER"),
        ("GET", "/watch?users=7&users=%C0%AF", None, 400, "BAD_PARAMETER"),
        ("POST", "/users/query", {"users": [7], "viewer": "a\nb"}, 400, "BAD_BODY"),
        ("POST", "/users/query", {"users": [7], "viewer": None}, 400, "BAD_BODY"),
        ("GET", "/online?limit=0", None, 400, "BAD_PARAMETER"),
        ("GET", "/online?limit=1001", None, 400, "BAD_PARAMETER"),
        ("GET", "/online?limit=1&limit=2", None, 400, "BAD_PARAMETER"),
        ("GET", "/online?limits=1", None, 400, "BAD_PARAMETER"),
        ("GET", "/changes?wait=61", None, 400, "BAD_PARAMETER"),
        ("GET", "/changes?after=here", None, 400, "BAD_PARAMETER"),
        ("GET", "/changes?after=00000000-5", None, 410, "CURSOR_TOO_OLD"),
        ("GET", "/watch", None, 400, "BAD_PARAMETER"),
        ("PUT", "/users/ada/status", {"status": "offline"}, 400, "BAD_BODY"),
        ("PUT", "/users/ada/status", {"status": "busy", "text": "a\nb"}, 400, "BAD_BODY"),
        ("PUT", "/users/ada/status", {"status": "busy", "data": "x" * 2047}, 400, "BAD_BODY"),
        ("PUT", "/users/ada/status", {"status": "busy", "expiresIn": 0}, 400, "BAD_BODY"),
        ("PUT", "/users/ada/status", {"status": "busy", "more": 1}, 400, "BAD_BODY"),
        ("PUT", "/users/ada/claims/x", {"status": "invisible"}, 400, "BAD_BODY"),
        ("PUT", "/users/ada/claims/x", {"status": "busy", "priority": 101}, 400, "BAD_BODY"),
        ("PUT", "/users/ada/claims/" + "x" * 65, {"status": "busy"}, 400, "BAD_BODY"),
        ("POST", "/users/ada/announce", {}, 400, "BAD_BODY"),
        ("POST", "/users/ada/announce", {"online": True, "x": "y" * 70_000}, 413, "BODY_TOO_LARGE"),
        ("POST", "/users/ada/revoke", {}, 409, "CONFLICT"),
        ("POST", "/tickets", {"userId": 1}, 409, "CONFLICT"),
    ],
)
async def test_every_refusal_is_a_problem_document(
    method: str, path: str, body: object, status: int, code: str
) -> None:
    async with server() as running, api_client(running) as api:
        assert problem(await api.ask(method, path, body)) == (status, code)


async def test_a_405_lists_the_methods_of_the_path() -> None:
    async with server() as running, api_client(running) as api:
        allowed = (await api.ask("PATCH", "/users/ada/status")).headers["allow"]
        assert sorted(allowed.split(", ")) == ["DELETE", "PUT"]
        assert (await api.ask("PATCH", "/users/query")).headers["allow"] == "POST"
        assert (await api.ask("GET", "/users/query")).json()["userId"] == "query"


async def test_an_id_may_contain_any_printable_character() -> None:
    async with server() as running, api_client(running) as api:
        for user_id in ("a/b", "100%", "%2F", "?", "#", "ö 漢 😀", "__proto__", "..;"):
            path = "/users/" + "".join(f"%{byte:02X}" for byte in user_id.encode())
            assert (await api.get(path))["userId"] == user_id


async def test_the_connection_stays_usable_after_a_large_body() -> None:
    """The rest of a body must not be parsed as the next request."""
    async with server() as running, api_client(running) as api:
        many = {"users": ["u" * 100 + str(number) for number in range(500)]}
        for _ in range(3):
            assert len((await api.post("/users/query", many))["users"]) == 500
            assert (await api.get("/counts"))["onlineUsers"] == 0


async def test_pages_of_allowed_origins_may_put_and_delete() -> None:
    async with server(origins=["https://app.example.com"]) as running, api_client(running) as api:
        headers = {"origin": "https://app.example.com", "access_control_request_method": "PUT"}
        answer = await api.ask("OPTIONS", "/users/ada/status", **headers)
        assert answer.status_code == 204
        assert {"PUT", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
        assert problem(await api.ask("GET", "/counts", origin="https://evil.example")) == (403, "FORBIDDEN_ORIGIN")


async def test_responses_are_counted_by_route_and_metrics_name_no_user() -> None:
    async with server() as running, api_client(running) as api:
        await api.get("/users/secret-name")
        await api.ask("GET", "/users/secret-name/history")
        await api.ask("GET", "/users/secret-name/nothing")
        text = (await api.client.get("/metrics")).text
        assert 'presenced_api_answers_total{route="GET /users/{user_id}",status="200"} 1.0' in text
        assert 'presenced_api_answers_total{route="GET /users/{user_id}/history",status="409"} 1.0' in text
        assert 'presenced_api_duration_seconds_count{route="GET /users/{user_id}"} 1.0' in text
        assert "secret-name" not in text


async def test_the_endpoints_for_tokens_are_reachable_below_api_too() -> None:
    key = new_key("write")
    async with server(auth="ticket", api_keys=[key.entry]) as running:
        headers = {"authorization": f"Bearer {key.key}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", headers=headers) as client:
            for path in ("/api/tickets", "/api/v1/tickets"):
                assert (await client.post(path, json={"userId": 7})).status_code == 201
