"""`docs/reference/http-api.md` describes every endpoint, every parameter and every field, with valid examples."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import fields
from tools.docs.http_api import EXAMPLES
from tools.docs.openapi import openapi

from presenced.http.api.endpoint import Endpoint
from presenced.http.api.routes import ENDPOINTS

PAGE = (Path(__file__).parents[3] / "docs/reference/http-api.md").read_text("utf-8")
DOCUMENT = json.loads(openapi())


def section(endpoint: Endpoint) -> str:
    """Return the part of the page about an endpoint."""
    _, heading, rest = PAGE.partition(f"\n#### `{endpoint.method} {endpoint.path.replace('{user_id}', '{id}')}`\n")
    assert heading
    return re.split(r"\n###", rest)[0]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.name)
def test_an_endpoint_has_a_command_and_a_valid_response(endpoint: Endpoint) -> None:
    text = section(endpoint)
    assert "curl " in text
    shown = re.findall(r"^# (\{.*(?:\n#  .*)*)", text, re.MULTILINE) + re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert shown or "-N" in text
    schema = {"$ref": f"#/components/schemas/{endpoint.reply.__name__}", "components": DOCUMENT["components"]}
    for response in shown:
        Draft202012Validator(schema).validate(json.loads(response.replace("\n#  ", " ")))


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.name)
def test_an_endpoint_has_its_parameters_and_the_fields_of_its_body(endpoint: Endpoint) -> None:
    named = set(re.findall(r"^\| `(\w+)`", section(endpoint), re.MULTILINE))
    exist = {field.encode_name for kind in (endpoint.query, endpoint.body) for field in fields(kind)}
    assert named == exist


def test_every_parameter_and_field_has_a_meaning() -> None:
    generated = PAGE.partition("<!-- endpoints")[2]
    without = re.findall(r"^\|.*\| +\|$", generated, re.MULTILINE)
    assert not without, "write a text below each field in its class; of a base class, tools/docs names the module first"


def test_the_examples_are_of_different_endpoints() -> None:
    assert len(EXAMPLES) == len({command for text in EXAMPLES.values() for command in text.split("\n")[1:2]})
