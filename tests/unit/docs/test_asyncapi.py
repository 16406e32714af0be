"""`spec/asyncapi.yaml` is valid AsyncAPI and describes the examples on the specification's pages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft7Validator, Draft202012Validator, ValidationError
from tests.support.asyncapi import DOCUMENT, check, schemas_of
from tools.docs.asyncapi import PARAMETERS, asyncapi

from presenced.protocols.v1.messages import Request

ROOT = Path(__file__).parents[3]


def test_the_document_conforms_to_asyncapi() -> None:
    path = ROOT / "tests/js/node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json"
    validator = Draft7Validator(json.loads(path.read_text("utf-8")))
    assert [error.message for error in validator.iter_errors(DOCUMENT)] == []


def test_every_reference_resolves() -> None:
    references = re.findall(r"\$ref: '#/([^']+)'", asyncapi())
    assert references
    for reference in references:
        place: Any = DOCUMENT
        for step in reference.split("/"):
            place = place[step]


def test_every_parameter_that_a_client_can_name_is_described() -> None:
    read = re.findall(r'query, "(\w+)"', (ROOT / "src/presenced/protocols/v1/connect.py").read_text("utf-8"))
    assert {*read, "userId", "token"} == PARAMETERS.keys()
    described = DOCUMENT["channels"]["v1"]["bindings"]["ws"]["query"]["properties"]
    assert described.keys() == PARAMETERS.keys()
    page = (
        (ROOT / "docs/reference/websocket-v1.md")
        .read_text("utf-8")
        .partition("## Connecting\n")[2]
        .partition("\n## ")[0]
    )
    assert {name for name in PARAMETERS if f"`{name}`" in page} == PARAMETERS.keys() - {"token"}


def test_every_request_is_in_the_table_of_requests() -> None:
    text = (ROOT / "docs/reference/websocket-v1.md").read_text("utf-8")
    table = text.partition("\n## Requests\n")[2].partition("\n#")[0]
    listed = re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE)
    assert sorted(listed) == sorted(one.__struct_config__.tag for one in get_args(Request))


def examples() -> Iterator[Any]:
    """Yield the messages on the pages. `…` stands for omitted parts."""
    for page, channel in (("websocket-classic.md", "classic"), ("websocket-v1.md", "v1")):
        text = (ROOT / "docs/reference" / page).read_text("utf-8")
        blocks = re.findall(r"```json\n(.*?)```", text, re.DOTALL) + re.findall(r'`(\{"type".*?\})`', text)
        for block in blocks:
            shown = re.sub(r"[,\s]*…", "", block.replace(":…", ":0").replace("{…}", "null"))
            while shown.strip():
                message, end = json.JSONDecoder().raw_decode(shown.strip())
                shown = shown.strip()[end:]
                yield pytest.param(message, channel, id=f"{page} {message.get('type', 'UserRecord')}")


@pytest.mark.parametrize(("message", "channel"), list(examples()))
def test_the_examples_match_their_schemas(message: dict[str, Any], channel: str) -> None:
    if "type" in message:
        check(message, channel)
    else:
        Draft202012Validator(schemas_of()["UserRecord"]).validate(message)


def test_messages_outside_the_document_are_rejected() -> None:
    with pytest.raises(ValidationError, match="was unexpected"):
        check({"type": "ACK", "id": 1, "ok": True}, "v1")
    with pytest.raises(ValidationError, match="is a required property"):
        check({"type": "ACK"}, "v1")
