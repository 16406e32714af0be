"""Packages import in one direction, the rules of presence are pure, and files stay small."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "presenced"

LAYERS = [
    "version",
    "errors",
    "runtime",
    "config",
    "presence",
    "net",
    "delivery",
    "protocols",
    "transports",
    "storage",
    "auth",
    "webhooks",
    "worker",
    "node",
    "cluster",
    "http",
    "python_api",
    "server",
    "__init__",
    "cli",
    "__main__",
]
"""Lowest first; a module imports from layers below its own and from its own package. `testing` stands beside."""

MAX_LINES = 600

IMPURE = {"asyncio", "socket", "time", "random", "secrets", "logging", "threading", "os", "uuid", "datetime", "io"}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(SRC.rglob("*.py")):
        yield path.relative_to(SRC).with_suffix("").as_posix().replace("/", "."), path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            yield node.module
            if node.module == "presenced":
                yield from (f"presenced.{alias.name}" for alias in node.names)


def unit(module: str) -> str:
    """Return the top-level package: `presence` for `presence.model`."""
    return module.split(".")[0]


def level(part: str) -> int:
    return LAYERS.index(part)


def test_every_package_has_a_layer() -> None:
    parts = {unit(name) for name, _ in modules()}
    assert parts - {"testing"} == set(LAYERS)


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=[name for name, _ in modules()])
def test_packages_import_only_from_lower_layers(name: str, path: Path) -> None:
    if unit(name) == "testing":
        return
    for imported in imports(path):
        if not imported.startswith("presenced."):
            continue
        part = unit(imported.removeprefix("presenced."))
        assert part != "testing", f"{name} imports {imported}: nothing in src does"
        assert part == unit(name) or level(part) < level(unit(name)), f"{name} imports {imported}"


@pytest.mark.parametrize(("name", "path"), [(n, p) for n, p in modules() if n.startswith("presence.")])
def test_the_rules_of_presence_are_pure(name: str, path: Path) -> None:
    assert not IMPURE & {imported.split(".")[0] for imported in imports(path)}


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=[name for name, _ in modules()])
def test_files_stay_small(name: str, path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES, f"{name} holds more than one idea: split it"


def test_a_server_that_is_alone_imports_nothing_of_a_cluster() -> None:
    code = (
        "import asyncio, sys\n"
        "from presenced import PresenceServer, Settings\n"
        "async def main():\n"
        "    async with PresenceServer(Settings(port=0)):\n"
        "        assert not [name for name in sys.modules if name.startswith(('presenced.cluster', 'redis'))]\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
