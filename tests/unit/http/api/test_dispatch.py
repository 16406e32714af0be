"""Dispatching a request without a server: names in paths, parameters, bodies."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest
from msgspec import UNSET
from starlette.requests import Request
from tests.support.memory_api import api_client

from presenced.errors import Problem
from presenced.http.api.dispatch import decoded, parameters
from presenced.http.api.requests import OnlineParams, WatchParams
from presenced.http.errors import ProblemError
from presenced.runtime.instant import Instant
from presenced.testing import FakeClock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("segment", "name"), [("ada", "ada"), ("a%2Fb", "a/b"), ("%252F", "%2F"), ("%F0%9F%98%80", "😀"), ("%FF", "\udcff")]
)
def test_a_segment_is_decoded_once(segment: str, name: str) -> None:
    assert decoded(segment) == name


def request(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": []})


def test_parameters_are_converted_to_their_types() -> None:
    assert parameters(request("limit=7&after=3"), OnlineParams) == OnlineParams(UNSET, 3, 7)
    assert parameters(request("users=7&users=a%2Cb&everyone=true"), WatchParams) == WatchParams(
        ["7", "a,b"], everyone=True
    )


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=1.5", "limit=", "limit=1&limit=1", "bound=1", "after=-1", "viewer="]
)
def test_an_error_names_the_invalid_parameter(query: str) -> None:
    with pytest.raises(ProblemError) as refused:
        parameters(request(query), OnlineParams)
    assert refused.value.problem is Problem.BAD_PARAMETER
    assert query.partition("=")[0] in refused.value.detail


def test_an_error_about_an_unknown_parameter_lists_the_known_ones() -> None:
    with pytest.raises(ProblemError) as refused:
        parameters(request("before%0a=1"), OnlineParams)
    assert refused.value.detail == r"unknown parameter before\n; known parameters: viewer, after, limit"


@pytest.mark.parametrize(
    "path",
    [
        "/users/ada?viewer=",
        "/users/ada/explain?viewer=",
        "/rooms/lobby?viewer=",
        "/counts?viewer=",
        "/online?viewer=",
        "/online?viewer=bo&viewer=",
        "/watch?users=ada&token=",
        "/watch?users=",
        "/watch?users=ada&users=",
        "/watch?everyone=",
        "/changes?after=",
        "/users/7/history?after=",
        "/webhooks/dead?after=",
    ],
)
async def test_an_empty_parameter_is_refused_and_not_treated_as_omitted(path: str) -> None:
    """`?viewer=` would show everything."""
    async with asyncio.timeout(10), api_client() as (_, client):  # a stream would not end
        response = await client.get(path)
        assert (response.status_code, response.json()["code"]) == (400, "BAD_PARAMETER")
        assert "empty" in response.json()["detail"] or "2 times" in response.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/users/query", {"users": ["ada"], "viewer": ""}),
        ("/users/query", {"users": ["ada"], "viewer": None}),
        ("/users/ada/revoke", {"sessionId": ""}),
        ("/users/ada/revoke", {"sessionId": None}),
        ("/users/ada/revoke", {"tokenId": ""}),
        ("/users/ada/revoke", {"tokenId": None}),
        ("/webhooks/dead/retry", {"ids": None}),
        ("/tickets", {"userId": 7, "presence": None}),
    ],
)
async def test_an_empty_field_that_restricts_is_refused_and_not_treated_as_omitted(path: str, body: object) -> None:
    """An empty `sessionId` would revoke all of the user's tokens. A `presence` of null would restrict nothing."""
    async with api_client() as (_, client):
        response = await client.post(path, json=body)
        assert (response.status_code, response.json()["code"]) == (400, "BAD_BODY"), response.json()


async def test_an_error_about_a_misspelt_field_or_parameter_names_the_intended_one() -> None:
    async with api_client() as (_, client):
        response = await client.put("/users/ada/status", json={"status": "busy", "expires_in": 60})
        assert response.json()["detail"].startswith(
            "unknown field expires_in (did you mean expiresIn?); known fields: status,"
        )
        response = await client.get("/online?viewr=bo")
        assert (
            response.json()["detail"]
            == "unknown parameter viewr (did you mean viewer?); known parameters: viewer, after, limit"
        )
        response = await client.get("/users/ada/claims?viewer=bo")
        assert response.json()["detail"] == "unknown parameter viewer; there are none"


async def test_extension_fields_and_parameters_are_ignored() -> None:
    async with api_client() as (_, client):
        response = await client.put("/users/ada/status?x-trace=", json={"x-trace": {"a": 1}, "status": "busy"})
        assert response.status_code == 200


