"""`examples/bot.py`: it shows its status, greets who comes online, comes back, and ends cleanly."""

from __future__ import annotations

import signal
import sys
from typing import Any

import httpx
from tests.support.documents import ROOT
from tests.support.pages import StartServer
from tests.support.process import ServerProcess
from tests.support.program import Program, until
from tests.support.relay import Relay
from tests.support.tokens import SECRET, token


def bot(port: int, **environ: str) -> Program:
    environ = {"PRESENCE_URL": f"ws://127.0.0.1:{port}", "no_proxy": "*"} | environ
    return Program([sys.executable, ROOT / "examples/bot.py"], ROOT, environ)


def announce(server: ServerProcess, user_id: str) -> None:
    httpx.post(f"{server.url}api/v1/users/{user_id}/announce", json={"online": True}, trust_env=False)


def presence(server: ServerProcess, user_id: str) -> Any:
    return httpx.get(f"{server.url}api/v1/users/{user_id}", trust_env=False).json()


def test_it_shows_its_status_and_greets_everyone_once(start_server: StartServer) -> None:
    server = start_server(grace_lost=60)
    with Relay(server.port) as relay, bot(relay.port) as program:
        program.expect("ready")
        shown = presence(server, "bot")
        assert (shown["status"], shown["text"], shown["devices"]) == ("online", "says hello", ["bot"])
        announce(server, "ada")
        program.expect("hello ada")
        relay.cut()
        announce(server, "bo")
        program.expect("hello bo")
        assert program.output.count("hello ada") == 1, "a reconnect is not a change"


def test_it_returns_after_a_restart_of_the_server(start_server: StartServer) -> None:
    server = start_server()
    with bot(server.port) as program:
        program.expect("ready")
        server.kill()
        server.start()
        until(lambda: presence(server, "bot").get("text") == "says hello")
        announce(server, "ada")
        program.expect("hello ada")


def test_it_ends_cleanly_on_sigterm(start_server: StartServer) -> None:
    server = start_server(grace_lost=60, grace_going_away=60)
    with bot(server.port) as program:
        program.expect("ready")
        program.signal(signal.SIGTERM)
        program.expect("bye")
        assert program.exit_code() == 0
    assert presence(server, "bot")["status"] == "offline"


def test_it_authenticates_with_a_token_and_ends_without_one(start_server: StartServer) -> None:
    server = start_server({"PRESENCED_JWT_KEY": SECRET}, auth="jwt", auth_timeout=1)
    with bot(server.port, TOKEN=token("grace")) as program:
        program.expect("ready")
    with bot(server.port, TOKEN="forged") as program:
        program.expect("UNAUTHORIZED")
        assert program.exit_code() == 1


def test_a_refused_handshake_ends_it(start_server: StartServer) -> None:
    server = start_server()
    with bot(server.port, PRESENCE_URL=f"ws://127.0.0.1:{server.port}/elsewhere") as program:
        program.expect("NOT_FOUND")
        assert program.exit_code() == 1
