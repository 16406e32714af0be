"""The package stands alone: it imports nothing of the server, and installs without the server's dependencies."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from tests.support.documents import ROOT

import presenced_client
from presenced_client import Change, Connection, Member, Membership, Presence, Room, Self, UserPresence
from presenced_client.rest import PresenceApi

FOLDER = ROOT / "clients/python"
SOURCE = FOLDER / "src/presenced_client"

MAX_LINES = 450

ALLOWED = {"presenced_client", "websockets", "httpx2"}

WITH_IO = {"__init__", "client", "connector", "membership", "rest", "token"}

PURE = sorted({path.stem for path in SOURCE.glob("*.py")} - WITH_IO)
"""Modules without input, output and clocks."""

INTERNAL = {"from_record", "from_message", "shows_the_same", "wishes_changed"}
"""Attributes for the package itself."""

ALIASES = {"ChoiceStatus", "Status", "TokenSource", "UserId"}
"""Names of types for annotations."""

IMPURE = {"asyncio", "socket", "time", "random", "threading", "os", "datetime", "io", "websockets", "httpx2", "logging"}


def imports(path: Path) -> set[str]:
    """Return the top-level packages that a module imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.glob("*.py")), ids=lambda path: path.stem)
def test_a_module_imports_nothing_of_the_server_and_stays_small(path: Path) -> None:
    assert imports(path) - ALLOWED <= sys.stdlib_module_names
    assert "httpx2" not in imports(path) or path.stem == "rest", "an extra"
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", PURE)
def test_the_protocol_has_no_input_and_output(name: str) -> None:
    assert not imports(SOURCE / f"{name}.py") & IMPURE


@pytest.mark.slow
def test_the_wheel_is_complete_and_installs_with_websockets_alone(tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, FOLDER]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata] = [Parser().parsestr(archive.read(n).decode()) for n in names if n.endswith("/METADATA")]
    shipped = {f"presenced_client/{path.name}" for path in SOURCE.iterdir() if path.is_file()}
    assert "presenced_client/py.typed" in shipped
    assert shipped == {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    required = [name for name in metadata.get_all("Requires-Dist", []) if "extra" not in name]
    assert [name.split(">")[0] for name in required] == ["websockets"]
    target = tmp_path / "installed"
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        target,
        wheel,
    ]
    subprocess.run(pip, check=True, capture_output=True, timeout=100)
    assert {path.name for path in target.iterdir() if path.is_dir() and "." not in path.name} - {"bin"} == {
        "presenced_client",
        "websockets",
    }
    program = (
        f"import sys; sys.path.insert(0, {str(target)!r}); import presenced_client; print(presenced_client.__file__)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True, capture_output=True, text=True)
    assert Path(done.stdout.strip()).is_relative_to(target)


REFERENCE = (ROOT / "docs/reference/python-client.md").read_text("utf-8")


def public(kind: type) -> set[str]:
    """Return the public attributes of a class."""
    found = {name for name in vars(kind) if not name.startswith("_")}
    return found | {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else found


@pytest.mark.parametrize(
    "kind",
    [Presence, Membership, PresenceApi, UserPresence, Self, Change, Room, Member, Connection],
    ids=lambda kind: kind.__name__,
)
def test_the_reference_names_every_attribute(kind: type) -> None:
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", REFERENCE))))
    assert public(kind) - INTERNAL <= named


def test_the_reference_names_every_public_class() -> None:
    assert {name for name in presenced_client.__all__ if name[0].isupper()} - ALIASES <= set(
        re.findall(r"\w+", REFERENCE)
    )
