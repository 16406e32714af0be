"""All nodes are restarted behind the documented configurations of nginx and Caddy, and nobody is shown offline."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import pytest
import yaml
from tests.cluster.conftest import Nodes
from tests.support.certificates import trusting
from tests.support.crowd import mixed_crowd
from tests.support.process import ServerProcess
from tests.support.proxies import proxy

ROOT = Path(__file__).parents[2]
SIZE = 40
"""Number of clients."""

GRACE_S = 10
"""Setting `grace_lost`: after that, those who have not returned are offline."""

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(180)]


def several_nodes(text: str, ports: Sequence[int]) -> str:
    """Return the configuration of nginx, changed as docs/how-to/deploy/nginx.md says under "Several nodes"."""
    page = (ROOT / "docs/how-to/deploy/nginx.md").read_text("utf-8")
    upstream, directives = re.findall(r"```nginx\n(.*?)```", page.partition("## Several nodes")[2], re.DOTALL)[:2]
    [options] = set(re.findall(r"server \S+?:3001(.*?);", upstream))
    servers = "".join(f"    server 127.0.0.1:{port}{options};\n" for port in ports)
    upstream = re.sub(r"(    server .*?;\n)+", lambda _: servers, upstream, count=1)
    text = re.sub(r"upstream presenced \{.*?\n\}\n", lambda _: upstream, text, count=1, flags=re.DOTALL)
    return re.sub(r"(location = /(ws-online-status|api/v1/watch) \{)", lambda found: found[1] + directives, text)


def variables(ports: Sequence[int]) -> Mapping[str, str]:
    """Return the environment of Caddy in `compose.cluster.yaml`, with these nodes."""
    compose = yaml.safe_load((ROOT / "deploy/compose/compose.cluster.yaml").read_text("utf-8"))
    nodes = " ".join(f"127.0.0.1:{port}" for port in ports)
    return {"PRESENCED": nodes, "BALANCING": compose["services"]["caddy"]["environment"]["BALANCING"]}


async def restart(server: ServerProcess) -> None:
    """Stop a node, start it again on its port, and wait until it is ready."""
    server.signal(signal.SIGTERM)
    await asyncio.to_thread(server.wait)
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(30), httpx.AsyncClient(trust_env=False) as http:
        while (await http.get(f"{server.url}readyz")).status_code != 200:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
async def test_nobody_is_shown_offline_while_all_nodes_restart_behind(kind: str, nodes: Nodes, tmp_path: Path) -> None:
    servers = await nodes.start_several(3, grace_lost=GRACE_S, trusted_proxies="127.0.0.1")
    ports = [server.port for server in servers]
    running = (
        proxy(kind, tmp_path, ports[0], "192.0.2.1", edit=lambda text: several_nodes(text, ports))
        if kind == "nginx"
        else proxy(kind, tmp_path, ports[0], "192.0.2.1", variables(ports))
    )
    with running as public:
        crowd = mixed_crowd(public, trusting(tmp_path / "certificate.pem"), SIZE)
        try:
            await crowd.connect(50)
            await asyncio.sleep(1)  # the last notifications arrive
            assert not [one for one in crowd.members if one.heard_offline], "before the restarts"
            for server in servers:
                await restart(server)
            await crowd.until_connected(crowd.members)
            await asyncio.sleep(GRACE_S)  # whoever has not returned would be shown offline by then
        finally:
            await crowd.end()
    assert sum(one.connections for one in crowd.members) > SIZE, "clients had to return"
    assert {one.user_id: one.heard_offline for one in crowd.members if one.heard_offline} == {}
    assert not re.search(r"\b50[234]\b", (tmp_path / "access.log").read_text("utf-8")) or kind == "caddy"
