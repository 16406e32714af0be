"""From a request to an endpoint's function and back: who may, what was asked, what is answered, how long it took."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from time import perf_counter
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Raw, Struct
from msgspec.inspect import ListType, type_info
from msgspec.json import Decoder, Encoder
from msgspec.structs import fields
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from presenced.errors import BadParameter, BadUserId, CapacityError, Problem, StorageUnavailable
from presenced.http.api.endpoint import AnyEndpoint, Api, Call, Reply
from presenced.http.api.parameters import Nothing
from presenced.http.api.segments import name
from presenced.http.errors import ProblemError, problem_answer, without_example
from presenced.presence.identity import parse_user_id
from presenced.presence.status import MAX_SOURCE_LENGTH
from presenced.protocols.v1.messages import MAX_ROOM_NAME
from presenced.runtime.metrics import Metrics
from presenced.runtime.strict_json import EXTENSION, explained, no_field, read
from presenced.runtime.text import refused_character

S = TypeVar("S", bound=Struct)

LONGEST = {"room": MAX_ROOM_NAME, "source": MAX_SOURCE_LENGTH}
"""Characters of the names in paths, beside those of users."""

CLIENT_GONE = 499
"""Status in the metrics for a request whose client disconnected before its body was complete. nginx logs the same
one."""

BODY_PATIENCE = 10.0
"""Seconds for a body to arrive."""

_encoder = Encoder()
_NOTHING = Nothing()


def routes(api: Api, endpoints: Iterable[AnyEndpoint]) -> list[Route]:
    """One for each path, those without names first: they name their methods when they are asked by another."""
    by_path: dict[str, dict[str, AnyEndpoint]] = {}
    for endpoint in sorted(endpoints, key=lambda e: e.path.count("{")):
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return [_route(api, path, methods) for path, methods in by_path.items()]


def _route(api: Api, path: str, methods: Mapping[str, AnyEndpoint]) -> Route:
    metrics = api.node.metrics

    async def answer(request: Request) -> Response:
        endpoint, started = methods["GET" if request.method == "HEAD" else request.method], perf_counter()
        try:
            response = await _answer(api, endpoint, request)
        except ProblemError as error:
            _count(metrics, endpoint, error.status_code, started)
            raise
        except ClientDisconnect:  # not a server fault: no traceback, and no alert
            _count(metrics, endpoint, CLIENT_GONE, started)
            return Response(status_code=CLIENT_GONE)  # nobody receives it
        except Exception:
            _count(metrics, endpoint, Problem.INTERNAL_ERROR.status, started)
            raise
        _count(metrics, endpoint, response.status_code, started)
        return response

    return Route(path, answer, methods=list(methods))


def _count(metrics: Metrics, endpoint: AnyEndpoint, status: int, started: float) -> None:
    metrics.api_answers.labels(endpoint.name, str(status)).inc()
    if not endpoint.streams:  # those wait on purpose
        metrics.api_seconds.labels(endpoint.name).observe(perf_counter() - started)


async def _answer(api: Api, endpoint: AnyEndpoint, request: Request) -> Response:
    """Problems found before the body is read are raised, which closes the connection: the body may be on its way."""
    if endpoint.checks_access:
        api.access.check(request, endpoint.scope)
    data = await read_body(request, endpoint.max_body)
    try:
        call = _call(api, endpoint, request, data)
        reply = await endpoint.handler(api, call)
    except ProblemError as error:
        return problem_answer(error.problem, error.detail, error.headers)
    except BadUserId as error:
        return problem_answer(Problem.BAD_BODY, without_example(error))
    except BadParameter as error:
        return problem_answer(Problem.BAD_PARAMETER, str(error))
    except (CapacityError, StorageUnavailable) as error:
        return problem_answer(Problem.UNAVAILABLE, str(error), {"retry-after": "5"})
    return reply if isinstance(reply, Response) else _json(endpoint, request, reply)


def _json(endpoint: AnyEndpoint, request: Request, reply: Reply) -> Response:
    body = bytes(reply) if isinstance(reply, Raw) else _encoder.encode(reply)
    if not endpoint.conditional:
        return Response(body, endpoint.status, {"cache-control": "no-store"}, "application/json")
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"cache-control": "private, no-cache", "etag": tag, "vary": "Authorization"}
    if _has(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, endpoint.status, headers, "application/json")


def _has(request: Request, tag: str) -> bool:
    """Whether the client has it already (RFC 9110 section 13.1.2); a weak tag compares as a strong one."""
    given = ",".join(request.headers.getlist("if-none-match"))
    return any(known.strip().removeprefix("W/") in (tag, "*") for known in given.split(","))


# What was asked.


def _call(api: Api, endpoint: AnyEndpoint, request: Request, data: bytes) -> Call[Any, Any]:
    path: Mapping[str, str] = request.path_params
    user_id = ""
    if "user_id" in path:
        # A DELETE may remove data that an earlier version, or another setting, allowed.
        placeholders = api.node.settings.placeholder_ids or endpoint.method == "DELETE"
        user_id = parse_user_id(name(path["user_id"]), placeholders)
    other = next((_name(name(value), key) for key, value in path.items() if key != "user_id"), "")
    body = _decoded(data, endpoint.body) if endpoint.takes_body else _NOTHING
    return Call(request, user_id, other, parameters(request, endpoint.query), body)


def _name(text: str, what: str) -> str:
    if not 0 < len(text) <= (most := LONGEST[what]):
        raise ProblemError(Problem.BAD_BODY, f"the name of a {what} has 1 to {most} characters")
    if character := refused_character(text):
        raise ProblemError(Problem.BAD_BODY, f"the name of a {what} must not contain {character}")
    return text


def parameters(request: Request, kind: type[S]) -> S:
    """Return the query of the URL.

    An empty parameter is refused, never treated as omitted. Otherwise `?viewer=` would respond without the restriction
    to a viewer.

    Raises:
        ProblemError: A parameter is unknown, empty, given twice or has an invalid value.
    """
    try:
        unquote_to_bytes(request.scope["query_string"]).decode()
    except UnicodeDecodeError:
        raise ProblemError(Problem.BAD_PARAMETER, "the parameters are not percent-encoded UTF-8") from None
    several, known = _lists(kind), [f.encode_name for f in fields(kind)]
    given: dict[str, object] = {}
    for key in request.query_params:
        if key.startswith(EXTENSION):
            continue
        if key not in known:
            raise ProblemError(Problem.BAD_PARAMETER, no_field(key, known, "parameter"))
        values = request.query_params.getlist(key)
        if "" in values:
            raise ProblemError(Problem.BAD_PARAMETER, f"{key} is empty; give a value, or leave it out")
        if key in several:
            given[key] = values
        elif len(values) > 1:
            raise ProblemError(Problem.BAD_PARAMETER, f"{key} is given {len(values)} times; give it once")
        else:
            given[key] = values[0]
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ProblemError(Problem.BAD_PARAMETER, explained(error, kind)) from None


@cache
def _lists(kind: type[Struct]) -> frozenset[str]:
    """The names of the parameters that may be given several times."""
    return frozenset(f.encode_name for f in fields(kind) if isinstance(type_info(f.type), ListType))


def _decoded(data: bytes, kind: type[S]) -> S:
    """Return the body; an empty body counts as an empty object."""
    try:
        data.decode()  # msgspec looks at those parts only that it makes texts of
        body: S = read(data or b"{}", _decoder(kind), kind)
        return body
    except UnicodeDecodeError as error:
        raise ProblemError(Problem.BAD_BODY, f"the body is not UTF-8, from byte {error.start} on") from None
    except msgspec.MsgspecError as error:
        raise ProblemError(Problem.BAD_BODY, str(error)) from None


@cache
def _decoder(kind: type[S]) -> Decoder[S]:
    return Decoder(kind)


async def read_body(request: Request, most: int) -> bytes:
    """The whole body.

    Raises:
        ProblemError: It has more than `most` bytes, or says so, or takes longer than `BODY_PATIENCE`.
    """
    data = bytearray()
    too_large = ProblemError(Problem.BODY_TOO_LARGE, f"at most {most:,} bytes")
    if int(request.headers.get("content-length", "0")) > most:  # a number: the parser has looked
        raise too_large
    try:
        async with asyncio.timeout(BODY_PATIENCE):
            async for part in request.stream():
                data += part
                if len(data) > most:
                    raise too_large
    except TimeoutError:
        raise ProblemError(
            Problem.REQUEST_TIMEOUT, f"the body did not arrive within {BODY_PATIENCE:g} s", {"connection": "close"}
        ) from None
    return bytes(data)
