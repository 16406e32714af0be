"""Endpoints of the HTTP API: a decorator that describes the function below it, and what such a function works with.

    @Endpoint("GET", "/users/{user_id}", scope="read")
    async def get_user(api: Api, call: ApiCall[ViewerParams, Empty]) -> UserRecord: ...

The types of the parameters, the body and the response are those of the function's annotations. The first line of its
docstring is the summary in the documentation, and the rest is the description. `routes` lists all endpoints, `dispatch`
calls them, and `tools/docs/openapi.py` writes the same types down as OpenAPI. The document therefore matches the
server, and a test with schemathesis checks that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar, get_args, get_type_hints

from msgspec import Raw, Struct
from starlette.requests import Request
from starlette.responses import Response

from presenced.auth.api_keys import Scope
from presenced.auth.resumable_streams import ResumableStreams
from presenced.errors import Problem
from presenced.http.api.latest_changes import SpanCache
from presenced.http.api.requests import Empty
from presenced.http.auth import Access
from presenced.http.waiting import WaitingRequests
from presenced.node.node import Node
from presenced.node.service import PresenceService
from presenced.runtime.instant import Instant

MAX_BODY_BYTES = 65_536
"""Maximum number of bytes of a request's body unless the endpoint sets another one. A larger body gets 413."""

LARGE_BODY_BYTES = 1_048_576
"""Maximum number of bytes of a body that names a thousand users. A larger body gets 413."""

Q = TypeVar("Q", bound=Struct)
B = TypeVar("B", bound=Struct)


class Api:
    """Parts of the server that endpoints work with.

    Raises:
        ConfigError: As for `Access`.
    """

    def __init__(self, node: Node, service: PresenceService) -> None:
        self.service = service
        self.settings = node.settings
        self.clock = node.clock
        self.metrics = node.metrics
        self.gatekeeper = node.gatekeeper
        """None if authentication is off."""
        self.access = Access(node, service)
        self.waiting = WaitingRequests(service.on_change, node.metrics.api_followers.set)
        """Long polls and event streams, which the server ends when it stops."""
        self.resumable_streams = ResumableStreams(service.tickets, node.settings.token_lifetime)
        self.latest_changes = SpanCache(service, node.settings.journal_size)


@dataclass(frozen=True, slots=True)
class ApiCall(Generic[Q, B]):
    """One validated request."""

    request: Request
    now: Instant
    """Moment at which the request was complete."""
    user_id: str
    """User id in the path; empty if the path has none."""
    name: str
    """Name of the room or the source in the path; empty if the path has none."""
    query: Q
    body: B


Reply = Struct | Raw | Response
"""Result of an endpoint: a record, finished JSON, or a finished response."""

EndpointHandler = Callable[[Api, ApiCall[Q, B]], Awaitable[Reply]]


async def _undefined(api: Api, call: ApiCall[Any, Any]) -> Reply:
    raise AssertionError("the decorator has no function")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Decorator that makes the function below it one method of one path under `/api/v1`."""

    method: Literal["GET", "POST", "PUT", "DELETE"] = field(kw_only=False)
    path: str = field(kw_only=False)
    scope: Scope
    problems: tuple[Problem, ...] = ()
    """Problems that the endpoint may respond with, besides those of every endpoint."""
    status: int = 200
    conditional: bool = False
    """Send an `ETag`, and 304 to a client that has the same response already."""
    is_destructive: bool = False
    """Its effect cannot be undone. The documentation page asks before it sends such a request."""
    streams: bool = False
    """Send Server-Sent Events if the request accepts `text/event-stream`."""
    checks_access: bool = True
    """False: the function checks access itself, because it accepts more than API keys."""
    max_body_bytes: int = MAX_BODY_BYTES
    example: str = ""
    """Example of the body, as JSON."""
    example_query: str = ""
    reply: type[Struct] = Empty
    """Type of the JSON response. It is given where the function returns finished JSON or a response instead."""
    handler: EndpointHandler[Any, Any] = _undefined
    query: type[Struct] = Empty
    body: type[Struct] = Empty

    def __call__(self, handler: EndpointHandler[Q, B]) -> Endpoint:
        """Return the endpoint with its function, and with the types of the function's annotations."""
        hints = get_type_hints(handler)
        query, body = get_args(hints["call"])
        reply = hints["return"] if self.reply is Empty else self.reply
        return replace(self, handler=handler, query=query, body=body, reply=reply)

    @property
    def name(self) -> str:
        """Label in metrics. The template of the path keeps their number bounded."""
        return f"{self.method} {self.path}"

    @property
    def takes_body(self) -> bool:
        """Whether the body has any fields."""
        return self.body is not Empty