async def test_the_text_of_an_unset_variable_is_no_user_id_unless_a_setting_allows_it() -> None:
    asked = [
        ("GET", "/users/undefined", None),
        ("PUT", "/users/%5Bobject%20Object%5D/status", {"status": "busy"}),
        ("POST", "/users/None/announce", {"online": True}),
        ("GET", "/online?viewer=null", None),
        ("GET", "/watch?users=NaN", None),
        ("POST", "/users/query", {"users": [], "viewer": "undefined"}),
    ]
    async with asyncio.timeout(10), api_client() as (_, client):
        for method, path, body in asked:
            response = await client.request(method, path, json=body)
            assert (response.status_code, "is a variable not set" in response.json()["detail"]) == (400, True), path
        assert (await client.delete("/users/undefined")).status_code == 200, (
            "data that an earlier version allowed can be deleted"
        )
    async with api_client(placeholder_ids=True) as (_, client):
        for method, path, body in asked:
            if "watch" not in path:  # the stream would not end
                assert (await client.request(method, path, json=body)).status_code == 200, path


@pytest.mark.parametrize("name", ["山田\u3000太郎", "\U0001f468\u200d\U0001f469", "\U00031350", " "])
async def test_names_in_all_scripts_are_valid_in_paths(name: str) -> None:
    async with api_client() as (service, client):
        written = quote(name, safe="")
        await client.put(f"/users/{written}/claims/{written}", json={"status": "busy"})
        assert [claim.source for claim in service.claims_of(name)] == [name]
        assert (await client.get(f"/rooms/{written}")).json()["room"] == name


@pytest.mark.parametrize("path", ["/rooms/a%0Ab", "/rooms/a%E2%80%AEb", "/users/a%00b", "/rooms/%FF"])
async def test_an_error_about_an_invalid_name_shows_the_character(path: str) -> None:
    async with api_client() as (_, client):
        response = await client.get(path)
        assert (response.status_code, "U+" in response.json()["detail"]) == (400, True)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/users/ada/status", "auto, away, busy, invisible, online"),
        ("/users/ada/claims/calendar", "away, busy, online"),
    ],
)
async def test_an_error_about_an_invalid_value_lists_the_allowed_ones(path: str, allowed: str) -> None:
    async with api_client() as (_, client):
        response = (await client.put(path, json={"status": "dancing"})).json()
        assert response["detail"] == f"Invalid enum value 'dancing' - at `status`; allowed values: {allowed}"
        assert (await client.put(path, json={"status": None})).json()["detail"].endswith(f"; allowed values: {allowed}")
        assert "allowed" not in (await client.put(path, json={"status": "busy", "text": 1})).json()["detail"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"status": "busy", "text": "\xff"}', "not UTF-8, from byte 28 on"),
        (b'{"status": "busy", "data": "\xc0\xaf"}', "not UTF-8, from byte 28 on"),
        (
            b'{"status": "busy", "more-than-' + b"x" * 9000 + b'": 1}',
            "unknown field more-than-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; known fields: status",
        ),
        (b'{"status": "' + b"x" * 9000 + b'"}', "x' - at `status`; allowed values: auto"),
        (b'{"status": "busy"', "Input data was truncated"),
        (b"[" * 50_000, "Expected `object`, got `array`"),
    ],
)
async def test_an_error_about_an_invalid_body_does_not_repeat_a_long_body(body: bytes, detail: str) -> None:
    async with api_client() as (_, client):
        response = await client.put("/users/ada/status", content=body)
        assert (response.status_code, response.json()["code"]) == (400, "BAD_BODY")
        assert detail in response.json()["detail"]
        assert len(response.content) < 600, "the error quotes only a part of the body"


async def test_a_request_happens_at_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is read for the head, and once more when the body is complete. The command does not read it again."""
    reads: list[Instant] = []
    now = FakeClock.now

    def counted(clock: FakeClock) -> Instant:
        reads.append(now(clock))
        return reads[-1]

    async with api_client() as (_, client):
        monkeypatch.setattr(FakeClock, "now", counted)
        for method, path, body in (
            ("POST", "/users/ada/announce", {"online": True}),
            ("PUT", "/users/ada/status", {"status": "busy", "expiresIn": 60}),
            ("PUT", "/users/ada/claims/x", {"status": "away", "expiresIn": 60}),
            ("GET", "/users/ada/explain?viewer=bo", None),
            ("DELETE", "/users/ada", None),
        ):
            reads.clear()
            assert (await client.request(method, path, json=body)).status_code == 200
            assert len(reads) == 2, path
