"""The way of a request, without a server: names in paths, parameters, what was kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from msgspec import UNSET
from starlette.requests import Request
from starlette.types import Message

from presenced.auth.api_keys import ApiKeys
from presenced.auth.tickets import Tickets
from presenced.config.settings import Settings
from presenced.errors import BadParameter, CapacityError, Problem, StorageUnavailable
from presenced.http.api.dispatch import parameters
from presenced.http.api.followers import Followers
from presenced.http.api.parameters import OnlinePage, Watching
from presenced.http.api.routes import ENDPOINTS
from presenced.http.api.segments import name
from presenced.http.api.spans import MAX_SPANS, Spans
from presenced.http.app import make_app
from presenced.http.errors import ProblemError
from presenced.node.node import Node
from presenced.node.service import PresenceService
from presenced.runtime.metrics import Metrics
from presenced.storage.records import UserFact
from presenced.testing import FakeClock

pytestmark = pytest.mark.anyio


class Shelf:
    """Implements `Archive` and `Letters`: says what it was asked."""

    def __init__(self, is_down: bool = False) -> None:
        self.is_down = is_down
        self.asked: list[Any] = []
        self.waiting: dict[str, UserFact] = {}

    def _answer(self, *asked: object, answer: bytes) -> bytes:
        self.asked.append(asked)
        if self.is_down:
            raise StorageUnavailable("the database does not answer")
        return answer

    def unstored(self, user_ids: Sequence[str]) -> dict[str, UserFact]:
        return {user_id: fact for user_id, fact in self.waiting.items() if user_id in user_ids}

    async def last_seen(self, user_ids: Sequence[str]) -> bytes:
        answer = b'[{"userId":7,"lastSeen":500,"lastActive":400},{"userId":"ada","lastSeen":100,"lastActive":90}]'
        return self._answer(*user_ids, answer=answer)

    async def history(self, user_id: str, after: str, limit: int) -> bytes:
        return self._answer(user_id, after, limit, answer=b'{"changes":[],"next":null}')

    async def sessions(self, user_id: str, after: str, limit: int) -> bytes:
        if after == "nonsense":
            raise BadParameter("after is not the `next` of a page")
        return self._answer(user_id, after, limit, answer=b'{"sessions":[],"next":null}')

    async def erase(self, user_id: str) -> bytes:
        return self._answer(user_id, answer=b'{"stored":12}')

    async def dead_letters(self, after: str, limit: int) -> bytes:
        return self._answer(after, limit, answer=b'{"deadLetters":[],"next":null}')

    async def retry_dead(self, ids: Sequence[str] | None) -> bytes:
        return self._answer(ids, answer=b'{"retried":3}')


@asynccontextmanager
async def harness(shelf: Shelf | None, **settings: object) -> AsyncIterator[tuple[PresenceService, httpx.AsyncClient]]:
    options = Settings.model_validate({"stats_interval": 0, **settings})
    node = Node(options, FakeClock(), Metrics(), max_connections=10)
    application = PresenceService(node)
    followers = Followers(application.on_change, node.metrics.api_followers.set)
    app = make_app(application, node, ApiKeys(()), Tickets(), followers, shelf, shelf)
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost/api/v1") as client:
        yield application, client


async def test_what_was_kept_is_answered_as_it_came() -> None:
    shelf = Shelf()
    async with harness(shelf) as (_, client):
        assert (await client.get("/users/7/history?after=9&limit=5")).json() == {"changes": [], "next": None}
        assert (await client.get("/users/7/sessions/past")).json()["sessions"] == []
        await client.get("/users/7/sessions/past?after=1767-7-1767")
        assert (await client.get("/webhooks/dead?after=x")).json()["deadLetters"] == []
        assert (await client.post("/webhooks/dead/retry", json={"ids": ["a"]})).json() == {"retried": 3}
        assert (await client.delete("/users/7")).json() == {"closed": 0, "stored": 12}
        refused = await client.get("/users/7/sessions/past?after=nonsense")
        assert (refused.status_code, refused.json()["code"]) == (400, "BAD_PARAMETER")
        assert shelf.asked == [
            ("7", "9", 5),
            ("7", "", 100),
            ("7", "1767-7-1767", 100),
            ("x", 100),
            (["a"],),
            ("7",),
        ]


async def test_last_seen_is_newer_than_the_stored_row_while_facts_wait() -> None:
    shelf = Shelf()
    shelf.waiting = {"7": UserFact("7", "offline", 9, 800, 900, 800), "eve": UserFact("eve", "offline", 9, 1, 2, 3)}
    async with harness(shelf) as (_, client):
        found = (await client.post("/users/last-seen", json={"users": [7, "ada", "eve"]})).json()
        assert found["users"] == [
            {"userId": 7, "status": "offline", "lastSeen": 900, "lastActive": 800},
            {"userId": "ada", "status": "offline", "lastSeen": 100, "lastActive": 90},
            {"userId": "eve", "status": "offline", "lastSeen": 2, "lastActive": 3},
        ]


async def test_last_seen_is_what_was_kept_or_now() -> None:
    async with harness(Shelf()) as (application, client):
        application.announce("ada", online=True)
        found = (await client.post("/users/last-seen", json={"users": [7, "ada", "eve", "", None]})).json()
        now = FakeClock().now().epoch_ms
        assert found["users"] == [
            {"userId": 7, "status": "offline", "lastSeen": 500, "lastActive": 400},
            {"userId": "ada", "status": "online", "lastSeen": now, "lastActive": 90},
            {"userId": "eve", "status": "offline"},
        ]
        assert [error["index"] for error in found["errors"]] == [3, 4]
        assert (await client.get("/users/7/last-seen")).json()["lastSeen"] == 500


PAST = ("/users/7/history", "/users/7/last-seen", "/users/7/sessions/past", "/webhooks/dead")


@pytest.mark.parametrize("path", PAST)
async def test_without_a_database_nothing_is_kept(path: str) -> None:
    async with harness(None) as (_, client):
        answer = await client.get(path)
        detail = "no webhooks are sent: set webhook_urls" if "webhooks" in path else "nothing is kept: set database"
        assert (answer.status_code, answer.json()["detail"]) == (409, detail)
        assert (await client.delete("/users/7")).json() == {"closed": 0, "stored": 0}


@pytest.mark.parametrize("path", PAST)
async def test_a_database_that_does_not_answer_is_said_so(path: str) -> None:
    async with harness(Shelf(is_down=True)) as (_, client):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["detail"]) == (503, "the database does not answer")
        assert answer.headers["retry-after"]


@pytest.mark.parametrize(
    ("segment", "said"), [("ada", "ada"), ("a%2Fb", "a/b"), ("%252F", "%2F"), ("%F0%9F%98%80", "😀"), ("%FF", "\udcff")]
)
def test_a_segment_is_decoded_once(segment: str, said: str) -> None:
    assert name(segment) == said


def request(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": []})


def test_parameters_are_read_by_their_types() -> None:
    assert parameters(request("limit=7&after=3"), OnlinePage) == OnlinePage(UNSET, 3, 7)
    assert parameters(request("users=7&users=a%2Cb&everyone=true"), Watching) == Watching(["7", "a,b"], everyone=True)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=1.5", "limit=", "limit=1&limit=1", "bound=1", "after=-1", "viewer="]
)
def test_a_parameter_that_can_t_be_used_is_named(query: str) -> None:
    with pytest.raises(ProblemError) as refused:
        parameters(request(query), OnlinePage)
    assert refused.value.problem is Problem.BAD_PARAMETER
    assert query.partition("=")[0] in refused.value.detail


def test_who_gives_a_parameter_that_there_is_not_is_told_those_that_there_are() -> None:
    with pytest.raises(ProblemError) as refused:
        parameters(request("before%0a=1"), OnlinePage)
    assert refused.value.detail == r"unknown parameter before\n; known are viewer, after, limit"


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
async def test_an_empty_parameter_is_refused_not_taken_for_one_that_was_left_out(path: str) -> None:
    """`?viewer=` would show everything."""
    async with asyncio.timeout(10), harness(Shelf()) as (_, client):  # a stream would not end
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (400, "BAD_PARAMETER")
        assert "empty" in answer.json()["detail"] or "2 times" in answer.json()["detail"]


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
async def test_an_empty_field_that_restricts_is_refused_not_taken_for_one_that_was_left_out(
    path: str, body: object
) -> None:
    """An empty `sessionId` would revoke all of the user's tokens. A `presence` of null would restrict nothing."""
    async with harness(Shelf()) as (_, client):
        answer = await client.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "BAD_BODY"), answer.json()


