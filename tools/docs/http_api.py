"""Endpoints and records in docs/reference/http-api.md, from the endpoints and the types of the HTTP API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tools.docs.descriptions import summary_and_description
from tools.docs.markdown import bullets, table, wrapped
from tools.docs.messages import COMMON, type_text
from tools.docs.openapi import openapi

from presenced.http.api.endpoint import Endpoint
from presenced.http.api.requests import Empty
from presenced.http.api.routes import GROUPS

BEGIN, END = (
    "<!-- endpoints: made by `make docs`; the examples are in `tools/docs/http_api.py` -->",
    "<!-- end of endpoints -->",
)

Json = dict[str, Any]

URL = "localhost:3001/api/v1"

EXAMPLES: dict[str, str] = {
    "GET /users/{user_id}": """
curl 'localhost:3001/api/v1/users/ada?viewer=bo'
# {"userId":"ada","status":"online","since":1767268800000,"version":42}
""",
    "POST /users/query": """
curl localhost:3001/api/v1/users/query -d '{"users": [7, "ada", null]}'
# {"users":[{"userId":7,"status":"offline","since":0,"version":42},
#  {"userId":"ada","status":"online","since":1767268800000,"version":42,"cause":"announcement"}],
#  "errors":[{"index":2,"code":"BAD_BODY","detail":"userId must be a string or a whole number"}]}
""",
    "GET /online": """
curl 'localhost:3001/api/v1/online?limit=100'
# {"position":"b3f2a1c0-42","users":[{"userId":"ada","status":"online","since":1767268800000,
#  "version":42,"cause":"announcement"}],"next":null}
""",
    "GET /counts": """
curl localhost:3001/api/v1/counts
# {"onlineUsers":1,"rooms":0}
""",
    "GET /rooms": """
curl 'localhost:3001/api/v1/rooms?limit=100'
# {"rooms":[],"next":null}
""",
    "GET /rooms/{room}": """
curl localhost:3001/api/v1/rooms/lobby
# {"room":"lobby","mode":"full","count":0,"members":[],"next":null}
""",
    "GET /changes": """
curl 'localhost:3001/api/v1/changes?wait=1'
# {"changes":[],"next":"b3f2a1c0-42",
#  "digest":{"position":"b3f2a1c0-42","users":1,"digest":"c4a1f6f0b8a94b1d"}}
curl -N localhost:3001/api/v1/changes -H 'Accept: text/event-stream'
""",
    "GET /watch": """
curl -N 'localhost:3001/api/v1/watch?users=7&users=ada'
""",
    "POST /users/{user_id}/announce": """
curl localhost:3001/api/v1/users/ada/announce -d '{"online": true}'
# {"changed":false}
""",
    "POST /users/{user_id}/disconnect": """
curl -X POST localhost:3001/api/v1/users/ada/disconnect
# {"closed":0}
""",
    "PUT /users/{user_id}/status": """
curl -X PUT localhost:3001/api/v1/users/ada/status \\
  -d '{"status": "away", "text": "lunch", "expiresIn": 1800}'
# {"userId":"ada","status":"away","since":1767268800000,"version":43,
#  "lastSeen":1767268800000,"text":"lunch","until":1767270600000,"cause":"choice"}
""",
    "DELETE /users/{user_id}/status": """
curl -X DELETE localhost:3001/api/v1/users/ada/status
# {"userId":"ada","status":"online","since":1767268801000,"version":44,"cause":"choice"}
""",
    "GET /users/{user_id}/claims": """
curl localhost:3001/api/v1/users/ada/claims
# {"userId":"ada","claims":[]}
""",
    "PUT /users/{user_id}/claims/{source}": """
curl -X PUT localhost:3001/api/v1/users/ada/claims/calendar \\
  -d '{"status": "busy", "text": "in a meeting", "priority": 10, "expiresIn": 3600}'
# {"userId":"ada","status":"busy","since":1767268802000,"version":45,"text":"in a meeting",
#  "until":1767272402000,"cause":"claim"}
""",
    "DELETE /users/{user_id}/claims/{source}": """
curl -X DELETE localhost:3001/api/v1/users/ada/claims/calendar
# {"cleared":true}
""",
    "GET /users/{user_id}/last-seen": """
curl localhost:3001/api/v1/users/ada/last-seen
# {"userId":"ada","status":"online","lastSeen":1767268803000}
""",
    "POST /users/last-seen": """
