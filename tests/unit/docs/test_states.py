"""`docs/reference/states.md` names every code where it occurs, no code where it cannot, and every ending."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.docs.codes import RESERVED

from presenced.errors import Close, Problem
from presenced.presence.model import Ending

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "src/presenced"
PAGE = (ROOT / "docs/reference/states.md").read_text("utf-8")

BY_APPLICATION = {Problem.INTERNAL_ERROR}
"""Problems in `transports` that are about the response of an application, so no handshake gets them."""


def section(heading: str) -> str:
    """Return the part of the page below a heading."""
    _, found, rest = PAGE.partition(f"\n### {heading}\n")
    assert found, f"there is no heading {heading}"
    return re.split(r"\n##", rest)[0]


def closes(text: str) -> set[Close]:
    """Return the close codes in the tables of a text."""
    return {Close[name] for _, name in re.findall(r"^\| (\d{4}) ([A-Z_]+) \|", text, re.MULTILINE)}


def problems(text: str) -> set[Problem]:
    """Return the problems in the tables of a text."""
    found = re.findall(r"^\| (\d{3}) ([A-Z_]+) \|", text, re.MULTILINE)
    assert all(Problem[name].status == int(status) for status, name in found)
    return {Problem[name] for _, name in found}


def nodes(*folders: str) -> Iterator[ast.AST]:
    """Yield all nodes of the programs in some folders of the source."""
    for folder in folders:
        for path in sorted((SOURCE / folder).rglob("*.py")):
            yield from ast.walk(ast.parse(path.read_text("utf-8")))


def names(node: ast.AST, of: str) -> set[str]:
    """Return the names in `Close.NAME` or `Problem.NAME` within a node."""
    return {
        one.attr
        for one in ast.walk(node)
        if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id == of
    }


def calls(method: str, of: str) -> set[str]:
    """Return the names that calls of a method have as arguments."""
    found: set[str] = set()
    for node in nodes("auth", "delivery", "node", "protocols", "transports"):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method:
            for argument in node.args:
                found |= names(argument, of)
    return found


def test_the_refusals_of_a_handshake_are_those_of_the_front_door() -> None:
    refusals = {Problem[name] for node in nodes("transports", "net") for name in names(node, "Problem")}
    text, _, other = section("The server refuses the handshake").partition("is not a handshake")
    assert problems(text) == refusals - BY_APPLICATION
    assert problems(other) == {Problem.NOT_FOUND, Problem.METHOD_NOT_ALLOWED, Problem.UPGRADE_REQUIRED}


def test_the_codes_for_clients_that_are_not_admitted_are_those_with_which_the_node_refuses() -> None:
    assert closes(section("The server does not admit the client")) == {
        Close[name] for name in calls("refused", "Close")
    }


def test_the_codes_of_open_connections_are_those_with_which_the_server_closes() -> None:
    by_rule = {Close.PROTOCOL_ERROR, Close.INVALID_DATA, Close.MESSAGE_TOO_BIG}  # they reach `close` in an event
    assert by_rule <= {Close[name] for node in nodes("transports/websocket") for name in names(node, "Close")}
    expected = {Close[name] for name in calls("close", "Close")} | by_rule
    assert closes(section("The server closes an open connection")) == expected


def test_every_close_code_is_on_the_page_except_those_that_the_server_never_sends() -> None:
    assert closes(PAGE) == set(Close) - set(RESERVED)
    used = {name for node in nodes("") for name in names(node, "Close")}
    assert not used & {close.name for close in RESERVED}


@pytest.mark.parametrize("ending", Ending)
def test_every_ending_is_in_the_table_and_the_diagram(ending: Ending) -> None:
    diagram, _, table = PAGE.partition("| ending |")
    assert f"| `{ending.value}` |" in table
    assert ending.value in diagram
