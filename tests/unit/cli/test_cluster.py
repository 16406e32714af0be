"""`presenced cluster` without a store. tests/cluster/test_operations.py has one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from msgspec import msgpack

from presenced.cli.cluster import _record, _table
from presenced.cluster.backend import Member, State
from presenced.cluster.members import Figures
from presenced.cluster.records import Choices, UserRecord
from presenced.presence.model import SEEN_OFFLINE, Cause, Status

WITHOUT_REDIS = "import sys; sys.modules['redis'] = None; from presenced.cli.main import main; main(sys.argv[1:])"


@pytest.mark.parametrize("arguments", [["serve", "--port", "0"], ["cluster", "nodes"], ["doctor"]], ids=" ".join)
def test_without_the_client_library_the_error_says_how_to_install_it(arguments: list[str]) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PRESENCED_")}
    environ |= {"PRESENCED_BACKEND": "redis://127.0.0.1:9/0", "PRESENCED_CONFIG": os.devnull}
    command = [sys.executable, "-c", WITHOUT_REDIS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, check=False)
    assert done.returncode == (1 if arguments == ["doctor"] else 2)
    assert "backend needs the package redis: pip install 'presenced[redis]'" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["nodes"], ["remove", "a"]])
def test_a_command_without_a_backend_says_which_setting_it_needs(arguments: list[str]) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PRESENCED_")}
    command = [sys.executable, "-m", "presenced", "cluster", *arguments]
    environ["PRESENCED_CONFIG"] = os.devnull
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no cluster: set PRESENCED_BACKEND, or backend in presenced.toml, " in done.stderr


def test_a_choice_from_the_database_has_no_time() -> None:
    record = UserRecord(SEEN_OFFLINE, 0, 0, Cause.GRACE, chosen=Choices(Status.BUSY, stamp_ms=1), announced=True)
    assert list(_record(record))[1:3] == [
        "chosen busy, restored from the database",
        "announced, restored from the database",
    ]
    [chosen] = [
        line
        for line in _record(
            UserRecord(SEEN_OFFLINE, 0, 0, Cause.GRACE, chosen=Choices(Status.BUSY, stamp_ms=1_772_445_600_000))
        )
        if line.startswith("chosen")
    ]
    assert chosen == "chosen busy at 2026-03-02T10:00:00.000Z"


def test_a_node_that_stops_has_no_connections() -> None:
    figures = msgpack.encode(Figures(connections=3, users=2))
    nodes = [Member(n, state.value, "inc", 1, state, figures) for n, state in enumerate(State)]
    rows = {row.split()[1]: row.split()[5:7] for row in list(_table([nodes]))[1:]}
    assert rows == {"loading": ["3", "2"], "ready": ["3", "2"], "leaving": ["0", "0"], "dead": ["0", "0"]}
