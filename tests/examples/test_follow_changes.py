"""The program of `docs/how-to/build/follow-changes.md`: its copy stays complete, over a restart of the server, too."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import httpx
from tests.support.bad_gateway import bad_gateway
from tests.support.documents import ROOT
from tests.support.pages import StartServer
from tests.support.program import Program, until
from websockets.sync.client import connect

DOCUMENT = (ROOT / "docs/how-to/build/follow-changes.md").read_text("utf-8")


def write_program(folder: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    (folder / "follow.py").write_text(code, "utf-8")


def test_the_copy_is_complete(tmp_path: Path, start_server: StartServer) -> None:
    write_program(tmp_path)
    server = start_server()
    for number in range(5):
        httpx.post(f"{server.url}api/v1/users/{number}/announce", json={"online": True})
    environ = {"PRESENCE_API": f"{server.url}api/v1", "no_proxy": "*"}
    with Program([sys.executable, "follow.py"], tmp_path, environ) as program:
        program.expect("5 users online")
        with connect(f"{server.websocket_url}?userId=ada", proxy=None):
            program.expect("ada offline -> online connect")
            httpx.put(f"{server.url}api/v1/users/ada/status", json={"status": "busy", "text": "reading"})
            program.expect("ada online -> busy choice")
        program.expect("ada busy -> offline close")
        httpx.post(f"{server.url}api/v1/users/3/announce", json={"online": False})
        program.expect("3 online -> offline announcement")
        assert program.output.count("users online") == 1, "the digest agreed each time"
        server.kill()
        server.start()
        program.expect("0 users online")
        httpx.post(f"{server.url}api/v1/users/bo/announce", json={"online": True})
        program.expect("bo offline -> online announcement")


def test_it_retries_while_a_proxy_has_no_server(tmp_path: Path) -> None:
    write_program(tmp_path)
    with bad_gateway() as (port, paths):
        environ = {"PRESENCE_API": f"http://127.0.0.1:{port}/api/v1", "no_proxy": "*"}
        with Program([sys.executable, "follow.py"], tmp_path, environ):
            until(lambda: len(paths) >= 2)
