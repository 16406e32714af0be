"""The documentation of the HTTP API is true: schemathesis checks the OpenAPI document, curl runs the commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from jsonschema import Draft202012Validator
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE

from presenced.auth.api_keys import new_key
from presenced.config.settings import Settings
from presenced.http.api.routes import ENDPOINTS

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "spec" / "openapi.json"
KEY = new_key("admin")

STREAM_SECONDS = "5"
"""Seconds after which a command with a stream is ended."""

NEEDS_STORAGE = re.compile(r"last-seen|/history|/sessions/past")
VARY = {"since", "version", "lastSeen", "until", "setAt", "position", "next", "digest"}
"""Fields whose values differ each time."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    stored: dict[str, str | float] = {"database": "sqlite", "data_dir": str(tmp_path)} if keeps() else {}
    with ServerProcess({"PRESENCED_API_KEYS": KEY.entry}, **stored) as running:
        deadline = time.monotonic() + PATIENCE
        while httpx.get(f"{running.url}readyz").json()["warnings"]:  # until stored data is available
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield running


def keeps() -> bool:
    return "database" in Settings.model_fields


@pytest.mark.timeout(600)
def test_the_running_server_conforms_to_its_openapi_document(server: ServerProcess) -> None:
    """The test takes about ten seconds. Only the rules for user ids are stricter than JSON Schema can express."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
        *("run", str(SPEC), "--url", f"{server.url}api/v1", "--header", f"Authorization: Bearer {KEY.key}"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--request-timeout", f"{PATIENCE:g}"),
        *("--exclude-path", "/watch", "--exclude-checks", "positive_data_acceptance", "--no-color"),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=550, check=False)
    assert ran.returncode == 0, ran.stdout[-10_000:] + ran.stderr[-2_000:]
    assert ran.stdout.count(f"{len(ENDPOINTS) - 1} passed") == 2, (
        "every endpoint except the one that only streams, in both phases"
    )


def test_the_document_is_served_and_is_openapi(server: ServerProcess) -> None:
    answer = httpx.get(f"{server.url}openapi.json")
    document = answer.json()
    assert document == json.loads(SPEC.read_text("utf-8"))
    assert httpx.get(f"{server.url}openapi.json", headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    assert document["openapi"].startswith("3.1.")
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len(operations) == len({operation["operationId"] for operation in operations}) == len(ENDPOINTS)
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    assert all(operation["summary"].endswith(".") and operation["description"] for operation in operations)


def test_every_example_matches_its_schema() -> None:
    document = json.loads(SPEC.read_text("utf-8"))
    checked = 0
    for path in document["paths"].values():
        for operation in path.values():
            parts = [operation.get("requestBody", {}), *operation["responses"].values()]
            for content in (part.get("content", {}).get("application/json", {}) for part in parts):
                if "example" in content:
                    schema = {**content["schema"], "components": document["components"]}
                    Draft202012Validator(schema).validate(content["example"])
                    checked += 1
    assert checked > len(ENDPOINTS), "nearly all responses, and bodies"


class Line(NamedTuple):
    """Command in a document, and the documented response."""

    command: str
    answer: str


def lines(document: str) -> list[Line]:
    """Return the curl commands about the API in their order. Commands and responses may continue on more lines."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / document).read_text("utf-8"), re.DOTALL):
        joined = block.replace("\\\n", "").replace("\n#  ", " ")
        for command, answer in re.findall(r"^(curl .*localhost:3001/api/v1.*)\n(?:# (.*)\n)?", joined, re.MULTILINE):
            if keeps() or not NEEDS_STORAGE.search(command):
                found.append(Line(command, answer))
    return found


def test_the_curl_commands_of_the_reference_give_the_documented_responses(server: ServerProcess) -> None:
    check_commands("docs/reference/http-api.md", server)


def test_the_curl_commands_of_the_readme_give_the_documented_responses() -> None:
    """The README starts a server without storage."""
    with ServerProcess({"PRESENCED_API_KEYS": KEY.entry}) as server:
        check_commands("README.md", server)


def check_commands(document: str, server: ServerProcess) -> None:
    """Run the commands of a document in their order, and compare the responses with the documented ones."""
    commands = lines(document)
    assert commands
    for command, answer in commands:
        said = run(command, server)
        if "-N " in command:
            assert said.startswith("retry: "), said
            assert "event: " in said
        else:
            found = json.loads(said)
            if answer:
                assert comparable(found) == comparable(json.loads(answer)), command


def run(command: str, server: ServerProcess) -> str:
    """Run a command with a key, end it if it streams, and return its output."""
    key = "" if "Authorization" in command else f"-H 'Authorization: Bearer {KEY.key}'"
    command = command.replace("localhost:3001", f"localhost:{server.port}").replace("curl ", f"curl -sS {key} ", 1)
    if "-N " in command:
        command = f"timeout {STREAM_SECONDS} {command}"
    environ = {**os.environ, "KEY": KEY.key, "no_proxy": "*"}
    ran = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=environ, timeout=PATIENCE, check=False
    )
    assert ran.returncode == (124 if "-N " in command else 0), ran.stderr
    return ran.stdout


def comparable(value: Any) -> Any:
    """Replace values that differ each time by their types."""
    if isinstance(value, dict):
        return {k: type(v) if k in VARY and v and not isinstance(v, dict) else comparable(v) for k, v in value.items()}
    return [comparable(item) for item in value] if isinstance(value, list) else value