async def test_no_dead_letter_is_sent_again_where_none_is_named() -> None:
    shelf = Shelf()
    async with harness(shelf) as (_, client):
        await client.post("/webhooks/dead/retry", json={"ids": []})
        await client.post("/webhooks/dead/retry", json={})
    assert shelf.asked == [([],), (None,)]


async def test_an_error_about_a_misspelt_field_or_parameter_names_the_intended_one() -> None:
    async with harness(None) as (_, client):
        answer = await client.put("/users/ada/status", json={"status": "busy", "expires_in": 60})
        assert answer.json()["detail"].startswith(
            "unknown field expires_in (did you mean expiresIn?); known are status,"
        )
        answer = await client.get("/online?viewr=bo")
        assert (
            answer.json()["detail"] == "unknown parameter viewr (did you mean viewer?); known are viewer, after, limit"
        )
        answer = await client.get("/users/ada/claims?viewer=bo")
        assert answer.json()["detail"] == "unknown parameter viewer; there are none"


async def test_fields_and_parameters_of_the_backend_s_own_are_ignored() -> None:
    async with harness(None) as (_, client):
        answer = await client.put("/users/ada/status?x-trace=", json={"x-trace": {"a": 1}, "status": "busy"})
        assert answer.status_code == 200


async def test_a_variable_that_was_not_set_is_no_user_unless_a_setting_allows_it() -> None:
    asked = [
        ("GET", "/users/undefined", None),
        ("PUT", "/users/%5Bobject%20Object%5D/status", {"status": "busy"}),
        ("POST", "/users/None/announce", {"online": True}),
        ("GET", "/online?viewer=null", None),
        ("GET", "/watch?users=NaN", None),
        ("POST", "/users/query", {"users": [], "viewer": "undefined"}),
    ]
    async with asyncio.timeout(10), harness(None) as (_, client):
        for method, path, body in asked:
            answer = await client.request(method, path, json=body)
            assert (answer.status_code, "is a variable not set" in answer.json()["detail"]) == (400, True), path
        assert (await client.delete("/users/undefined")).status_code == 200, "what an earlier version let in can go"
    async with harness(None, placeholder_ids=True) as (_, client):
        for method, path, body in asked:
            if "watch" not in path:  # which would not end
                assert (await client.request(method, path, json=body)).status_code == 200, path


