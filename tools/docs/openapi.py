"""`openapi.json`: the HTTP API for programs, made from the endpoints and the types of their requests and responses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec
from msgspec.json import schema_components
from tools.docs.descriptions import camel, descriptions, summary_and_description, with_extensions, without_null
from tools.docs.samples import sample

from presenced.auth.api_keys import SCOPES
from presenced.errors import Problem
from presenced.http.api import requests, responses
from presenced.http.api.endpoint import Endpoint
from presenced.http.api.requests import Empty
from presenced.http.api.routes import ENDPOINTS, GROUPS
from presenced.http.sse import EVENT_STREAM_MEDIA_TYPE
from presenced.net import problems
from presenced.net.problems import PROBLEM_MEDIA_TYPE, ProblemDocument
from presenced.protocols.v1 import messages
from presenced.storage import answers
from presenced.version import __version__

Json = dict[str, Any]

JSON = "application/json"

PATH: dict[str, Json] = {
    "user_id": {"schema": {"type": "string", "minLength": 1, "maxLength": 128}, "example": "ada"},
    "room": {
        "schema": {"type": "string", "minLength": 1, "maxLength": messages.MAX_ROOM_NAME_CHARACTERS},
        "example": "lobby",
    },
    "source": {"schema": {"type": "string", "minLength": 1, "maxLength": 64}, "example": "calendar"},
}
"""Schemas of the names in paths. They are percent-encoded, `/` as `%2F`."""

PATH_DESCRIPTIONS = {
    "user_id": "User id.",
    "room": "Name of the room.",
    "source": "Source of the claim, such as a calendar, a call or an agent.",
}

STATUS_DESCRIPTIONS = {200: "Success.", 201: "Created.", 304: "The client has this response already."}


def openapi() -> str:
    """Return the document, OpenAPI 3.1."""
    paths: dict[str, Json] = {}
    for group, endpoints in GROUPS.items():
        for endpoint in endpoints:
            paths.setdefault(_path(endpoint), {})[endpoint.method.lower()] = _operation(endpoint, group)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "presenced",
            "version": __version__,
            "description": "Presence of users, for backends. Times are epoch milliseconds, durations are seconds. "
            "In JSON, a user id is a number if it is a whole number from 0 to 2^53 - 1 without a leading zero, "
            "otherwise a string. Every refusal is a problem document (RFC 9457); codes.json lists them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/api/v1"}],
        "tags": [{"name": group} for group in GROUPS],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key that `presenced api-key` created. Each scope includes the ones before it: "
                    f"{', '.join(SCOPES)}. In development, local requests need no key.",
                },
                "token": {"type": "http", "scheme": "bearer", "description": "A user's token or ticket."},
            },
        },
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


@cache
def schemas() -> dict[str, Json]:
    """Return the JSON Schema (2020-12) of every record by the name of its type, with the descriptions in the code."""
    types: list[Any] = [ProblemDocument]
    for endpoint in ENDPOINTS:
        types += [kind for kind in (endpoint.body, endpoint.reply) if kind is not Empty]
    _, components = schema_components(list(dict.fromkeys(types)), ref_template="#/components/schemas/{name}")
    described = descriptions(messages, requests, responses, answers, problems)
    for name, schema in components.items():
        schema["description"] = " ".join(schema["description"].split())
        is_response = "additionalProperties" not in schema
        with_extensions(schema)
        for key, field in schema["properties"].items():
            if is_response and _omits_empty(name):
                schema["properties"][key] = field = without_null(field)
            if text := described.get((name, key)):
                schema["properties"][key] = {**field, "description": text}
    return dict(sorted(components.items()))


def _omits_empty(name: str) -> bool:
    kind = getattr(responses, name, None) or getattr(answers, name, None) or getattr(messages, name, None)
    return kind is not None and kind.__struct_config__.omit_defaults


def _path(endpoint: Endpoint) -> str:
    return endpoint.path.replace("{user_id}", "{userId}")


def _operation(endpoint: Endpoint, group: str) -> Json:
    summary, description = summary_and_description(endpoint.handler)
    operation: Json = {
        "tags": [group],
        "summary": summary,
        "description": f"{description}\n\nScope: {endpoint.scope}.",
        "operationId": camel(endpoint.handler.__name__),
        "x-scope": endpoint.scope,
        "x-order": ENDPOINTS.index(endpoint),
    }
    if endpoint.is_destructive:
        operation["x-destructive"] = True
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


def _responses(endpoint: Endpoint) -> Iterable[tuple[str, Json]]:
    content: Json = {}
    if endpoint.checks_access:  # otherwise it only streams
        content[JSON] = {"schema": _reference(endpoint.reply), "example": sample(_reference(endpoint.reply), schemas())}
    if endpoint.streams:
        content[EVENT_STREAM_MEDIA_TYPE] = {"schema": {"type": "string"}}
    headers: Json = {"ETag": {"schema": {"type": "string"}}} if endpoint.conditional else {}
    success: Json = {"description": STATUS_DESCRIPTIONS[endpoint.status], "content": content}
    yield str(endpoint.status), success | ({"headers": headers} if headers else {})
    if endpoint.conditional:
        yield "304", {"description": STATUS_DESCRIPTIONS[304], "headers": headers}
    by_status: dict[int, list[Problem]] = {}
    for one in sorted(_problems(endpoint), key=lambda p: p.status):
        by_status.setdefault(one.status, []).append(one)
    for status, found in by_status.items():
        meanings = " ".join(f"{one.name}: {one.meaning}" for one in found)
        yield (
            str(status),
            {"description": meanings, "content": {PROBLEM_MEDIA_TYPE: {"schema": _reference(ProblemDocument)}}},
        )


def _problems(endpoint: Endpoint) -> Iterable[Problem]:
    """Return all problems that the endpoint may respond with, each once."""
    found = [*endpoint.problems, Problem.TOO_MANY_REQUESTS, Problem.FORBIDDEN_ORIGIN, Problem.MISDIRECTED]
    if endpoint.checks_access:
        found += [Problem.UNAUTHORIZED, Problem.FORBIDDEN]
    found.append(Problem.BAD_PARAMETER)
    if endpoint.takes_body or "{" in endpoint.path:
        found.append(Problem.BAD_BODY)
    return dict.fromkeys([*found, Problem.BODY_TOO_LARGE, Problem.HEAD_TOO_LARGE])


def _in_path(endpoint: Endpoint) -> Iterable[Json]:
    for name in re.findall(r"{(\w+)}", endpoint.path):
        shown = "userId" if name == "user_id" else name
        yield {"name": shown, "in": "path", "required": True, "description": PATH_DESCRIPTIONS[name], **PATH[name]}


def _in_query(endpoint: Endpoint) -> Iterable[Json]:
    if endpoint.query is Empty:
        return
    _, components = schema_components([endpoint.query])
    schema = components[endpoint.query.__name__]
    described = descriptions(requests)
    for name, field in schema["properties"].items():
        description = described.get((endpoint.query.__name__, name), "")
        if field.get("default") == "":  # omit the parameter: an empty one is refused
            del field["default"]
        yield {"name": name, "in": "query", "description": description, "schema": field}


def _in_headers(endpoint: Endpoint) -> Iterable[Json]:
    names = []
    if endpoint.conditional:
        names.append(("If-None-Match", "`ETag` of a response that the client has."))
    if endpoint.streams:
        names.append(("Last-Event-ID", "For a stream: id of the last event, from which the stream continues."))
    for name, description in names:
        yield {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def _reference(kind: Any) -> Json:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
