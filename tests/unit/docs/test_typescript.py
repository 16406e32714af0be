"""The TypeScript of the JavaScript client has everything that the server's types have."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest
from tests.support.documents import ROOT
from tools.docs.openapi import openapi
from tools.docs.typescript import COLUMNS, api, codes, wire

from presenced.errors import Close, Fault
from presenced.protocols.v1 import messages

DOCUMENT = json.loads(openapi())
OPERATIONS: dict[str, dict[str, Any]] = {
    operation["operationId"]: {"path": path, "method": method.upper(), **operation}
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}


def interface(text: str, name: str) -> str:
    """Return the body of an interface."""
    return text.partition(f"\nexport interface {name} {{\n")[2].partition("\n}\n")[0]


def alternatives(text: str, name: str) -> list[str]:
    """Return the types in a union."""
    return re.findall(r"\w+", text.partition(f"\nexport type {name} =")[2].partition(";")[0])


@pytest.mark.parametrize(
    ("union", "kinds"),
    [("ServerMessage", get_args(messages.ServerMessageV1)), ("ClientMessage", get_args(messages.Request))],
)
def test_the_union_of_messages_has_each_of_them_once_by_type(union: str, kinds: tuple[Any, ...]) -> None:
    bodies = [interface(wire(), name) for name in alternatives(wire(), union)]
    tags = [match[1] for body in bodies if (match := re.search(r'\btype: "(\w+)";', body))]
    assert tags == [kind.__struct_config__.tag for kind in kinds]


def test_a_client_can_change_only_its_own_messages() -> None:
    for name in alternatives(wire(), "ServerMessage"):
        assert all(re.match(r"  (readonly|/?\*| )", line) for line in interface(wire(), name).splitlines())
    assert all("readonly type" not in interface(wire(), name) for name in alternatives(wire(), "ClientMessage"))


def test_a_client_omits_an_optional_field_and_never_sends_null() -> None:
    assert "  id?: RequestId;" in interface(wire(), "Watch")
    assert "null" not in interface(wire(), "SetStatus")


def test_a_user_id_is_a_string_or_a_number_everywhere() -> None:
    assert set(re.findall(r"\buserId\??: (.*);", wire() + api())) == {"UserId"}
    assert "export type UserId = string | number;" in wire()


def test_every_code_is_in_the_table() -> None:
    table = codes().partition("CLOSE_CODES")[2].partition("};")[0]
    rows = re.findall(r'^  (\d+): \["(\w+)", "(\w+)", "(.*)"\],$', table, re.MULTILINE)
    assert [(int(code), name, hint) for code, name, _, hint in rows] == [(c.code, c.name, c.hint) for c in Close]
    assert [int(code) for code, _, kind, _ in rows if kind != "final"] == [c.code for c in Close if c.reconnect]
    assert [code for code, _, kind, _ in rows if kind == "slow"] == ["1013", "4421", "4429"]
    assert all(f'"{fault.name}"' in codes() for fault in Fault if fault.retry)


def test_every_endpoint_has_its_types_and_its_path() -> None:
    operations = interface(api(), "Operations")
    assert re.findall(r"^  (\w+): {$", operations, re.MULTILINE) == sorted(
        OPERATIONS, key=lambda name: OPERATIONS[name]["x-order"]
    )
    for name, operation in OPERATIONS.items():
        assert f'  {name}: {{ method: "{operation["method"]}", path: "{operation["path"]}" }},\n' in api()


@pytest.mark.parametrize("name", OPERATIONS)
def test_one_object_can_hold_all_arguments_of_an_endpoint(name: str) -> None:
    """`Operations` promises it."""
    operation = OPERATIONS[name]
    parameters = [one["name"] for one in operation.get("parameters", ()) if one["in"] != "header"]
    body: list[str] = []
    if "requestBody" in operation:
        assert not [one for one in operation.get("parameters", ()) if one["in"] == "query"]
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        body = list(DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]["properties"])
    assert len({*parameters, *body}) == len(parameters) + len(body)


@pytest.mark.parametrize("text", [wire(), codes(), api()])
def test_no_line_is_too_long(text: str) -> None:
    assert max(map(len, text.splitlines())) <= COLUMNS


def test_the_reference_of_the_client_lists_every_option() -> None:
    source = (ROOT / "clients/js/src/client.ts").read_text("utf-8")
    options = re.search(r"export interface PresenceOptions \{(.*?)\n\}", source, re.DOTALL)
    page = (ROOT / "docs/reference/js-client.md").read_text("utf-8")
    table = page.partition("## Options\n")[2].partition("\n## ")[0]
    assert options
    assert re.findall(r"^  (\w+)\??:", options[1], re.MULTILINE) == re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