@pytest.mark.parametrize("name_", ["山田\u3000太郎", "\U0001f468\u200d\U0001f469", "\U00031350", " "])
async def test_names_in_all_scripts_stand_in_paths(name_: str) -> None:
    async with harness(None) as (application, client):
        written = quote(name_, safe="")
        await client.put(f"/users/{written}/claims/{written}", json={"status": "busy"})
        assert [claim.source for claim in application.claims_of(name_)] == [name_]
        assert (await client.get(f"/rooms/{written}")).json()["room"] == name_


@pytest.mark.parametrize("path", ["/rooms/a%0Ab", "/rooms/a%E2%80%AEb", "/users/a%00b", "/rooms/%FF"])
async def test_a_name_that_can_t_be_used_is_refused_with_the_character(path: str) -> None:
    async with harness(None) as (_, client):
        answer = await client.get(path)
        assert (answer.status_code, "U+" in answer.json()["detail"]) == (400, True)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/users/ada/status", "auto, away, busy, invisible, online"),
        ("/users/ada/claims/calendar", "away, busy, online"),
    ],
)
async def test_who_gives_none_of_a_few_values_is_told_which_there_are(path: str, allowed: str) -> None:
    async with harness(None) as (_, client):
        answer = (await client.put(path, json={"status": "dancing"})).json()
        assert answer["detail"] == f"Invalid enum value 'dancing' - at `status`; allowed are {allowed}"
        assert (await client.put(path, json={"status": None})).json()["detail"].endswith(f"; allowed are {allowed}")
        assert "allowed" not in (await client.put(path, json={"status": "busy", "text": 1})).json()["detail"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"status": "busy", "text": "\xff"}', "not UTF-8, from byte 28 on"),
        (b'{"status": "busy", "data": "\xc0\xaf"}', "not UTF-8, from byte 28 on"),
        (
            b'{"status": "busy", "more-than-' + b"x" * 9000 + b'": 1}',
            "unknown field more-than-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; known are status",
        ),
        (b'{"status": "' + b"x" * 9000 + b'"}', "x' - at `status`; allowed are auto"),
        (b'{"status": "busy"', "Input data was truncated"),
        (b"[" * 50_000, "Expected `object`, got `array`"),
    ],
)
async def test_a_body_that_can_t_be_read_is_refused_in_few_words(body: bytes, said: str) -> None:
    async with harness(None) as (_, client):
        answer = await client.put("/users/ada/status", content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "BAD_BODY")
        assert said in answer.json()["detail"]
        assert len(answer.content) < 600, "not all that was given comes back"


