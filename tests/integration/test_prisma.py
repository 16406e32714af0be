"""`deploy/prisma` with a real Prisma client and a real PostgreSQL, beside an application's own tables."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, insert
from tests.support.changes import change_of
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE
from tests.support.services import PostgreSQL
from websockets.sync.client import connect

from presenced.presence.model import Change
from presenced.presence.status import choice_of
from presenced.storage import migrate
from presenced.storage.database import open_database
from presenced.storage.migrate import VERSION_TABLE
from presenced.storage.records import Record, StoredSession, StoredUser, choice_json
from presenced.storage.schema import metadata, webhook_states
from presenced.storage.store import Store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "prisma"
PRISMA = ROOT / "tests" / "prisma"

HOUR = 3_600_000
NOW = int(time.time() * 1000)


def run(project: Path, *command: str, **environ: str) -> str:
    # Only migrations use the engine. Naming one prevents Prisma from downloading it.
    environment = {**os.environ, "PRISMA_SCHEMA_ENGINE_BINARY": "/bin/true", "CHECKPOINT_DISABLE": "1", **environ}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an application with `deploy/prisma` beside its own model, compiled with a generated client."""
    folder = tmp_path_factory.mktemp("prisma")
    for file in (DEPLOY / "example.ts", DEPLOY / "prisma.config.ts", *PRISMA.glob("*.*s"), *PRISMA.glob("*.json")):
        shutil.copy(file, folder)
    own, relation = re.findall(r"^  (model .*?)^  }", (DEPLOY / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    _, _, relation = relation.partition("{\n")
    schema = (
        (DEPLOY / "schema.prisma").read_text().replace("model PresenceUser {\n", f"model PresenceUser {{\n{relation}")
    )
    (folder / "schema.prisma").write_text(f"{schema}\n{own}}}\n")
    (folder / "node_modules").symlink_to(PRISMA / "node_modules")
    run(folder, "node_modules/.bin/prisma", "generate")
    run(folder, "node_modules/.bin/tsc", "-p", ".")
    return folder


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL() as server:
        yield server


OWN_USERS = """INSERT INTO "User" VALUES ('ada', 'Ada'), ('zoe', 'Zoe')"""


async def fill(url: str, *statements: str) -> None:
    """Store the rows of a running server and a dead one."""
    engine = open_database(url)
    async with engine.begin() as connection:
        await connection.run_sync(migrate.prepare_tables)
        for node, epoch, sign_ms, facts in WRITTEN:
            store = Store(dialect="postgresql", node=node, epoch=epoch, started_ms=NOW - 3 * HOUR, history_ms=24 * HOUR)
            await store.renew(connection, sign_ms, 3)
            await store.write(connection, facts)
        await connection.execute(
            insert(webhook_states).values(kind="user", subject="ada", status="busy", version=3, details="")
        )
        for statement in statements:
            await connection.exec_driver_sql(statement)
    await engine.dispose()


def user(user_id: str, status: str, seen: int, chosen: bytes = b"") -> StoredUser:
    return StoredUser(user_id, status, 7, seen, seen, seen, chosen)


def session(key: str, user_id: str, device: str, opened: int, closed: int | None = None) -> StoredSession:
    return StoredSession(key, user_id, key, "", "classic", device, None, opened, closed, "closed" if closed else "")


def change(position: int, user_id: str, was: str, status: str, text: str = "") -> Change:
    at = NOW - HOUR + position
    return change_of(user_id, position, status, was, "choice", at_ms=at, seen_ms=at, text=text)


# The last renewal is in the future, because a slow machine would otherwise consider the server dead.
WRITTEN: list[tuple[str, str, int, list[Record]]] = [
    ("alive:3001", "e1", NOW - HOUR, [user("old", "online", NOW - HOUR)]),  # before it was started again
    (
        *("alive:3001", "e2", NOW + HOUR),
        [
            user("ada", "busy", NOW - HOUR, choice_json(choice_of("busy", "in a meeting"))),
            user("bob", "offline", NOW - 2 * HOUR),
            user("7", "online", NOW - HOUR),
            session("ada-1", "ada", "web", NOW - HOUR, NOW - HOUR + 5),
            session("ada-2", "ada", "mobile", NOW - HOUR + 10),
            change(1, "ada", "offline", "online"),
            change(2, "bob", "online", "offline"),
            change(3, "ada", "online", "busy", "in a meeting"),
        ],
    ),
    (
        *("dead:3001", "e1", NOW - HOUR),
        [user("eve", "online", NOW - 3 * HOUR), session("eve-1", "eve", "web", NOW - 3 * HOUR)],
    ),
]


def iso(milliseconds: int) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(milliseconds // 1000))}.{milliseconds % 1000:03}Z"


def ask(project: Path, url: str, *user_ids: str) -> dict[str, Any]:
    """Return the output of the example for these users."""
    said: dict[str, Any] = json.loads(run(project, "node", "out/example.js", *user_ids, DATABASE_URL=url))
    return said


@pytest.fixture(scope="module")
def answer(project: Path, postgresql: PostgreSQL) -> dict[str, Any]:
    url = postgresql.new_database()
    asyncio.run(fill(url))
    return ask(project, url, "ada", "bob", "eve", "nobody")


def test_users_are_online_only_on_live_servers(answer: dict[str, Any]) -> None:
    assert answer["online"] == [{"userId": "7", "status": "online"}, {"userId": "ada", "status": "busy"}]


def test_last_seen_is_now_for_users_online_and_a_past_time_for_others(answer: dict[str, Any]) -> None:
    seen = answer["lastSeen"]
    assert set(seen) == {"ada", "bob", "eve"}
    assert seen["ada"]["lastSeen"] >= iso(NOW)
    assert seen["ada"]["lastActive"] == iso(NOW - HOUR)
    assert seen["bob"] == {"status": "offline", "lastSeen": iso(NOW - 2 * HOUR), "lastActive": iso(NOW - 2 * HOUR)}
    assert seen["eve"] == {"status": "offline", "lastSeen": iso(NOW - 3 * HOUR), "lastActive": iso(NOW - 3 * HOUR)}


def test_the_history_of_a_user_is_newest_first(answer: dict[str, Any]) -> None:
    newest, first = answer["history"]["ada"]
    assert newest == {
        "version": 3,
        "status": "busy",
        "was": "online",
        "cause": "choice",
        "text": "in a meeting",
        "at": iso(NOW - HOUR + 3),
    }
    assert (first["version"], first["text"]) == (1, "")
    assert answer["history"]["nobody"] == []


def test_sessions_are_open_only_on_live_servers(answer: dict[str, Any]) -> None:
    opened = [{"connectionId": "ada-2", "device": "mobile", "since": iso(NOW - HOUR + 10)}]
    assert answer["sessions"] == {"ada": opened, "bob": [], "eve": [], "nobody": []}


def test_users_of_an_application_relate_to_presence_users(project: Path, postgresql: PostgreSQL) -> None:
    """The README shows this example."""
    url = postgresql.new_database()
    asyncio.run(fill(url, """CREATE TABLE "User" (id text PRIMARY KEY, name text NOT NULL)""", OWN_USERS))
    assert json.loads(run(project, "node", "out/beside.js", DATABASE_URL=url)) == [["Ada", "busy"], ["Zoe", None]]


def test_prisma_reads_the_rows_that_a_server_writes(project: Path, postgresql: PostgreSQL) -> None:
    url = postgresql.new_database()
    with ServerProcess({"PRESENCED_DATABASE_URL": url}, database="url") as server:
        until = time.monotonic() + PATIENCE
        while httpx.get(f"{server.url}readyz").json()["warnings"] and time.monotonic() < until:
            time.sleep(0.1)  # until the storage worker has created the tables
        with connect(f"{server.websocket_url}?userId=grace"):
            while not (said := ask(project, url, "grace"))["sessions"]["grace"] and time.monotonic() < until:
                time.sleep(0.1)
            assert said["online"] == [{"userId": "grace", "status": "online"}]
            assert [change["cause"] for change in said["history"]["grace"]] == ["connect"]
        while (said := ask(project, url, "grace"))["online"] and time.monotonic() < until:
            time.sleep(0.1)
    assert (said["lastSeen"]["grace"]["status"], said["sessions"]["grace"]) == ("offline", [])


MODELS = {
    "PresenceUser": "presenced_users",
    "PresenceSession": "presenced_sessions",
    "PresenceChange": "presenced_changes",
    "PresenceClaim": "presenced_claims",
    "PresenceNode": "presenced_nodes",
    "PresenceWebhook": "presenced_webhooks",
}
TYPES = {"BIGINT": "BigInt", "INTEGER": "Int", "TEXT": "String"}


class Model:
    """Model of the Prisma schema, with the names that the database uses."""

    def __init__(self, name: str) -> None:
        found = re.search(
            rf"^model {name} {{\n(.*?)^}}", (DEPLOY / "schema.prisma").read_text(), re.MULTILINE | re.DOTALL
        )
        assert found, name
        self.table = ""
        self.columns: dict[str, str] = {}
        self.key: list[str] = []
        self.indexes: dict[str, list[str]] = {}
        names = {}
        for line in (" ".join(line.split()) for line in found[1].splitlines()):
            if field := re.match(r"(\w+) (\w+\??)( @id)?", line):
                renamed = re.search(r'@map\("(\w+)"\)', line)
                column = names[field[1]] = renamed[1] if renamed else field[1]
                native = re.search(r" @db\.\S+", line)
                self.columns[column] = field[2] + (native[0] if native else "")
                self.key += [column] if field[3] else []
            elif key := re.match(r"@@id\(\[(.*)\]\)", line):
                self.key = [names[field] for field in key[1].split(", ")]
            elif index := re.match(r'@@index\(\[(.*)\], map: "(\w+)"\)', line):
                self.indexes[index[2]] = [names[field] for field in index[1].split(", ")]
            elif table := re.match(r'@@map\("(\w+)"\)', line):
                self.table = table[1]


def prisma_type(column: Column[Any]) -> str:
    kind = str(column.type)
    length = re.fullmatch(r"VARCHAR\((\d+)\)", kind)
    optional = "?" if column.nullable else ""
    return f"String{optional} @db.VarChar({length[1]})" if length else f"{TYPES[kind]}{optional}"


@pytest.mark.parametrize("name", MODELS)
def test_a_model_matches_its_table(name: str) -> None:
    """Columns have the same names, types and nullability. Keys and indexes are the same, too."""
    model, table = Model(name), metadata.tables[MODELS[name]]
    assert model.table == table.name
    assert model.columns == {column.name: prisma_type(column) for column in table.columns}
    assert model.key == [column.name for column in table.primary_key]
    assert model.indexes == {str(index.name): [column.name for column in index.columns] for index in table.indexes}


EXTERNAL = re.findall(r'"(public\.\w+)"', (DEPLOY / "prisma.config.ts").read_text())


def test_all_tables_are_declared_external() -> None:
    assert {name.partition(".")[2] for name in EXTERNAL} == {*metadata.tables, VERSION_TABLE}


def test_prisma_changes_no_external_table(project: Path, postgresql: PostgreSQL) -> None:
    url = postgresql.new_database()
    asyncio.run(fill(url))

    def push(*external: str) -> dict[str, Any]:
        done: dict[str, Any] = json.loads(
            run(project, "node", "push.mjs", "schema.prisma", ",".join(external), DATABASE_URL=url)
        )
        return done

    assert "drop the `presenced_webhook_states` table" in " ".join(push()["warnings"]), "prisma drops an unknown table"
    assert push(*EXTERNAL) == {"executedSteps": 1, "warnings": []}, "it makes the application's own"
    asyncio.run(unchanged(url))
    assert ask(project, url, "ada")["online"]


async def unchanged(url: str) -> None:
    engine = open_database(url)
    async with engine.begin() as connection:
        context = await connection.run_sync(lambda made: compare_metadata(MigrationContext.configure(made), metadata))
    await engine.dispose()
    # The only other tables are the application's own and that of the schema version.
    assert {change[0] for change in context} == {"remove_table"}
    assert sorted(change[1].name for change in context) == ["User", VERSION_TABLE]
