"""The program of `docs/how-to/connect/python.md`: it resumes, reconnects, authenticates, and ends when it must."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import httpx
import pytest
from tests.support.bad_gateway import bad_gateway
from tests.support.documents import ROOT
from tests.support.pages import StartServer
from tests.support.program import Program, until
from tests.support.relay import Relay
from tests.support.tokens import SECRET, token

DOCUMENT = (ROOT / "docs/how-to/connect/python.md").read_text("utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a directory with the program."""
    (code,) = re.findall(r"```python\n(import asyncio.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "watch.py").write_text(code, "utf-8")
    return tmp_path


def run(folder: Path, port: int, **environ: str) -> Program:
    environ = {"PRESENCE_URL": f"ws://127.0.0.1:{port}/ws-online-status", "no_proxy": "*"} | environ
    return Program([sys.executable, "watch.py"], folder, environ)


def test_it_resumes_after_a_loss(folder: Path, start_server: StartServer) -> None:
    server = start_server(grace_lost=20)
    with Relay(server.port) as relay, run(folder, relay.port) as program:
        program.expect("robot online")
        httpx.post(f"{server.url}api/v1/users/bo/announce", json={"online": True})
        program.expect("bo online")  # only changes have a position, from which the program resumes
        relay.cut()
        httpx.post(f"{server.url}api/v1/users/ada/announce", json={"online": True})
        program.expect("closed 1006")
        program.expect("ada online")
        assert program.output.count("robot online") == program.output.count("bo online") == 1, "nothing is sent again"


def test_it_connects_again_after_a_restart_of_the_server(folder: Path, start_server: StartServer) -> None:
    server = start_server()
    with run(folder, server.port) as program:
        program.expect("robot online")
        server.kill()
        program.expect("closed 1006")
        server.start()
        program.expect("robot online")


def test_it_retries_while_a_proxy_has_no_server(folder: Path) -> None:
    with bad_gateway() as (port, paths), run(folder, port):
        until(lambda: len(paths) >= 2)


def test_it_authenticates_with_a_token_and_ends_without_one(folder: Path, start_server: StartServer) -> None:
    server = start_server({"PRESENCED_JWT_KEY": SECRET}, auth="jwt", auth_timeout=1)
    with run(folder, server.port, TOKEN=token("grace")) as program:
        program.expect("grace online")
    with run(folder, server.port, TOKEN="forged") as program:
        program.expect("closed 4401")
        assert program.exit_code() == 0


def test_a_refused_handshake_ends_it(folder: Path, start_server: StartServer) -> None:
    server = start_server()
    with run(folder, server.port, PRESENCE_URL=f"ws://127.0.0.1:{server.port}/elsewhere") as program:
        program.expect("HTTP 404")
        assert program.exit_code() == 1
