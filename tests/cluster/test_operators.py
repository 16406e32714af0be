"""What operators see of real nodes: refusals at the start, log lines, the name of the node."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.conftest import Nodes
from tests.cluster.test_nodes import visit
from tests.cluster.test_operations import ask, command, soon
from tests.support import command as commands
from tests.support.clients import CALM
from tests.support.command import run
from tests.support.process import ServerProcess
from tests.support.services import Redis

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


async def said(server: ServerProcess, text: str) -> str:
    """Wait until the node has logged this text, and return its output so far."""

    async def is_there() -> str:
        return server.output if text in server.output else ""

    return str(await soon(is_there))


async def test_a_node_without_authentication_cannot_join_nodes_that_have_it(
    store: Redis, nodes: Nodes, tmp_path: Path
) -> None:
    first = nodes.start({"PRESENCED_JWT_KEY": "a secret that has at least 32 bytes"}, node="a", auth="jwt")
    environ = {"PRESENCED_BACKEND": store.url("0")}
    code, _, errors = await run("serve", "--port", "0", cwd=tmp_path, environ=environ)
    assert code == 1
    [line] = errors.splitlines()
    reason = "node a has auth = jwt, and this node has auth = none"
    assert line.startswith(f"presenced: cannot join the cluster presenced: {reason}")
    _, findings, _ = await run("doctor", cwd=tmp_path, environ=environ)
    assert f"broken: {reason}" in findings
    _, table = await command(store, tmp_path, "nodes")
    assert len(table.splitlines()) == 2, "it has not registered"
    assert (await ask(first, "readyz"))["warnings"] == []


async def test_a_node_with_other_settings_joins_and_all_warn(store: Redis, nodes: Nodes, tmp_path: Path) -> None:
    first, second = nodes.start(node="a"), nodes.start(node="b", user_connections=3)
    await said(first, "node b has other settings than this one: user_connections")
    await said(second, "node a has other settings than this one: user_connections")
    assert (await ask(first, "readyz"))["warnings"] == ["node b has other settings than this one: user_connections"]
    environ = {"PRESENCED_BACKEND": store.url("0")}
    _, findings, _ = await run("doctor", cwd=tmp_path, environ=environ)
    assert re.search(r"note: node b runs with other settings than these: .*user_connections", findings)


async def test_a_joining_node_logs_one_line_for_all_who_are_online(nodes: Nodes) -> None:
    first = nodes.start(node="a")
    async with AsyncExitStack() as visitors:
        for name in ("ada", "bob", "carl"):
            await visitors.enter_async_context(visit(first, name))
        await said(first, "User carl is ONLINE")
        second = nodes.start(node="b")
        output = await said(second, "joined the cluster presenced as node b (slot ")
        assert ": 2 nodes, 3 users online\n" in output
        assert "ONLINE" not in output.partition("Test page")[0]
        await visitors.enter_async_context(visit(first, "dave"))
        await said(second, "User dave is ONLINE")


async def test_json_lines_metrics_and_readyz_have_the_name_of_the_node(store: Redis, tmp_path: Path) -> None:
    environ = {"PRESENCED_BACKEND": store.url("0"), "PRESENCED_NODE": "a", "PRESENCED_LOG_FORMAT": "json"}
    process = await commands.start("serve", "--port", "0", cwd=tmp_path, environ=environ)
    try:
        node = commands.Command(process)
        lines = [json.loads(line) for line in (await node.say('"listening"')).splitlines()]
        assert [line["event"] for line in lines] == ["cluster_joined", "listening"]
        assert {line["node"] for line in lines} == {"a"}
        assert (lines[0]["nodes"], lines[0]["users"], lines[0]["cluster"]) == (1, 0, "presenced")
    finally:
        process.kill()
        await process.communicate()
    with ServerProcess(node="b", backend=store.url("0"), **CALM) as server:
        assert 'presenced_cluster_node_info{node="b"} 1.0\n' in await ask(server, "metrics")
        assert (await ask(server, "readyz"))["node"] == "b"


async def test_a_clean_stop_is_no_warning_and_the_node_has_no_connections_while_it_is_leaving(
    store: Redis, nodes: Nodes, tmp_path: Path
) -> None:
    first, second = nodes.start(node="a", grace_lost=5), nodes.start(node="b", grace_lost=5)
    async with visit(first, "ada"):

        async def is_listed() -> Any:
            _, table = await command(store, tmp_path, "nodes")
            return re.search(r" a +ready .* 1 +1 ", table)

        await soon(is_listed)
        first.signal(signal.SIGTERM)
        assert await asyncio.to_thread(first.wait) == 0
        assert "Stopping, 1 connections are being closed" in first.output
        _, table = await command(store, tmp_path, "nodes")
        assert re.search(r" a +leaving .* 0 +0 ", table)
    output = await said(second, "node a has left")
    assert "is dead" not in output
