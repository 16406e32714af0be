"""`examples/node` with Node.js and the package: it shows who is online, and returns after every kind of loss."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import httpx
import pytest
from tests.support.client import CLIENT, build_client
from tests.support.documents import NODE_MODULES, ROOT
from tests.support.pages import StartServer
from tests.support.program import Program, until
from tests.support.relay import Relay
from tests.support.tokens import SECRET, token

PROGRAM = ROOT / "examples/node/watch.mjs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a directory with the program and its dependencies."""
    build_client()
    shutil.copy(PROGRAM, tmp_path)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/presenced").symlink_to(CLIENT)
    (tmp_path / "node_modules/ws").symlink_to(NODE_MODULES / "ws")
    return tmp_path


def websocket_url(port: int) -> dict[str, str]:
    return {"PRESENCE_URL": f"ws://127.0.0.1:{port}"}


def test_it_shows_others_and_resumes_after_a_loss(folder: Path, start_server: StartServer) -> None:
    server = start_server(grace_lost=20)
    with Relay(server.port) as relay, Program(["node", "watch.mjs"], folder, websocket_url(relay.port)) as program:
        program.expect("robot online")
        relay.cut()
        httpx.post(f"{server.url}api/v1/users/ada/announce", json={"online": True})
        program.expect("waiting")
        # In either order: the list of everyone is printed at most ten times a second.
        until(lambda: "resumed" in program.output and "ada online" in program.output)
        assert program.output.count("robot online") == 1, "nothing is printed again"


def test_it_connects_again_after_a_restart_of_the_server(folder: Path, start_server: StartServer) -> None:
    server = start_server()
    with Program(["node", "watch.mjs"], folder, websocket_url(server.port)) as program:
        program.expect("robot online")
        server.kill()
        program.expect("waiting")
        server.start()
        program.expect("new-session")


def test_a_silent_server_is_detected(folder: Path, start_server: StartServer) -> None:
    """A frozen server keeps its sockets open, so no error reports the loss."""
    server = start_server(heartbeat_interval=1, pong_timeout=1)
    with Program(["node", "watch.mjs"], folder, websocket_url(server.port)) as program:
        program.expect("robot online")
        os.kill(server.pid, signal.SIGSTOP)
        program.expect("waiting")
        os.kill(server.pid, signal.SIGCONT)
        program.expect("resumed")


def test_it_authenticates_with_a_token_and_ends_without_one(folder: Path, start_server: StartServer) -> None:
    server = start_server({"PRESENCED_JWT_KEY": SECRET}, auth="jwt", auth_timeout=1)
    environ = websocket_url(server.port)
    with Program(["node", "watch.mjs"], folder, {**environ, "TOKEN": token("grace")}) as program:
        program.expect("grace online")
    with Program(["node", "watch.mjs"], folder, {**environ, "TOKEN": "forged"}) as program:
        program.expect("failed")
        assert program.exit_code() == 1


def test_the_documentation_contains_the_program_unchanged() -> None:
    assert f"```js\n{PROGRAM.read_text('utf-8')}```\n" in (ROOT / "docs/how-to/connect/node.md").read_text("utf-8")
