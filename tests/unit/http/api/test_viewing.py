"""How many a viewer is told are online: as many as they see, whatever their sessions may see and block."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.grants_harness import GrantsHarness

from presenced.auth.tickets import Tickets
from presenced.http.api.endpoint import Api
from presenced.http.api.spans import Spans
from presenced.http.api.viewing import Eyes

pytestmark = pytest.mark.anyio

OTHERS = ("bo", "carl", "dee", "eve", "7")
ROOMS = ("lobby", "cellar")


def eyes(harness: GrantsHarness, viewer: str) -> Eyes:
    nothing = cast(Any, None)
    spans = Spans(harness.service, 10)
    api = Api(harness.service, harness.node, nothing, Tickets(), nothing, nothing, spans, None, None)
    return Eyes(api, viewer or None)


async def told_and_seen(harness: GrantsHarness, viewer: str) -> tuple[int, list[int | str]]:
    looking = eyes(harness, viewer)
    seen = [c.user_id for _, c in harness.service.online(0, 1000) if not viewer or looking.may_see(c.user_id)]
    return await looking.count_online(), sorted(seen)


async def test_who_is_invisible_is_in_no_number() -> None:
    harness = GrantsHarness("everyone")
    harness.come("ada")
    before = [await told_and_seen(harness, viewer) for viewer in ("", "ada", "nobody")]
    hidden = harness.come("eve", "status=invisible")
    harness.say(hidden, "JOIN", room="lobby")
    assert [await told_and_seen(harness, viewer) for viewer in ("", "ada", "nobody")] == before
    counts = harness.service.counts()
    assert (counts.connected_users, counts.rooms) == (2, 0), "it is there all the same"


async def test_who_is_blocked_is_not_counted_in_a_room_either() -> None:
    harness = GrantsHarness("rooms")
    for connection in (harness.come("ada", block=["eve"]), harness.come("bo"), harness.come("eve")):
        harness.say(connection, "JOIN", room="lobby")
    assert await told_and_seen(harness, "ada") == (2, ["ada", "bo"])
    assert await told_and_seen(harness, "bo") == (3, ["ada", "bo", "eve"])


some = st.lists(st.sampled_from([*OTHERS, "ada"]), unique=True)
sessions = st.lists(
    st.fixed_dictionaries({}, optional={"watch": st.one_of(some, st.just("*")), "block": some}), max_size=3
)


@settings(max_examples=examples(150))
@given(st.sampled_from(["everyone", "rooms", "claims"]), sessions, st.data())
def test_as_many_are_counted_as_are_listed(visibility: str, of_ada: list[dict[str, Any]], data: st.DataObject) -> None:
    harness = GrantsHarness(visibility)
    people = [harness.come("ada", **presence) for presence in of_ada]
    for user_id in data.draw(some):
        query = data.draw(st.sampled_from(["", "status=busy", "status=invisible"]))
        people.append(harness.come(user_id, query))
    for connection in people:
        for room in data.draw(st.lists(st.sampled_from(ROOMS), unique=True)):
            harness.say(connection, "JOIN", room=room)
    for viewer in ("", "ada", "bo"):
        count, seen = asyncio.run(told_and_seen(harness, viewer))
        assert count == len(seen), (viewer, seen)
