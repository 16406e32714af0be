"""`Presence` against the real `presenced serve`: users, changes, statuses, rooms and counts."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from tests.support.clients import Backend, StartServer, client, until
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE

from presenced_client import Presence, PresenceError

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

_numbers = count()


def name(prefix: str) -> str:
    """Return a user or room that no other test uses."""
    return f"{prefix}{next(_numbers)}"


async def test_get_waits_for_the_first_answer(shared: ServerProcess) -> None:
    ada, bot = name("ada"), name("bot")
    async with client(shared, bot) as presence:
        assert presence.user(ada).status == "unknown"
        assert (await presence.get(ada)).status == "offline"
        assert (await presence.get(bot)).online, "the own presence, as others see it"
        own = presence.self
        assert own
        assert own.status == "online"


async def test_numbers_and_strings_name_the_same_user(shared: ServerProcess) -> None:
    async with client(shared, name("bot")) as presence, client(shared, "7007", device="phone"):
        seven = await presence.get(7007)
        assert (seven.user_id, seven.devices) == (7007, ("phone",))
        assert presence.users["7007"] is presence.user("7007") is seven


async def test_leaving_the_block_makes_the_user_offline_immediately(start_server: StartServer) -> None:
    server = start_server(grace_lost=60, grace_going_away=60)
    async with client(server, "ada"):
        assert await Backend(server).status("ada") == "online"
    assert await Backend(server).status("ada") == "offline"


async def test_changes_yields_differences_and_not_the_first_answer(shared: ServerProcess) -> None:
    ada, backend = name("ada"), Backend(shared)
    async with client(shared, name("bot")) as presence:
        assert not (await presence.get(ada)).online
        changes = presence.changes([ada])
        first = asyncio.ensure_future(anext(aiter(changes)))
        await backend.announce(ada)
        change = await asyncio.wait_for(first, PATIENCE)
        assert (change.user, change.previous.status, change.current.status) == (ada, "offline", "online")


async def test_a_slow_reader_gets_the_last_state_of_each_user(shared: ServerProcess) -> None:
    ada, bob, backend = name("ada"), name("bob"), Backend(shared)
    await backend.announce(ada)
    async with client(shared, name("bot")) as presence, client(shared, bob) as other:
        async with asyncio.timeout(PATIENCE):
            assert (await presence.get(ada)).online
            stream = presence.changes([ada, bob])
            task = asyncio.ensure_future(anext(aiter(stream)))
            await until(presence, lambda: presence.user(bob).online)
            await other.set_status("busy", text="first")
            assert (await task).current.text == "first"
            for text in ("second", "third"):
                await other.set_status("busy", text=text)
                # mypy infers no lambda with a default.
                await until(presence, lambda text=text: presence.user(bob).text == text)  # type: ignore[misc]  # mypy cannot infer the default
            await backend.announce(ada, online=False)
            await until(presence, lambda: not presence.user(ada).online)
            seen = [await anext(aiter(stream)) for _ in range(2)]
        assert [(change.user, change.previous.text, change.current.text) for change in seen] == [
            (bob, "first", "third"),
            (ada, "", ""),
        ]


async def test_everyone(shared: ServerProcess) -> None:
    ada, backend = name("ada"), Backend(shared)
    async with client(shared, name("bot")) as presence:
        assert presence.everyone == {}
        async with presence.watch():
            assert ada not in presence.everyone
            assert presence.user(ada).status == "offline"
            await backend.announce(ada)
            await until(presence, lambda: ada in presence.everyone)
            await backend.announce(ada, online=False)
            await until(presence, lambda: ada not in presence.everyone)


async def test_a_status_that_is_chosen_with_the_first_connection_is_the_first_that_others_see(
    shared: ServerProcess,
) -> None:
    ada, bob, carl = name("ada"), name("bob"), name("carl")
    async with client(shared, ada) as watcher, watcher.watch([bob, carl]):

        async def first_two() -> list[tuple[str, str]]:
            seen: list[tuple[str, str]] = []
            async for change in watcher.changes([bob, carl]):
                seen.append((change.user, change.current.status))
                if len(seen) == 2:
                    break
            return seen

        reading = asyncio.create_task(first_two())
        async with Presence(shared.url, user_id=bob, status="invisible") as hidden:
            await until(hidden, lambda: hidden.self is not None and hidden.self.chosen == "invisible")
            async with Presence(shared.url, user_id=carl, status="busy"):
                await until(watcher, lambda: watcher.user(carl).status == "busy")
            assert await asyncio.wait_for(reading, PATIENCE) == [(carl, "busy"), (carl, "offline")]


def test_a_status_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="one of auto, online, away, busy, invisible, not 'asleep'"):
        Presence("ws://localhost:3001", status="asleep")  # type: ignore[arg-type]  # invalid on purpose


async def test_set_status_is_seen_and_expires(shared: ServerProcess) -> None:
    ada = name("ada")
    async with client(shared, name("bot")) as presence, client(shared, ada) as own:
        await own.set_status("busy", text="deploying", emoji="🚀", data={"build": 7}, expires_in=2)
        await presence.get(ada)
        await until(presence, lambda: presence.user(ada).status == "busy")
        user = presence.user(ada)
        assert (user.text, user.emoji, user.data) == ("deploying", "🚀", {"build": 7})
        assert user.until > presence.now()
        await until(presence, lambda: presence.user(ada).status == "online")
        assert not presence.user(ada).text


async def test_a_refused_status_raises_what_is_wrong(shared: ServerProcess) -> None:
    async with client(shared, name("ada")) as own:
        with pytest.raises(PresenceError, match="140") as refused:
            await own.set_status("busy", text="x" * 141)
        assert (refused.value.code, refused.value.numeric_code) == ("BAD_REQUEST", 101)
        await own.set_status("away")  # the connection stays usable
        await until(own, lambda: own.self and own.self.status == "away")


async def test_an_idle_device_makes_its_user_away(shared: ServerProcess) -> None:
    ada = name("ada")
    async with client(shared, name("bot")) as presence, client(shared, ada) as own:
        await presence.get(ada)
        for active, status in ((False, "away"), (True, "online")):
            own.set_active(active)
            # mypy infers no lambda with a default.
            await until(presence, lambda status=status: presence.user(ada).status == status)  # type: ignore[misc]  # mypy cannot infer the default


async def test_a_room_has_members_while_their_blocks_run(shared: ServerProcess) -> None:
    ada, bob, lobby = name("ada"), name("bob"), name("lobby")
    async with client(shared, ada) as one, client(shared, bob) as two:
        async with one.room(lobby, data={"role": "bot"}) as room:
            assert (room.count, room.joined, room.mode) == (1, True, "full")
            assert room.members[ada].data == {"role": "bot"}
            async with two.room(lobby) as other:
                await until(one, lambda: room.count == 2)
                assert one.user(bob).online, "the presence of members is known"
                await other.set_data("here")
                await until(one, lambda: room.members[bob].data == "here")
            await until(one, lambda: room.count == 1)
            assert one.user(bob).status == "unknown", "nobody watches bob now"
        async with two.room(lobby, join=False) as watched:
            assert (watched.count, watched.joined) == (0, False)


async def test_refused_data_leaves_the_earlier_data(shared: ServerProcess) -> None:
    ada = name("ada")
    async with client(shared, ada) as one, one.room(name("lobby"), data=1) as room:
        with pytest.raises(PresenceError, match="at most 2048"):
            await room.set_data("x" * 3000)
        await room.set_data(2)
        await until(one, lambda: room.members[ada].data == 2)


async def test_a_full_room_raises(start_server: StartServer) -> None:
    server = start_server(room_members=1)
    async with client(server, "ada") as one, client(server, "bob") as two, one.room("lobby"):
        with pytest.raises(PresenceError) as refused:
            async with two.room("lobby"):
                raise AssertionError("the room is full")
        assert (refused.value.code, refused.value.retryable) == ("ROOM_FULL", True)


async def test_counts(start_server: StartServer) -> None:
    server = start_server()
    async with client(server, "ada") as one, client(server, "bob") as two:
        assert await one.count() == 2
        assert await one.count("lobby") == 0
        async with two.room("lobby"):
            await until(one, lambda: one.session.counts["lobby"] == 1)
        assert one.users == {}, "numbers come without names"


async def test_a_bad_id_does_not_keep_the_others_from_being_known(shared: ServerProcess) -> None:
    async with client(shared, name("bot")) as presence, presence.watch([name("ada"), name("bob")]):
        bad = asyncio.ensure_future(presence.get("two\nlines"))
        good = [asyncio.ensure_future(presence.get(name("carl"))) for _ in range(5)]
        assert {user.status for user in await asyncio.gather(*good)} == {"offline"}
        with pytest.raises(PresenceError) as refused:
            await bad
        assert refused.value.code == "BAD_REQUEST"
        with pytest.raises(ValueError, match="1 to 128"):
            await presence.get("")


async def test_fifteen_hundred_users(start_server: StartServer) -> None:
    """The server allows 1,000 by id. Users who linger make room for new ones; more readers than that are an error."""
    server = start_server()
    async with client(server, "bot") as presence:
        for first in (0, 750):
            ids = [f"user{number}" for number in range(first, first + 750)]
            async with presence.watch(ids) as users:
                assert {users[user].status for user in ids} == {"offline"}
        with pytest.raises(PresenceError) as refused:
            async for _ in presence.changes(f"user{number}" for number in range(1500)):
                raise AssertionError("nothing changes")
        assert (refused.value.code, refused.value.hint) == ("TOO_MANY_WATCHED", "Watch everyone, or a room.")
        assert (await presence.get("user1499")).status == "offline", "the connection stays usable"
        assert await Backend(server).refused_requests() == []


async def test_requests_stay_below_the_rate_of_the_server(start_server: StartServer) -> None:
    server = start_server(request_rate=20, request_burst=10)
    async with client(server, "bot") as presence:
        rooms = [presence.room(f"room{number}") for number in range(40)]
        await asyncio.gather(*[room.__aenter__() for room in rooms])
        await asyncio.gather(*[presence.set_status("busy", text=str(number)) for number in range(40)])
        await until(presence, lambda: presence.self and presence.self.text == "39")
        assert all(room.joined for room in rooms)
        assert await Backend(server).refused_requests() == []


async def test_wait_for_outside_of_the_block_is_an_error(shared: ServerProcess) -> None:
    presence = Presence(shared.url, user_id=name("bot"), proxy=None)
    with pytest.raises(RuntimeError, match="async with"):
        await presence.get("ada")


async def test_errors_of_the_block_and_cancellations_pass(shared: ServerProcess) -> None:
    with pytest.raises(ZeroDivisionError):
        async with client(shared, name("bot")):
            raise ZeroDivisionError
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), client(shared, name("bot")):
            await asyncio.Event().wait()
