"""`Presence` against the real `presenced serve`: losses, restarts, tokens and final refusals."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import jwt
import pytest
from tests.support.clients import Backend, StartServer, client, restart, until
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE
from tests.support.relay import Relay
from tests.support.server import until as until_any
from tests.support.tokens import KEY, SECRET
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from presenced_client import Change, Presence, PresenceError

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

WITH_TOKENS = {"PRESENCED_JWT_KEY": SECRET, "PRESENCED_API_KEYS": KEY.entry}


async def collect(presence: Presence, into: list[Change], *users: str) -> None:
    async for change in presence.changes(users):
        into.append(change)  # noqa: PERF401, extend would add them after the end, which never comes


async def test_a_session_resumes_after_a_loss_with_exactly_what_it_missed(start_server: StartServer) -> None:
    server = start_server(grace_lost=60)
    backend = Backend(server)
    await backend.announce("carl")
    with Relay(server.port) as relay:
        async with client(relay.url, "bot") as presence, asyncio.TaskGroup() as tasks:
            seen: list[Change] = []
            async with presence.watch(["ada", "carl"]):
                collecting = tasks.create_task(collect(presence, seen, "ada", "carl"))
                await until(presence, lambda: presence.session.position)
                relay.cut()
                await until(presence, lambda: presence.connection.stale)
                assert presence.user("carl").online, "everything known stays"
                await backend.announce("ada")
                await until(
                    presence, lambda: presence.connection.outcome == "resumed" and not presence.connection.stale
                )
                await until_any(lambda: seen)
                assert [(change.user, change.current.status) for change in seen] == [("ada", "online")]
                collecting.cancel()
    assert not server.closed("replaced")


async def test_nobody_flickers_when_the_server_is_killed(start_server: StartServer) -> None:
    server = start_server(settling=6)  # the time in which both clients must be back
    async with (
        client(server, "ada", device="web") as ada,
        client(server, "bot") as presence,
        presence.watch(["ada", "carl"]),
        presence.room("lobby", data=1) as room,
        ada.room("lobby"),
        asyncio.TaskGroup() as tasks,
    ):
        await ada.set_status("busy", text="here")
        await until(presence, lambda: presence.user("ada").text == "here" and room.count == 2)
        seen: list[Change] = []
        collecting = tasks.create_task(collect(presence, seen, "ada", "carl"))
        await until(presence, lambda: presence.session.is_caught_up)
        await restart(server, pause=0.2)
        ada.retry()
        presence.retry()
        await until(presence, lambda: presence.connection.outcome == "new-session")
        await until(presence, lambda: not presence.connection.stale)
        await until(presence, lambda: room.count == 2 and room.joined)
        user = presence.user("ada")
        assert (user.status, user.text, user.devices) == ("busy", "here", ("web",)), "the URL says what was chosen"
        assert seen == []
        collecting.cancel()


async def test_users_who_do_not_return_to_a_restarted_server_are_offline_when_it_has_settled(
    start_server: StartServer,
) -> None:
    server = start_server(settling=1.5)
    await Backend(server).announce("ada")
    async with client(server, "bot") as presence, presence.watch(["ada"]), presence.watch():
        assert presence.user("ada").online
        await restart(server)
        await until(presence, lambda: presence.session.is_established)
        if presence.session.roster.settles_until is not None:
            assert presence.user("ada").online
        await until(presence, lambda: presence.user("ada").status == "offline")
        await until(presence, lambda: not presence.connection.stale)


async def test_a_stopping_server_says_when_to_return(start_server: StartServer) -> None:
    server = start_server()
    async with client(server, "bot") as presence:
        presence_waits = asyncio.ensure_future(until(presence, lambda: presence.connection.state == "waiting"))
        server.signal(signal.SIGTERM)
        await presence_waits
        error = presence.connection.error
        assert error
        assert (error.code, error.retryable) == ("GOING_AWAY", True)
        assert presence.connection.retry_at > time.time() * 1000 - 60_000
        await restart(server)
        await until(presence, lambda: presence.connection.state == "open")
        assert presence.connection.error is None


async def test_a_choice_made_without_a_connection_is_sent_later(start_server: StartServer) -> None:
    server = start_server()
    async with client(server, "ada") as presence, asyncio.TaskGroup() as tasks:
        await asyncio.to_thread(server.kill)
        await until(presence, lambda: presence.connection.state == "waiting")
        for number in range(3):
            tasks.create_task(presence.set_status("busy", text=str(number)))
        await asyncio.to_thread(server.start)
    # the group has ended, so the answer to the last choice was that to all

    async with client(server, "ada") as presence:
        await until(presence, lambda: presence.self and presence.self.text == "2")


async def test_an_unreachable_server_is_named_after_three_attempts(start_server: StartServer) -> None:
    server = start_server()
    async with client(server, "bot") as presence:
        await asyncio.to_thread(server.kill)
        await until(presence, lambda: presence.connection.error and presence.connection.error.code == "UNREACHABLE")
        assert presence.connection.attempt >= 3
        await asyncio.to_thread(server.start)
        presence.retry()
        await until(presence, lambda: presence.connection.state == "open")


async def test_users_are_forgotten_after_a_long_time_without_a_connection(start_server: StartServer) -> None:
    server = start_server()
    await Backend(server).announce("ada")
    async with client(server, "bot", forget_after=0.3) as presence, presence.watch(["ada"]):
        await asyncio.to_thread(server.kill)
        await until(presence, lambda: presence.user("ada").status == "unknown")
        await asyncio.to_thread(server.start)
        await until(presence, lambda: presence.user("ada").status == "offline")


async def take_session(server: ServerProcess, presence: Presence) -> None:
    """Connect with the session of a client, as a copy of its process does, and disconnect."""
    query = urlencode({"userId": "bot", "session": presence.session.session_id, "position": presence.session.position})
    url = f"{server.websocket_url}?{query}"
    async with connect(url, subprotocols=[Subprotocol("presenced.v1")], proxy=None) as socket:
        assert json.loads(await socket.recv())["sessionId"] == presence.session.session_id


async def test_a_client_whose_session_is_taken_begins_another_one_and_gives_up_at_the_third_time(
    shared: ServerProcess,
) -> None:
    with pytest.raises(PresenceError) as failed:
        async with client(shared, "bot") as presence:
            for _ in range(3):
                before = presence.session.session_id
                await take_session(shared, presence)
                # mypy infers no lambda with a default.
                await until(presence, lambda before=before: presence.session.session_id not in ("", before))  # type: ignore[misc]  # mypy cannot infer the default
                await until(presence, lambda: presence.session.is_caught_up)
    assert (failed.value.code, failed.value.numeric_code) == ("REPLACED", 4409)


async def test_a_client_that_the_application_disconnects_ends_with_the_reason(shared: ServerProcess) -> None:
    with pytest.raises(PresenceError) as failed:
        async with client(shared, "kicked"):
            await Backend(shared).post("/users/kicked/disconnect")
            await asyncio.Event().wait()
    assert (failed.value.code, failed.value.hint) == ("DISCONNECTED", "Let the user sign in again.")


async def test_a_bad_user_id_and_a_wrong_path_raise_out_of_the_block(shared: ServerProcess) -> None:
    with pytest.raises(PresenceError) as failed:
        async with client(shared, "two\nlines"):
            raise AssertionError("it never connects")
    assert failed.value.code == "BAD_USER_ID"
    with pytest.raises(PresenceError) as failed:
        async with client(f"{shared.url}elsewhere", "ada"):
            raise AssertionError("it never connects")
    assert (failed.value.code, failed.value.numeric_code) == ("NOT_FOUND", 404)


def signed(user_id: str, seconds: float) -> str:
    now = int(time.time())
    return jwt.encode({"sub": user_id, "iat": now, "exp": now + seconds}, SECRET, "HS256")


def counting(source: Callable[[], str]) -> tuple[Callable[[], str], list[str]]:
    """Return a token function, and the list of tokens that it has returned."""
    given: list[str] = []

    def fetch() -> str:
        given.append(source())
        return given[-1]

    return fetch, given


async def test_tickets_are_fetched_for_each_connection(start_server: StartServer) -> None:
    server = start_server({"PRESENCED_API_KEYS": KEY.entry}, auth="ticket")
    backend = Backend(server, KEY.key)
    given: list[str] = []

    async def fetch() -> str:
        given.append((await backend.post("/tickets", {"userId": "ada"}))["ticket"])
        return given[-1]

    with Relay(server.port) as relay:
        async with client(relay.url, None, token=fetch) as presence:
            assert (await presence.get("ada")).online
            relay.cut()
            await until(presence, lambda: presence.connection.outcome == "resumed")
    assert len(given) == len(set(given)) == 2


async def test_a_token_is_renewed_before_it_expires(start_server: StartServer) -> None:
    server = start_server(WITH_TOKENS, auth="jwt", auth_warning=3, jwt_leeway=0)
    fetch, given = counting(lambda: signed("ada", 4))
    async with client(server, None, token=fetch) as presence:
        await until_any(lambda: len(given) >= 3)
        assert presence.connection.state == "open"
        assert presence.connection.outcome == "new-session", "it is still the first connection"


async def test_a_token_is_reused_until_a_minute_before_it_expires(start_server: StartServer) -> None:
    server = start_server(WITH_TOKENS, auth="jwt")
    fetch, given = counting(lambda: signed("ada", 600))
    with Relay(server.port) as relay:
        async with client(relay.url, None, token=fetch) as presence:
            await until(presence, lambda: presence.session.position)  # without a position, the session is resynced
            relay.cut()
            await until(presence, lambda: presence.connection.outcome == "resumed")
    assert len(given) == 1


async def test_an_expired_fixed_token_ends_the_client(start_server: StartServer) -> None:
    server = start_server(WITH_TOKENS, auth="jwt", auth_warning=0, jwt_leeway=0)
    with pytest.raises(PresenceError) as failed:
        async with client(server, None, token=signed("ada", 2)):
            await asyncio.Event().wait()
    assert (failed.value.code, failed.value.numeric_code) == ("UNAUTHORIZED", 4401)


async def test_a_refused_token_is_fetched_again_once(start_server: StartServer) -> None:
    server = start_server(WITH_TOKENS, auth="jwt")
    fetch, given = counting(lambda: "forged")
    with pytest.raises(PresenceError, match="UNAUTHORIZED"):
        async with client(server, None, token=fetch):
            raise AssertionError("it never connects")
    assert len(given) == 2
    tokens = iter(["forged", signed("ada", 600)])
    async with client(server, None, token=lambda: next(tokens)) as presence:
        assert presence.connection.state == "open"


async def test_a_token_function_that_fails_is_called_again_and_one_without_a_token_ends(
    start_server: StartServer,
) -> None:
    server = start_server(WITH_TOKENS, auth="jwt")
    results: Iterator[OSError | str] = iter([OSError("no backend"), signed("ada", 600)])

    def fetch() -> str:
        result = next(results)
        if isinstance(result, OSError):
            raise result
        return result

    async with client(server, None, token=fetch):
        pass
    with pytest.raises(PresenceError) as failed:
        async with client(server, None, token=lambda: None):
            raise AssertionError("it never connects")
    assert failed.value.code == "SIGNED_OUT"


async def test_a_token_that_no_header_can_contain_is_sent_as_a_message(start_server: StartServer) -> None:
    server = start_server(WITH_TOKENS, auth="jwt")
    with pytest.raises(PresenceError) as failed:
        async with client(server, None, token="not a token, but ümlauts"):
            raise AssertionError("it never connects")
    assert failed.value.numeric_code == 4401, "the server has read it"


async def test_the_owner_can_be_cancelled_while_the_server_is_down() -> None:
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), Presence("ws://127.0.0.1:9", user_id="bot", proxy=None):
                raise AssertionError("nobody listens there")