curl localhost:3001/api/v1/users/last-seen -d '{"users": [7, "ada"]}'
# {"users":[{"userId":7,"status":"offline"},
#  {"userId":"ada","status":"online","lastSeen":1767268803000}],"errors":[]}
""",
    "GET /users/{user_id}/sessions": """
curl localhost:3001/api/v1/users/ada/sessions
# {"userId":"ada","sessions":[]}
""",
    "GET /sessions": """
curl 'localhost:3001/api/v1/sessions?limit=100'
# {"sessions":[],"next":null}
""",
    "GET /users/{user_id}/explain": """
curl 'localhost:3001/api/v1/users/ada/explain?viewer=bo'
""",
    "DELETE /users/{user_id}": """
curl -X DELETE localhost:3001/api/v1/users/bo
# {"closed":0,"stored":0}
""",
}
"""Commands, and responses if they are the same at each run but for times and numbers. Other endpoints get a command and
an example of their response from their types."""

LINKS = {
    "docs/reference/http-api.md shows how to compute it.": "[Digest](#digest) shows how to compute it.",
    "Name of a problem: `docs/reference/codes.md`.": "Code of a [problem](codes.md#problems-of-http).",
    "(docs/explanation/security-model.md)": "([tickets](../how-to/auth/tickets.md))",
    "`/stats` and `/metrics` count connections.": "`/stats` and [`/metrics`](metrics.md) count connections.",
}
"""Parts of docstrings that are links on this page."""

COMMANDS_IN_PATH = {"{user_id}": "ada", "{room}": "lobby", "{source}": "calendar"}

FIELDS = COMMON | {
    "userId": "User id.",
    "users": "Records of the users.",
    "rooms": "Rooms.",
    "online": "Whether the user is online.",
    "cause": "Why the state changed.",
    "at": "Time of the change.",
    "lastSeen": "Time at which the user was last known to be there.",
    "changes": "The changes.",
    "source": "Name of the source.",
    "priority": "Priority of the claim.",
    "setAt": "Time at which the claim was set.",
    "claims": "The claims.",
    "endpoint": "URL of the receiver without its query, or a digest of a URL that left the settings.",
    "event": "The event, as it was sent.",
    "deadLetters": "The dead letters.",
    "digest": "The digest.",
    "sessions": "The sessions.",
    "chosen": "Permanent choice of the user.",
    "protocol": "Protocol of the session.",
    "device": "Kind of device.",
    "active": "Whether the person is active.",
    "errors": "Items without a result.",
    "detail": "The fault, and how to fix it.",
    "connected": "Whether it has a connection.",
    "display": "Display data.",
    "version": "Version of the change.",
    "openedAt": "Time at which it opened.",
    "node": "Server that had the session.",
    "members": "The members.",
    "presence": "State of the user, as others see it.",
    "ticket": "The ticket.",
    "title": "Meaning of `code`.",
    "status": "Status.",
}
"""Meaning of fields that have no description of their own in the code, by name."""

OLD_ANCHORS = {
    "Commands": '<a id="set-claims"></a>\n\n',
    "Past": '<a id="read-the-past"></a>\n\n',
    "Administration": '<a id="explain-a-status"></a>\n\n',
}
"""Anchors of headings that the page had once, before the groups that they are about."""

ELSEWHERE = {"UserRecord": "messages.md"}


def endpoints(text: str) -> str:
    """Return the document with a current table and current sections."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    document = json.loads(openapi())
    parts = "\n\n".join([_table(), *_sections(document), _records(document["components"]["schemas"])])
    return f"{before}{BEGIN}\n{parts}\n{END}{after}"


def _shown(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path.replace('{user_id}', '{id}')}"


def _anchor(endpoint: Endpoint) -> str:
    return re.sub(r"[^\w\- ]", "", _shown(endpoint).lower()).replace(" ", "-")


def _table() -> str:
    rows = [
        [f"[`{_shown(one)}`](#{_anchor(one)})", one.scope, summary_and_description(one.handler)[0]]
        for group in GROUPS.values()
        for one in group
    ]
    return table(["endpoint", "scope", "what"], rows)


