"""What operators do: readiness, metrics, and the commands of `presenced cluster`, with real nodes and a real store."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import msgpack
from tests.cluster.conftest import Nodes
from tests.cluster.test_nodes import until_status, visit
from tests.support.clients import CALM, client, until
from tests.support.command import run
from tests.support.ports import free_port
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE
from tests.support.services import Redis, RedisClusterNode, TlsRedis

from presenced.cluster.backend import Applicant, State
from presenced.cluster.members import Figures, figures_of
from presenced.cluster.redis.backend import open_backend
from presenced.testing.backend_peers import Recorder

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

PAGE = (Path(__file__).parents[2] / "docs/how-to/operate/several-nodes.md").read_text("utf-8")

LONG_S = 60.0
"""Seconds of a lease that does not end during a test."""


async def ask(server: ServerProcess, path: str) -> Any:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        response = await http.get(f"{server.url}{path}")
    assert response.is_success
    return response.json() if path == "readyz" else response.text


async def command(store: Redis, folder: Path, *arguments: str) -> tuple[int, str]:
    """Run `presenced cluster`, and return its exit code and everything that it prints."""
    environ = {"PRESENCED_BACKEND": store.url("0"), "PRESENCED_CLUSTER_LEASE": "3"}
    code, output, errors = await run("cluster", *arguments, cwd=folder, environ=environ)
    assert "Traceback" not in errors, errors
    return code, output + errors


async def soon(condition: Callable[[], Any]) -> Any:
    """Wait for a condition that is a coroutine, and return its result."""
    async with asyncio.timeout(PATIENCE):
        while not (found := await condition()):
            await asyncio.sleep(0.05)
    return found


async def test_readyz_and_metrics_say_how_the_cluster_is(nodes: Nodes) -> None:
    servers = [nodes.start(node=name) for name in "abc"]
    async with client(servers[1], "watcher") as watcher, watcher.watch(["ada"]), visit(servers[0], "ada"):
        await until_status(watcher, "ada", "online")

        async def all_are_there() -> Any:
            found = await ask(servers[0], "readyz")
            return found if found["cluster"]["nodes"] == 3 else None

        found = await soon(all_are_there)
        assert (found["status"], found["reasons"], found["warnings"], found["node"]) == ("ready", [], [], "a")
        assert 0 <= found["cluster"]["lag"] <= 2
        text = await ask(servers[0], "metrics")
    values = dict(re.findall(r"^presenced_cluster_(\S+) (\S+)$", text, re.MULTILINE))
    assert values['state{state="ready"}'] == "1.0"
    assert float(values['items_total{from="own"}']) >= 1
    assert float(values["commit_seconds_count"]) >= 1
    assert float(values["store_rtt_seconds_count"]) >= 1
    assert float(values["records"]) >= 2


async def test_a_server_that_is_alone_has_no_metrics_of_a_cluster() -> None:
    with ServerProcess() as alone:
        assert "presenced_cluster" not in await ask(alone, "metrics")
        assert set(await ask(alone, "readyz")) == {"status", "reasons", "warnings"}


async def test_operators_see_nodes_and_users(store: Redis, nodes: Nodes, tmp_path: Path) -> None:
    assert (await command(store, tmp_path, "check"))[1] == "no nodes are ready: there is nothing to compare\n"
    first, second = nodes.start(node="a"), nodes.start(node="b")
    async with (
        client(first, "ada", device="web") as ada,
        ada.room("lobby"),
        visit(second, "ada"),
        client(second, "watcher") as watcher,
        watcher.watch(["ada"]),
    ):
        await ada.set_status("busy", text="deploying")
        await until(watcher, lambda: watcher.user("ada").text == "deploying")

        async def are_listed() -> str:
            _, table = await command(store, tmp_path, "nodes")
            return table if table.count(" ready ") == 2 else ""

        header, *rows = (await soon(are_listed)).splitlines()
        assert header.split() == ["slot", "node", "state", "since", "version", "connections", "users", "lag", "writes"]
        assert {row.split()[1] for row in rows} == {"a", "b"}
        code, said = await command(store, tmp_path, "check")
        assert (code, said) == (0, "2 nodes have the same users\n")

        async def both_contribute() -> str:
            _, found = await command(store, tmp_path, "where", "ada")
            return found if "room" in found and "node b" in found else ""

        found = await soon(both_contribute)
        assert "shown as busy" in found
        assert 'text "deploying"' in found
        assert re.search(r'node a, slot \d+\n    session [0-9a-f]{12}, device "web", active\n    room "lobby"', found)
        assert "classic connections" in found
    _, nobody = await command(store, tmp_path, "where", "nobody")
    assert "record: none" in nobody
    assert "no node has a session" in nobody


async def test_check_finds_a_node_that_differs(store: Redis, nodes: Nodes, tmp_path: Path) -> None:
    server = nodes.start(node="a")
    recorder = Recorder()
    liar = open_backend(store.url("0"), "", cluster_name="presenced", shards=1)

    async def lie() -> None:
        """Report digests that differ from those of the other node, with heartbeats that keep the node alive."""
        while True:
            found = [figures_of(one).digests for one in recorder.nodes.values() if one.name == "a"]
            digests = tuple((n, value ^ 1) for n, value in found[0]) if found else ()
            liar.heartbeat(0, State.READY, msgpack.encode(Figures(digests=digests)))
            await asyncio.sleep(0.1)

    async with visit(server, "ada"):
        liar.start(Applicant("liar", 9), recorder)
        await recorder.until(lambda: recorder.registrations)
        lying = asyncio.create_task(lie())
        code, said = await command(store, tmp_path, "check")
        lying.cancel()
    await liar.stop()
    assert code == 1
    assert "nodes have different users in shard 0" in said
    assert "liar (slot " in said


async def test_a_drained_node_stops_and_its_users_stay_online_elsewhere(
    store: Redis, nodes: Nodes, tmp_path: Path
) -> None:
    first, second = nodes.start(node="a"), nodes.start(node="b")
    async with client(second, "watcher") as watcher, visit(first, "ada"), watcher.watch(["ada"]):
        await until_status(watcher, "ada", "online")
        assert await command(store, tmp_path, "drain", "a") == (0, "node a stops\n")
        assert await asyncio.to_thread(first.wait) == 0
        async with visit(second, "ada"):
            await asyncio.sleep(0)
            assert watcher.user("ada").online
    code, said = await command(store, tmp_path, "drain", "nobody")
    assert code == 1
    assert "no node is called nobody" in said


async def test_a_removed_node_is_gone_at_once(store: Redis, nodes: Nodes, tmp_path: Path) -> None:
    first, second = nodes.start(node="a", cluster_lease=LONG_S), nodes.start(node="b", cluster_lease=LONG_S)
    async with client(second, "watcher") as watcher, watcher.watch(["ada"]):
        async with visit(first, "ada"):
            await until_status(watcher, "ada", "online")
            first.kill()
        code, said = await command(store, tmp_path, "remove", "a")
        assert (code, "--yes" in said) == (2, True), "it asks first, and there is no terminal"
        assert await command(store, tmp_path, "remove", "a", "--yes") == (0, "node a is removed\n")
        await until_status(watcher, "ada", "offline")
    code, said = await command(store, tmp_path, "remove", "b", "--yes")
    assert code == 1
    assert "no other node is ready" in said


async def test_a_node_that_is_removed_although_it_lives_joins_again(store: Redis, nodes: Nodes, tmp_path: Path) -> None:
    first, second = nodes.start(node="a"), nodes.start(node="b")
    async with client(second, "watcher") as watcher, watcher.watch(["ada"]), visit(first, "ada"):
        await until_status(watcher, "ada", "online")
        assert (await command(store, tmp_path, "remove", "a", "--yes"))[0] == 0
        await until_status(watcher, "ada", "online")

        async def is_back() -> bool:
            return (await command(store, tmp_path, "nodes"))[1].count(" ready ") == 2

        await soon(is_back)


async def test_commands_work_with_several_shards(tmp_path: Path) -> None:
    """A Redis Cluster has eight, and a node has an incarnation of its own in each."""
    with RedisClusterNode() as store, ExitStack() as running:
        store.cli("CLUSTER", "ADDSLOTSRANGE", "0", "16383")

        async def is_complete() -> bool:
            return "cluster_state:ok" in store.cli("CLUSTER", "INFO")

        await soon(is_complete)
        url = f"redis+cluster://127.0.0.1:{store.port}"
        settings = {**CALM, "backend": url, "cluster_lease": 15}
        first, second = (running.enter_context(ServerProcess(node=name, **settings)) for name in "ab")
        environ = {"PRESENCED_BACKEND": url}
        users = [f"u{number}" for number in range(12)]
        async with client(second, "watcher") as watcher, watcher.watch(users), AsyncExitStack() as connected:
            for user in users:
                await connected.enter_async_context(visit(first, user))
            for user in users:
                await until_status(watcher, user, "online")
            code, said, _ = await run("cluster", "check", cwd=tmp_path, environ=environ)
            assert (code, said) == (0, "2 nodes have the same users\n")
            _, said, _ = await run("cluster", "where", users[0], cwd=tmp_path, environ=environ)
            assert "shown as online" in said
            assert "node a" in said
            first.kill()
            code, said, _ = await run("cluster", "remove", "a", "--yes", cwd=tmp_path, environ=environ)
            assert (code, said) == (0, "node a is removed\n")
            for user in users:
                await until_status(watcher, user, "offline")


async def test_commands_need_a_store_that_responds(tmp_path: Path) -> None:
    environ = {"PRESENCED_BACKEND": f"redis://127.0.0.1:{free_port()}/0"}
    code, _, errors = await run("cluster", "nodes", cwd=tmp_path, environ=environ)
    assert code == 1
    assert errors.startswith("presenced: the store does not respond: 127.0.0.1:")
    assert len(errors.splitlines()) == 1


async def test_nodes_and_commands_work_with_the_documented_permissions_and_no_others(tmp_path: Path) -> None:
    commands = re.findall(r"\+\w+", PAGE.partition("ACL SETUSER app on")[2].partition("```")[0])
    with Redis() as store, ExitStack() as running:
        store.cli("ACL", "SETUSER", "app", "on", ">secret", "~presenced:*", *commands)
        store.cli("ACL", "SETUSER", "default", "off")
        url = store.url("0").replace("//", "//app@")
        environ = {"PRESENCED_BACKEND_PASSWORD": "secret"}
        settings = {**CALM, "backend": url, "cluster_lease": 3}
        first, second = (running.enter_context(ServerProcess(environ, node=name, **settings)) for name in "ab")
        environ = {**environ, "PRESENCED_BACKEND": url, "PRESENCED_CLUSTER_LEASE": "3"}
        async with client(second, "watcher") as watcher, watcher.watch(["ada"]):
            async with client(first, "ada") as ada, ada.room("lobby"):
                await until_status(watcher, "ada", "online")
                for arguments in (["nodes"], ["check"], ["where", "ada"]):
                    code, _, errors = await run("cluster", *arguments, cwd=tmp_path, environ=environ)
                    assert (code, errors) == (0, "")
                first.kill()
            code, _, errors = await run("cluster", "remove", "a", "--yes", cwd=tmp_path, environ=environ)
            assert (code, errors) == (0, "")
            await until_status(watcher, "ada", "offline")
        code, _, errors = await run("cluster", "drain", "b", cwd=tmp_path, environ=environ)
        assert (code, errors) == (0, "")
        assert await asyncio.to_thread(second.wait) == 0


async def test_nodes_share_a_store_over_tls_with_a_password() -> None:
    with TlsRedis() as store, ExitStack() as running:
        store.cli("CONFIG", "SET", "requirepass", "secret")
        environ = {"PRESENCED_BACKEND_PASSWORD": "secret", "SSL_CERT_FILE": str(store.certificate)}
        first, second = (
            running.enter_context(ServerProcess(environ, backend=store.secure_url("0"), **CALM)) for _ in range(2)
        )
        async with client(second, "watcher") as watcher, watcher.watch(["ada"]), visit(first, "ada"):
            await until_status(watcher, "ada", "online")
