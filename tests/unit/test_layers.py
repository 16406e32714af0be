"""The layers: who may import whom, and what the core may not touch."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "presenced"

LAYERS = [
    ["version", "errors"],
    ["setting_types", "text_files"],
    ["settings", "core"],
    ["setting_help"],
    ["config", "wire"],
    ["auth"],
    ["storage"],
    ["webhooks"],
    ["clock", "garbage"],
    ["log", "metrics", "noted"],
    ["outbox", "recorder", "refusals"],
    ["keeper"],
    ["feeds"],
    ["requests", "admission", "connection", "greeting", "heartbeat", "drain", "stats", "followers"],
    ["engine"],
    ["application"],
    ["transports", "http"],
    ["server"],
    ["__init__"],
    ["doctor"],
    ["cli_auth", "cli_storage", "cli_webhooks", "systemd_notify"],
    ["cli"],
    ["__main__"],
]
"""Lowest first; a module imports from layers below its own and from its own package. `testing` stands beside."""

BESIDE_CORE = {"asyncio", "socket", "time", "random", "secrets", "logging", "threading", "os", "uuid", "datetime", "io"}


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
    """The part of the house: `core.model` is in `core`."""
    return module.split(".")[0]


def level(part: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if part in layer)


def test_every_part_has_its_place() -> None:
    parts = {unit(name) for name, _ in modules()}
    assert parts - {"testing"} == {part for layer in LAYERS for part in layer}


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=[name for name, _ in modules()])
def test_imports_go_down_only(name: str, path: Path) -> None:
    if unit(name) == "testing":
        return
    for imported in imports(path):
        if not imported.startswith("presenced."):
            continue
        part = unit(imported.removeprefix("presenced."))
        assert part != "testing", f"{name} imports {imported}: nothing in src does"
        assert part == unit(name) or level(part) < level(unit(name)), f"{name} imports {imported}"


@pytest.mark.parametrize(("name", "path"), [(n, p) for n, p in modules() if n.startswith("core")])
def test_the_core_is_pure(name: str, path: Path) -> None:
    assert not BESIDE_CORE & {imported.split(".")[0] for imported in imports(path)}


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=[name for name, _ in modules()])
def test_files_stay_small(name: str, path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 400, f"{name}: split it"