def _sections(document: Json) -> Iterator[str]:
    for group, found in GROUPS.items():
        yield OLD_ANCHORS.get(group, "") + f"### {group}"
        for endpoint in found:
            path = endpoint.path.replace("{user_id}", "{userId}")
            yield _section(
                endpoint, document["paths"][path][endpoint.method.lower()], document["components"]["schemas"]
            )


def _section(endpoint: Endpoint, operation: Json, schemas: Json) -> str:
    summary, description = summary_and_description(endpoint.handler)
    parts = [f"#### `{_shown(endpoint)}`", wrapped(_linked(f"{summary} {description}")), wrapped(_facts(endpoint))]
    if parameters := [_parameter(one) for one in operation.get("parameters", []) if one["in"] == "query"]:
        parts.append(table(["parameter", "takes", "meaning"], parameters))
    if endpoint.takes_body:
        schema = schemas[endpoint.body.__name__]
        parts.append(table(["field of the body", "takes", "meaning"], _fields(schema)))
    parts.append(_example(endpoint, operation))
    return "\n\n".join(parts)


def _linked(text: str) -> str:
    for said, link in LINKS.items():
        text = text.replace(said, link)
    return text


def _facts(endpoint: Endpoint) -> str:
    """Return the scope, and the name of the response's type."""
    scope = f"Scope `{endpoint.scope}`" + ("" if endpoint.checks_access else ", or a user's token or ticket")
    name = endpoint.reply.__name__
    answer = "" if endpoint.reply is Empty else f" Response: [{name}]({ELSEWHERE.get(name, '')}#{name.lower()})."
    status = f" Status {endpoint.status}." if endpoint.status != 200 else ""
    return f"{scope}.{answer}{status}{' With an `ETag`.' if endpoint.conditional else ''}"


def _parameter(given: Json) -> list[str]:
    schema = given["schema"]
    kind = schema.get("type", "")
    takes = {"integer": "a whole number", "number": "a number", "boolean": "`true` or `false`", "array": "ids"}
    text = takes.get(kind, "a string")
    if "minimum" in schema and "maximum" in schema and schema["maximum"] < 1 << 53:
        text += f" from {schema['minimum']:,} to {schema['maximum']:,}" if schema["maximum"] < 10**15 else ""
    if schema.get("default"):
        text += f"; by default {schema['default']:,}"
    return [f"`{given['name']}`", text, given["description"]]


def _fields(schema: Json) -> list[list[str]]:
    required = set(schema.get("required", ()))
    return [
        [
            f"`{key}`{'' if key in required else ' ?'}",
            type_text(field, ELSEWHERE),
            _linked(field.get("description") or FIELDS.get(key, "")),
        ]
        for key, field in schema["properties"].items()
    ]


def _example(endpoint: Endpoint, operation: Json) -> str:
    """Return a command with its response."""
    example = EXAMPLES.get(endpoint.name, "").strip() or _command(endpoint)
    block = f"```sh\n{example}\n```"
    if "\n# " in example or "-N" in example:
        return block
    answer = operation["responses"][str(endpoint.status)]["content"]["application/json"]["example"]
    return f"{block}\n\n```json\n{json.dumps(answer, ensure_ascii=False)}\n```"


def _command(endpoint: Endpoint) -> str:
    path = endpoint.path
    for name, value in COMMANDS_IN_PATH.items():
        path = path.replace(name, value)
    method = "" if endpoint.method == "GET" or endpoint.takes_body else f"-X {endpoint.method} "
    return f"curl {method}{URL}{path}" + (f" -d '{endpoint.example}'" if endpoint.takes_body else "")


def _records(schemas: Json) -> str:
    """Return the records of responses that are on no other page, with their fields."""
    wanted: list[str] = []
    todo = [one.reply.__name__ for group in GROUPS.values() for one in group if one.reply is not Empty]
    while todo:
        name = todo.pop(0)
        if name not in wanted and name not in ELSEWHERE:
            wanted.append(name)
            todo += re.findall(r"#/components/schemas/(\w+)", json.dumps(schemas[name]))
    parts = [
        f"#### {name}\n\n{wrapped(_linked(schemas[name]['description']))}\n\n"
        f"{table(['field', 'type', 'meaning'], _fields(schemas[name]))}"
        for name in sorted(wanted)
    ]
    introduction = bullets(
        [
            "A field marked with ? is omitted if it is empty.",
            "Times are epoch milliseconds, durations are seconds.",
        ]
    )
    return "\n\n".join(["### Records", introduction, *parts])