def test_what_changed_is_worked_out_once_for_all_who_ask_at_the_same_time() -> None:
    node = Node(Settings(stats_interval=0), FakeClock(), Metrics(), max_connections=10)
    application = PresenceService(node)
    spans = Spans(application, 1000)
    for online in (True, False, True):
        application.announce("ada", online)
    span = spans.since(0)
    assert span is not None
    assert (span.until, [change.version for change in span.latest.values()]) == (3, [3])
    assert spans.since(0) is span
    for position in range(MAX_SPANS + 5):
        application.announce(str(position), online=True)
        spans.since(position)
    assert len(spans) == MAX_SPANS


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("it does not happen")


async def test_changes_are_listened_to_while_somebody_waits() -> None:
    listening: list[Any] = []

    def on_change(wake: Any) -> Any:
        listening.append(wake)
        return lambda: listening.remove(wake)

    counted: list[float] = []
    followers = Followers(on_change, counted.append)
    first, second = followers.enter(never, None), followers.enter(never, "ada")
    assert len(listening) == 1
    listening[0]()
    assert await first.wait(1)
    assert await second.wait(1)
    first.leave()
    first.leave()
    assert len(listening) == 1
    second.leave()
    assert listening == []
    assert counted == [1, 2, 1, 0]
    followers.end()
    with pytest.raises(ProblemError, match="stopping"):
        followers.enter(never, None)


async def test_when_as_many_follow_as_may_one_more_is_refused() -> None:
    def full(_: Any) -> Any:
        raise CapacityError("enough")

    with pytest.raises(ProblemError, match="enough"):
        Followers(full, lambda _: None).enter(never, None)


def test_every_endpoint_is_there_once_and_says_what_it_does() -> None:
    assert len({endpoint.name for endpoint in ENDPOINTS}) == len(ENDPOINTS)
    assert len({endpoint.operation for endpoint in ENDPOINTS}) == len(ENDPOINTS)
    for endpoint in ENDPOINTS:
        assert endpoint.handler.__doc__
        assert endpoint.takes_body is (endpoint.method in ("POST", "PUT")) or endpoint.path.endswith("/disconnect")
