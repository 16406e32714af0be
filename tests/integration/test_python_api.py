"""The Python interface of a running server: it returns what the HTTP API returns, and its examples run."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import httpx
import pytest
from tests.support.api_client import ApiClient, api_client, connect_v1, parsed, send_request
from tests.support.details import as_request, filled_details
from tests.support.python_api import as_http, without_empty
from tests.support.raw import PATIENCE
from tests.support.server import server, until
from websockets.asyncio.client import connect

import presenced
from presenced import ChangesLost, Presence, PresenceServer
from presenced.auth.api_keys import new_key

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "embedded"
PAGE = ROOT / "docs" / "reference" / "python-api.md"

MOVING = ("heardAt", "heard", "pingedIn", "seconds", "graceEndsIn", "lastSeen")
"""Fields that depend on the moment of the request."""


def still(value: Any) -> Any:
    """Return JSON without the fields that depend on the moment of the request."""
    if isinstance(value, dict):
        return {name: still(item) for name, item in value.items() if name not in MOVING}
    return [still(item) for item in value] if isinstance(value, list) else value


async def test_a_query_returns_what_the_http_api_returns(tmp_path: Path) -> None:
    keys = new_key("admin")
    settings = {"auth": "ticket", "api_keys": [keys.entry], "database": "sqlite", "data_dir": str(tmp_path)}
    async with server(**settings) as running, api_client(running, keys.key) as api:
        await until(lambda: not running._running_parts().service.warnings())
        display = {"display": {"name": "Ada"}, "watch": ["bo"], "roles": ["causes"]}
        async with (
            await entered(running, "ada", **display) as ada,
            await entered(running, "bo") as bo,
            await entered(running, "eve") as eve,
        ):
            await send_request(ada, "JOIN", room="lobby", data={"seat": 1})
            await send_request(bo, "JOIN", room="lobby")
            await send_request(bo, "SET_STATUS", status="away", **as_request(filled_details()), expiresIn=3600)
            await send_request(eve, "SET_STATUS", status="invisible")
            claimed = as_request(filled_details(2))
            running.set_claim("ada", "calendar", "busy", **claimed, priority=7, expires_in=60)
            running.announce(7)
            await compare(running, api)
        running.disconnect("bo")
        async with asyncio.timeout(PATIENCE):
            while not await has_stored_the_end(running, "bo"):
                await asyncio.sleep(0.001)
        await compare(running, api)


async def has_stored_the_end(running: PresenceServer, user_id: str) -> bool:
    """Return whether the database has the end of the user's sessions and of their time online."""
    sessions, changes = await running.past_sessions(user_id), await running.history(user_id)
    return all(session.closed_at for session in sessions.items) and changes.items[0].status == "offline"


async def compare(running: PresenceServer, api: ApiClient) -> None:
    """Compare every query of both interfaces."""
    found: list[tuple[Any, Any]] = [
        (running.presence("ada"), await api.get("/users/ada")),
        (running.presence("eve", viewer="ada"), await api.get("/users/eve?viewer=ada")),
        (running.online().items, (await api.get("/online"))["users"]),
        (running.online(viewer="bo").items, (await api.get("/online?viewer=bo"))["users"]),
        (running.sessions("ada"), (await api.get("/users/ada/sessions"))["sessions"]),
        (running.all_sessions().items, (await api.get("/sessions"))["sessions"]),
        (running.claims("ada"), (await api.get("/users/ada/claims"))["claims"]),
        (await running.count_online(viewer="ada"), (await api.get("/counts?viewer=ada"))["onlineUsers"]),
        (await running.last_seen("bo"), await api.get("/users/bo/last-seen")),
        ((await running.history("bo")).items, (await api.get("/users/bo/history"))["changes"]),
        ((await running.past_sessions("bo")).items, (await api.get("/users/bo/sessions/past"))["sessions"]),
    ]
    several = (await api.post("/users/query", {"users": ["bo", 7], "viewer": "ada"}))["users"]
    found.append((running.presences(["bo", 7], viewer="ada"), several))
    for index, (ours, theirs) in enumerate(found):
        ours = as_http(ours)
        if index == 4:  # the response names the user once
            ours = [{name: value for name, value in one.items() if name != "userId"} for one in ours]
        assert still(without_empty(ours)) == still(without_empty(theirs)), index
    explained, theirs = as_http(running.explain("ada", viewer="bo")), await api.get("/users/ada/explain?viewer=bo")
    for change in explained["changes"]:
        assert change.pop("position")
    for named in (explained, theirs):
        named.pop("why")  # a sentence with durations
        for choice in ("chosen", "timed"):
            status = (named.get(choice) or {}).pop("status", "auto")
            named.setdefault("statuses", []).append(status)
    assert still(without_empty(explained)) == still(without_empty(theirs))
    room, theirs = as_http(running.room("lobby")), await api.get("/rooms/lobby")
    assert still(without_empty({**room, "room": room.pop("name")})) == still(without_empty(theirs)) | {"name": "lobby"}
    rooms = [(room.name, room.mode, room.count) for room in running.rooms().items]
    assert rooms == [tuple(room.values()) for room in (await api.get("/rooms"))["rooms"]]
    counts = running.counts()
    assert (counts.online_users, counts.rooms) == tuple((await api.get("/counts")).values())


