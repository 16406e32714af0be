"""Wall clocks of machines are wrong, or are set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cluster.conftest import LEASE_S, Nodes
from tests.cluster.test_nodes import follow, until_status, visit
from tests.cluster.timing import RIGHT_WITHIN_S, within
from tests.support.clients import client, until
from tests.support.faketime import Clock, SteppedValkey
from tests.support.soak import ONLY_IN_SOAK

from presenced_client import Presence

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

HOUR_S = 3600


@pytest.fixture
def stepped() -> Iterator[SteppedValkey]:
    with SteppedValkey() as server:
        yield server


async def until_text(watcher: Presence, text: str) -> None:
    """Wait until a client sees that ada has this text."""
    await until(watcher, lambda: watcher.user("ada").text == text)


async def soon(condition: Callable[[], object], seconds: float) -> None:
    """Wait for a condition for some seconds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("what", "step"),
    [
        ("node", HOUR_S),
        ("store", -HOUR_S),
        pytest.param("node", -HOUR_S, marks=ONLY_IN_SOAK),
        pytest.param("store", HOUR_S, marks=ONLY_IN_SOAK),
    ],
    ids=["node-forward", "store-back", "node-back", "store-forward"],
)
async def test_clock_steps_of_an_hour_on_node_and_store_change_nothing(
    what: str, step: int, stepped: SteppedValkey, nodes: Nodes, tmp_path: Path
) -> None:
    """Nobody leaves or comes, nothing ends early, and the last choice counts, wherever it was made."""
    of_node = Clock(tmp_path / "clock")
    clock = of_node if what == "node" else stepped.clock
    url = stepped.url("0")
    first = await asyncio.to_thread(nodes.start, of_node.environ, backend=url)
    second = await asyncio.to_thread(nodes.start, backend=url)
    seen: list[tuple[str, str]] = []
    async with (
        client(first, "w1") as here,
        client(second, "w2") as there,
        here.watch(["ada", "bob", "carl"]),
        client(first, "ada") as ada,
        client(second, "ada") as other_ada,
        visit(second, "bob"),
    ):
        await ada.set_status("busy", text="in a meeting", expires_in=1800)
        following = asyncio.create_task(follow(there, seen, "ada", "bob"))
        for watcher in (here, there):
            await until_text(watcher, "in a meeting")
            await until_status(watcher, "bob", "online")
        before = there.user("ada").version
        clock.set(step)
        async with visit(first, "carl"), visit(second, "dora"):
            async with within(RIGHT_WITHIN_S, "changes go on"), there.watch(["carl"]):
                await until_status(there, "carl", "online")
                await until_status(here, "carl", "online")
            await asyncio.sleep(LEASE_S + 2)  # no lease ends
            for watcher in (here, there):
                assert watcher.user("ada").text == "in a meeting", "the choice has not ended"
                assert watcher.user("bob").online
        assert [change for change in seen if change[1] == "offline"] == []
        assert there.user("ada").version == before
        await ada.set_status("away", text="1")
        for watcher in (here, there):
            await until_text(watcher, "1")
        await other_ada.set_status("busy", text="2")
        for watcher in (here, there):
            await until_text(watcher, "2")
        assert there.user("ada").version > before
        following.cancel()


@pytest.mark.parametrize(
    "step",
    [
        HOUR_S,
        pytest.param(
            -HOUR_S,
            marks=pytest.mark.xfail(
                strict=True,
                reason="other nodes compare the end of the choice with their own clocks",
            ),
        ),
    ],
    ids=["forward", "back"],
)
async def test_a_temporary_choice_on_a_node_with_a_wrong_clock_ends_in_its_time_on_all_nodes(
    step: int, stepped: SteppedValkey, nodes: Nodes, tmp_path: Path
) -> None:
    clock = Clock(tmp_path / "clock")
    first = await asyncio.to_thread(nodes.start, clock.environ, backend=stepped.url("0"))
    second = await asyncio.to_thread(nodes.start, backend=stepped.url("0"))
    async with (
        client(first, "ada") as ada,
        client(second, "ada"),
        client(second, "watcher") as there,
        there.watch(["ada"]),
    ):
        await ada.set_status("busy", text="permanent")
        await until_text(there, "permanent")
        clock.set(step)
        await ada.set_status("away", text="temporary", expires_in=4)
        async with within(2, "it is shown"):
            await soon(lambda: there.user("ada").text == "temporary", 3)
        await asyncio.sleep(2)
        assert there.user("ada").text == "temporary"
        async with within(4, "it ends"):
            await soon(lambda: there.user("ada").text == "permanent", 5)
