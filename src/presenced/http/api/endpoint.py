"""What an endpoint is: where it is, who may ask it what, what it answers, and the function that does so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from msgspec import Raw, Struct
from starlette.requests import Request
from starlette.responses import Response

from presenced.auth.api_keys import Scope
from presenced.auth.resumable_streams import ResumableStreams
from presenced.auth.tickets import Tickets
from presenced.errors import Problem
from presenced.http.api.archive import Archive, Letters
from presenced.http.api.followers import Followers
from presenced.http.api.parameters import Nothing
from presenced.http.api.spans import Spans
from presenced.http.auth import Access
from presenced.node.node import Node
from presenced.node.service import PresenceService

MAX_BODY = 65_536
"""Bytes of a request's body, where the endpoint does not say otherwise."""

Q = TypeVar("Q", bound=Struct)
B = TypeVar("B", bound=Struct)


@dataclass(frozen=True, slots=True)
class Api:
    """What endpoints work with."""

    application: PresenceService
    node: Node
    access: Access
    tickets: Tickets
    resumable_streams: ResumableStreams
    followers: Followers
    spans: Spans
    archive: Archive | None
    """None: nothing is kept."""
    letters: Letters | None
    """None: no webhooks are sent."""


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """One question, checked."""

    request: Request
    user_id: str
    """Of the path; empty where it has none."""
    name: str
    """The other name in the path, a room's or a source's."""
    query: Q
    body: B


Reply = Struct | Raw | Response
"""A record, JSON as it came, or a finished response."""


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[Q, B]):
    """One method of one path below `/api/v1`."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    scope: Scope
    handler: Callable[[Api, Call[Q, B]], Awaitable[Reply]]
    query: type[Q]
    body: type[B]
    reply: type[Struct]
    summary: str
    """One sentence; what is to be known beyond it stands in the handler's docstring."""
    group: str
    problems: tuple[Problem, ...] = ()
    """Besides those that every endpoint has."""
    status: int = 200
    conditional: bool = False
    """It has an ETag, and answers 304 to who has it already."""
    streams: bool = False
    """It answers Server-Sent Events when asked for `text/event-stream`."""
    checks_access: bool = True
    """False: the handler does, because more than keys are taken."""
    max_body: int = MAX_BODY
    example: str = ""
    """Of the body, as JSON."""
    example_query: str = ""

    @property
    def name(self) -> str:
        """In metrics and errors: bounded, for it is the template."""
        return f"{self.method} {self.path}"

    @property
    def operation(self) -> str:
        """For programs that make clients."""
        return self.handler.__name__

    @property
    def takes_body(self) -> bool:
        """Whether there is anything in it."""
        return self.body is not Nothing

    def every_problem(self) -> tuple[Problem, ...]:
        """All that it may answer with."""
        found = [*self.problems, Problem.TOO_MANY_REQUESTS, Problem.FORBIDDEN_ORIGIN, Problem.MISDIRECTED]
        if self.checks_access:
            found += [Problem.UNAUTHORIZED, Problem.FORBIDDEN]
        found.append(Problem.BAD_PARAMETER)
        if self.takes_body or "{" in self.path:
            found.append(Problem.BAD_BODY)
        found += [Problem.BODY_TOO_LARGE, Problem.HEAD_TOO_LARGE]
        return tuple(dict.fromkeys(found))


AnyEndpoint = Endpoint[Any, Any]