async def entered(running: PresenceServer, user_id: str, **grants: Any) -> Any:
    """Return a connection of presenced.v1, to enter, whose ticket has these grants."""
    ticket = running.issue_ticket(user_id, presence=grants or None)
    return connect_v1(running, f"token={ticket}&device=web")


async def test_changes_are_followed_from_an_online_list_on() -> None:
    """The position is read in the same turn as the list, so nothing is lost between them and nothing is doubled."""
    async with server() as running:
        running.announce("ada")
        changes, known = running.changes(after=running.position), running.online().items
        running.announce("bo")
        async with connect(f"{running.url}?userId=7", proxy=None):
            async with asyncio.timeout(PATIENCE):
                seen = [(await anext(changes)).user_id for _ in range(2)]
        assert ([user.user_id for user in known], seen) == (["ada"], ["bo", 7])


async def test_a_stop_ends_followers_and_a_later_start_begins_anew() -> None:
    running, seen = server(), []
    async with running:
        running.on_change(lambda change: seen.append(change.user_id))
        changes, position = running.changes(), running.position
        running.announce("ada")
    assert seen == ["ada"]
    assert [change.user_id async for change in changes] == ["ada"]
    async with running:
        running.announce("bo")
        await asyncio.sleep(0)
        assert seen == ["ada"], "register callbacks after each start"
        with pytest.raises(ChangesLost):
            running.changes(after=position)


async def test_every_operation_needs_a_running_server() -> None:
    running = server()
    for call in (
        lambda: running.presence("ada"),
        lambda: running.on_change(print),
        lambda: running.changes(),
        lambda: running.position,
    ):
        with pytest.raises(RuntimeError, match="not running"):
            call()


async def test_other_threads_call_through_the_loop() -> None:
    """As `def` path operations of FastAPI do, which run in threads of anyio, and as any other thread can."""
    async with server() as running:
        loop = asyncio.get_running_loop()

        async def presence(user_id: str) -> Presence:
            return running.presence(user_id)

        def elsewhere() -> list[bool]:
            with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
                running.presence("ada")
            loop.call_soon_threadsafe(running.announce, "ada")
            one = anyio.from_thread.run_sync(running.presence, "ada")
            other = asyncio.run_coroutine_threadsafe(presence("ada"), loop).result(PATIENCE)
            return [one.is_online, other.is_online]

        assert await anyio.to_thread.run_sync(elsewhere) == [True, True]


async def test_a_revoked_session_and_an_erased_user_lose_their_connections() -> None:
    keys = new_key("admin")
    async with server(auth="ticket", api_keys=[keys.entry]) as running:
        async with await entered(running, "ada") as ada, await entered(running, "bo") as bo:
            await asyncio.gather(ada.recv(), bo.recv())
            assert running.revoke("ada") == 1
            assert (await running.erase("bo")).closed == 1
            for socket_ in (ada, bo):
                await socket_.wait_closed()
                assert socket_.close_code == 4401
        assert running.counts().connected_users == 0


# Programs.


@pytest.fixture
def anyio_backend() -> str:
    """Event loop of the test. The programs use their own."""
    return "asyncio"


