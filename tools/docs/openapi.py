"""`openapi.json`: the HTTP API for programs, from the table of endpoints and their types."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec
from msgspec.json import schema_components
from tools.docs.descriptions import camel, descriptions, with_extensions, without_null
from tools.docs.samples import sample

from presenced.auth.api_keys import SCOPES
from presenced.errors import Problem
from presenced.http.api import parameters, responses
from presenced.http.api.endpoint import AnyEndpoint
from presenced.http.api.parameters import Nothing
from presenced.http.api.routes import ENDPOINTS
from presenced.http.sse import MEDIA_TYPE as EVENTS
from presenced.net import problems
from presenced.net.problems import MEDIA_TYPE as PROBLEM
from presenced.net.problems import ProblemDocument
from presenced.protocols.v1 import messages
from presenced.storage import answers
from presenced.version import __version__

Json = dict[str, Any]

JSON = "application/json"

PATH: dict[str, Json] = {
    "user_id": {"schema": {"type": "string", "minLength": 1, "maxLength": 128}, "example": "ada"},
    "room": {"schema": {"type": "string", "minLength": 1, "maxLength": 128}, "example": "lobby"},
    "source": {"schema": {"type": "string", "minLength": 1, "maxLength": 64}, "example": "calendar"},
}
"""Pattern of an id in a path: the characters that protocol.md allows, percent-encoded, `/` as `%2F`."""

PATH_DESCRIPTIONS = {
    "user_id": "Id of the user.",
    "room": "Name of the room.",
    "source": "Name of the claim's source, such as a calendar, a call or an agent.",
}

CODES = {200: "Success.", 201: "Created.", 304: "The client has the current version."}


def openapi() -> str:
    """Return the document, OpenAPI 3.1."""
    paths: dict[str, Json] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(_path(endpoint), {})[endpoint.method.lower()] = _operation(endpoint)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "presenced",
            "version": __version__,
            "description": "Presence for backends. Times are epoch milliseconds, durations are seconds. A user id is a "
            "number in JSON if it is a whole number from 0 to 2^53 - 1 without a leading zero, and a text otherwise. "
            "Every refusal is a problem document (RFC 9457). codes.json lists them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/api/v1"}],
        "tags": [{"name": name} for name in dict.fromkeys(endpoint.group for endpoint in ENDPOINTS)],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": f"A key from `presenced api-key`. Scopes: {', '.join(SCOPES)}. Each includes those "
                    "before it. Without any key in the settings, the API is open to this machine.",
                },
                "token": {"type": "http", "scheme": "bearer", "description": "A user's token or ticket."},
            },
        },
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


@cache
def schemas() -> dict[str, Json]:
    """Return the JSON Schema (2020-12) of every record, by the name of its type, with the descriptions in the code."""
    types: list[Any] = [ProblemDocument]
    for endpoint in ENDPOINTS:
        types += [kind for kind in (endpoint.body, endpoint.reply) if kind is not Nothing]
    _, components = schema_components(list(dict.fromkeys(types)), ref_template="#/components/schemas/{name}")
    described = descriptions(messages, parameters, responses, answers, problems)
    for name, schema in components.items():
        schema["description"] = " ".join(schema["description"].split())
        is_reply = "additionalProperties" not in schema
        with_extensions(schema)
        for key, field in schema["properties"].items():
            if is_reply and _leaves_out(name):
                schema["properties"][key] = field = without_null(field)
            if text := described.get((name, key)):
                schema["properties"][key] = {**field, "description": text}
    return dict(sorted(components.items()))


def _leaves_out(name: str) -> bool:
    kind = getattr(responses, name, None) or getattr(answers, name, None) or getattr(messages, name, None)
    return kind is not None and kind.__struct_config__.omit_defaults


def _path(endpoint: AnyEndpoint) -> str:
    return endpoint.path.replace("{user_id}", "{userId}")


def _operation(endpoint: AnyEndpoint) -> Json:
    operation: Json = {
        "tags": [endpoint.group],
        "summary": endpoint.summary,
        "description": f"{_description(endpoint)}\n\nScope: {endpoint.scope}.",
        "operationId": camel(endpoint.operation),
        "x-scope": endpoint.scope,
        "x-order": ENDPOINTS.index(endpoint),
    }
    if endpoint.example_query:
        operation["x-example-query"] = endpoint.example_query
    if not endpoint.checks_access:
        operation["security"] = [{"key": []}, {"token": []}]
    if parameters := [*_in_path(endpoint), *_in_query(endpoint), *_in_headers(endpoint)]:
        operation["parameters"] = parameters
    if endpoint.takes_body:
        content: Json = {"schema": _reference(endpoint.body)}
        if endpoint.example:
            content["example"] = json.loads(endpoint.example)
        required = any(f.required for f in msgspec.structs.fields(endpoint.body))
        operation["requestBody"] = {"required": required, "content": {JSON: content}}
    operation["responses"] = dict(_responses(endpoint))
    return operation


def _responses(endpoint: AnyEndpoint) -> Iterable[tuple[str, Json]]:
    content: Json = {}
    if endpoint.checks_access:  # otherwise it only streams
        content[JSON] = {"schema": _reference(endpoint.reply), "example": sample(_reference(endpoint.reply), schemas())}
    if endpoint.streams:
        content[EVENTS] = {"schema": {"type": "string"}}
    headers: Json = {"ETag": {"schema": {"type": "string"}}} if endpoint.conditional else {}
    done: Json = {"description": CODES[endpoint.status], "content": content}
    yield str(endpoint.status), done | ({"headers": headers} if headers else {})
    if endpoint.conditional:
        yield "304", {"description": CODES[304], "headers": headers}
    by_status: dict[int, list[Problem]] = {}
    for problem in sorted(endpoint.every_problem(), key=lambda p: p.status):
        by_status.setdefault(problem.status, []).append(problem)
    for status, same in by_status.items():
        text = " ".join(f"{problem.name}: {problem.meaning}" for problem in same)
        yield str(status), {"description": text, "content": {PROBLEM: {"schema": _reference(ProblemDocument)}}}


def _in_path(endpoint: AnyEndpoint) -> Iterable[Json]:
    for name in re.findall(r"{(\w+)}", endpoint.path):
        shown = "userId" if name == "user_id" else name
        yield {"name": shown, "in": "path", "required": True, "description": PATH_DESCRIPTIONS[name], **PATH[name]}


def _in_query(endpoint: AnyEndpoint) -> Iterable[Json]:
    if endpoint.query is Nothing:
        return
    _, components = schema_components([endpoint.query])
    schema = components[endpoint.query.__name__]
    described = descriptions(parameters)
    for name, field in schema["properties"].items():
        text = described.get((endpoint.query.__name__, name), "")
        if field.get("default") == "":  # an empty parameter is refused, so clients must omit it
            del field["default"]
        yield {"name": name, "in": "query", "description": text, "schema": field}


def _in_headers(endpoint: AnyEndpoint) -> Iterable[Json]:
    names = []
    if endpoint.conditional:
        names.append(("If-None-Match", "ETag of a response that the client has."))
    if endpoint.streams:
        names.append(("Last-Event-ID", "Id of the last event of a stream, to continue after it."))
    for name, text in names:
        yield {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}


def _reference(kind: Any) -> Json:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _description(endpoint: AnyEndpoint) -> str:
    return " ".join((inspect.getdoc(endpoint.handler) or "").split())
