"""The command of the README that installs the npm package from a clone."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from tests.support.client import CLIENT, build_client
from tests.support.documents import ROOT

pytestmark = pytest.mark.slow

COMMAND = "npm pack --silent ../presenced/clients/js && npm install ./presenced-0.1.0.tgz"

PROGRAM = """
import { createPresence } from "presenced";
import { presenceServer } from "presenced/server";
console.log(createPresence({ url: "ws://localhost:3001" }).connection.get().state, typeof presenceServer);
"""


def test_one_command_installs_the_package_into_an_application(tmp_path: Path) -> None:
    build_client()
    (tmp_path / "presenced/clients").mkdir(parents=True)
    (tmp_path / "presenced/clients/js").symlink_to(CLIENT)
    application = tmp_path / "application"
    application.mkdir()
    (application / "package.json").write_text('{"private": true}')
    offline = COMMAND.replace("npm install", "npm install --offline --no-audit --no-fund")
    done = subprocess.run(["sh", "-ec", offline], cwd=application, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr
    dependencies = json.loads((application / "package.json").read_text())["dependencies"]
    assert re.fullmatch(r"file:presenced-[\d.]+\.tgz", dependencies["presenced"])
    command = ["node", "--input-type=module", "-e", PROGRAM]
    printed = subprocess.run(command, cwd=application, capture_output=True, text=True, check=True).stdout
    assert printed == "idle function\n"


def test_pages_about_installing_have_the_command() -> None:
    for name in ("README.md", "clients/js/README.md", "docs/how-to/connect/react.md", "docs/how-to/connect/vue.md"):
        assert COMMAND in (ROOT / name).read_text("utf-8"), name