@pytest.fixture
def ports() -> tuple[int, int]:
    """Two free ports."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@asynccontextmanager
async def program(source: str, folder: Path, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program, whose output is read together with its errors."""
    path = folder / "program.py"
    path.write_text(source, "utf-8")
    process = await asyncio.create_subprocess_exec(
        *(command or (sys.executable, "-u", str(path))),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout
    async with asyncio.timeout(PATIENCE):
        return (await process.stdout.readline()).decode().strip()


async def rest(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """Return the exit code and the rest of the output."""
    async with asyncio.timeout(PATIENCE):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_example_cleanly(
    number: signal.Signals, ports: tuple[int, int], tmp_path: Path
) -> None:
    source = (EXAMPLES / "program.py").read_text("utf-8").replace("3001", str(ports[0]))
    async with program(source, tmp_path) as process:
        url = f"ws://localhost:{ports[0]}/ws-online-status"
        assert await line(process) == f"Listening on {url}?userId=ID"
        assert await line(process) == "robot is online"
        async with connect(f"{url}?userId=ada", proxy=None) as ada:
            assert await line(process) == "ada is online"
            process.send_signal(number)
            await ada.wait_closed()
            assert ada.close_code == 1001
        assert await rest(process) == (0, "Stopped\n")


def blocks() -> list[str]:
    """Return the Python examples of the page, in their order."""
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def documented_output(block: str) -> list[str]:
    """Return the output that the comments of an example state: after a `print`, or in lines of their own."""
    return [found[1] for found in re.finditer(r"^(?:\s*print\(.*\)  )?# (.+)$", block, re.MULTILINE)]


async def test_the_first_example_of_the_page_runs(ports: tuple[int, int], tmp_path: Path) -> None:
    source, *_ = blocks()
    async with program(source.replace("3001", str(ports[0])), tmp_path) as process:
        for expected in documented_output(source):
            assert await line(process) == expected
        url = (await line(process)).removeprefix("Listening on ").replace("ID", "ada")
        async with connect(url, proxy=None):
            process.send_signal(signal.SIGINT)
            assert await rest(process) == (0, "")


async def test_the_other_examples_of_the_page_run(tmp_path: Path) -> None:
    said: list[str] = []
    names = {name: getattr(presenced, name) for name in presenced.__all__}
    async with server(database="sqlite", data_dir=str(tmp_path)) as running:
        await until(lambda: not running._running_parts().service.warnings())
        scope = {
            **names,
            "asyncio": asyncio,
            "server": running,
            "print": lambda *all_: said.append(" ".join(map(str, all_))),
        }
        for block in blocks()[1:]:
            said.clear()
            code = compile(block, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if (waiting := eval(code, scope)) is not None:  # noqa: S307  # the examples of our own page
                await waiting
            if expected := documented_output(block):
                assert said == expected, block
        mirror = scope["task"]
    async with asyncio.timeout(PATIENCE):
        await mirror


CANCELLED_WAIT = """
import asyncio, signal
from presenced import PresenceServer, Settings

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests with SIGINT ignored

async def main():
    async with PresenceServer(Settings(port=0)) as server:
        try:
            async with asyncio.timeout(0.01):
                await server.wait_for_signal()
        except TimeoutError:
            print("ready")
        await asyncio.sleep(60)

asyncio.run(main())
"""

SECOND_SIGNAL = """
import asyncio, time
from presenced import PresenceServer, Settings

async def main():
    async with PresenceServer(Settings(port=0)) as server:
        asyncio.get_running_loop().call_later(0.01, print, "ready")
        print((await server.wait_for_signal()).name)
        time.sleep(60)

asyncio.run(main())
"""


async def test_a_wait_that_is_cancelled_restores_the_handlers(tmp_path: Path) -> None:
    async with program(CANCELLED_WAIT, tmp_path) as process:
        assert await line(process) == "ready"
        process.send_signal(signal.SIGINT)
        code, output = await rest(process)
        assert code not in (0, None)
        assert "KeyboardInterrupt" in output, "Python's usual behaviour"


async def test_a_second_signal_ends_the_process_immediately(tmp_path: Path) -> None:
    async with program(SECOND_SIGNAL, tmp_path) as process:
        assert await line(process) == "ready"
        process.send_signal(signal.SIGINT)
        assert await line(process) == "SIGINT"
        process.send_signal(signal.SIGINT)
        assert await rest(process) == (-signal.SIGINT, "")


async def test_the_fastapi_example_answers_with_presence(ports: tuple[int, int], tmp_path: Path) -> None:
    port, own_port = ports
    source = (EXAMPLES / "fastapi_app.py").read_text("utf-8").replace("3001", str(port))
    uvicorn = (sys.executable, "-m", "uvicorn", "program:app", "--port", str(own_port), "--log-level", "warning")
    async with (
        program(source, tmp_path, *uvicorn) as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{own_port}", trust_env=False) as client,
    ):
        await answered(lambda: client.get("/users/ada/friends"))
        async with connect(f"ws://127.0.0.1:{port}/ws-online-status?userId=bo", proxy=None) as bo:
            assert await line(process) == "bo: offline -> online"
            friends = parsed(await client.get("/users/ada/friends"))
            assert [(friend["user_id"], friend["status"]) for friend in friends] == [
                ("bo", "online"),
                ("eve", "offline"),
            ]
            meeting = parsed(await client.put("/users/bo/meeting?minutes=30"))
            assert (meeting["status"], meeting["text"]) == ("busy", "In a meeting")
            assert time.time() + 1790 < _epoch(meeting["until"]) < time.time() + 1810
            refused = await client.put("/users/bo/meeting?minutes=0")
            assert (refused.status_code, refused.json()) == (400, {"detail": "Expected `float` > 0.0 - at expires_in"})
            assert parsed(await client.post("/users/bo/logout")) == 1
            await bo.wait_closed()
        process.send_signal(signal.SIGINT)
        code, output = await rest(process)
        assert "bo: busy -> offline" in output
        assert "Traceback" not in output
        assert code in (0, -signal.SIGINT), "uvicorn raises the signal again"


async def answered(ask: Callable[[], Any]) -> None:
    """Wait until the application answers."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await ask()
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


def _epoch(text: str) -> float:

    return datetime.fromisoformat(text).timestamp()
