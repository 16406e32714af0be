"""Processing of an API request, from its route to the function of its endpoint, and back.

| step | where | refusal |
|---|---|---|
| 1. `Host` | `middleware.HostGuard` | 421 |
| 2. CORS: preflight requests end here | `middleware.Cors` | 403 |
| 3. route: path and method, percent-encoded | Starlette, `routes_of` | 404, 405 |
| 4. origin, failures of the address, API key, scope | `Access.check` | 403, 429, 401 |
| 5. body: size, time | `read_body` | 413, 408 |
| 6. names in the path, parameters, fields of the body | `_validated` | 400 |
| 7. the function of the endpoint | `endpoint.handler` | any problem |
| 8. response: JSON, `ETag`, 304 | `_response` | |
| 9. metrics: count by route and status, duration | `_count` | |

Up to step 5 the body may still be in flight. A refusal is therefore raised, and `app` closes the connection with it.
From step 6 on a refusal is an ordinary response, and the connection stays open for the next request.

The clock is read in step 4, when only the head has arrived. It is read again in step 6, because the body may take
`BODY_TIMEOUT_S` in between. `ApiCall.now` is the moment at which the request happens. Later steps read the clock
again only if the request waited.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from time import perf_counter
from typing import Any, TypeVar
from urllib.parse import unquote, unquote_to_bytes

import msgspec
from msgspec import Struct
from msgspec.inspect import BoolType, ListType, type_info
from msgspec.json import Decoder
from msgspec.structs import fields
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router

from presenced.errors import (
    BadClaim,
    BadParameter,
    BadUserId,
    CapacityError,
    ConfigError,
    Problem,
    StorageUnavailable,
)
from presenced.http.api.endpoint import Api, ApiCall, Endpoint, Reply
from presenced.http.api.requests import Empty, checked_name
from presenced.http.api.routes import ENDPOINTS, TOKENS
from presenced.http.errors import RETRY_AFTER_S, ProblemError, json_response, problem_response
from presenced.presence.identity import parse_user_id
from presenced.runtime.metrics import Metrics
from presenced.runtime.strict_json import EXTENSION, explain_invalid, read, unknown_name_message

S = TypeVar("S", bound=Struct)

CLIENT_GONE = 499
"""Status in the metrics for a request whose client disconnected before its body was complete. nginx logs the same
status."""

BODY_TIMEOUT_S = 10.0
"""Seconds for a body to arrive. After that the request gets 408, and the connection ends."""

_EMPTY = Empty()


def api_mount(api: Api) -> Mount:
    """Return the API under `/api/v1`, and the endpoints that are also reachable under `/api`."""
    v1 = Router(routes_of(api, ENDPOINTS), redirect_slashes=False)
    return Mount("/api", app=Router([Mount("/v1", app=v1), *routes_of(api, TOKENS)], redirect_slashes=False))


def routes_of(api: Api, endpoints: Iterable[Endpoint]) -> list[Route]:
    """Return one route for each path.

    Paths without names come first. If no route has the method, Starlette's 405 lists the methods of the first path that
    matches. For `/users/query` these would otherwise be the methods of `/users/{user_id}`.
    """
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in sorted(endpoints, key=lambda e: e.path.count("{")):
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return [_route(api, path, methods) for path, methods in by_path.items()]


def _route(api: Api, path: str, methods: Mapping[str, Endpoint]) -> Route:
    async def respond(request: Request) -> Response:
        endpoint, started = methods["GET" if request.method == "HEAD" else request.method], perf_counter()
        try:
            response = await _respond(api, endpoint, request)
        except ClientDisconnect:  # not a fault of the server, so no traceback and no alert
            response = Response(status_code=CLIENT_GONE)  # nobody receives it
        except Exception as error:
            status = error.status_code if isinstance(error, ProblemError) else Problem.INTERNAL_ERROR.status
            _count(api.metrics, endpoint, status, started)
            raise
        _count(api.metrics, endpoint, response.status_code, started)
        return response

    return Route(path, respond, methods=list(methods))


def _count(metrics: Metrics, endpoint: Endpoint, status: int, started: float) -> None:
    metrics.api_answers.labels(endpoint.name, str(status)).inc()
    if not endpoint.streams:  # these wait on purpose, which would distort the durations
        metrics.api_seconds.labels(endpoint.name).observe(perf_counter() - started)


async def _respond(api: Api, endpoint: Endpoint, request: Request) -> Response:
    if endpoint.checks_access:
        api.access.check(request, endpoint.scope, api.clock.now())
    data = await read_body(request, endpoint.max_body_bytes)
    try:
        reply = await endpoint.handler(api, _validated(api, endpoint, request, data))
    except ProblemError as error:
        return problem_response(error.problem, error.detail, error.headers)
    except BadUserId as error:
        return problem_response(Problem.BAD_BODY, str(error))
    except (BadClaim, BadParameter) as error:
        problem = Problem.BAD_BODY if endpoint.takes_body else Problem.BAD_PARAMETER
        return problem_response(problem, str(error))
    except ConfigError as error:
        return problem_response(Problem.CONFLICT, str(error))
    except (CapacityError, StorageUnavailable) as error:
        return problem_response(Problem.UNAVAILABLE, str(error), {"retry-after": RETRY_AFTER_S})
    return reply if isinstance(reply, Response) else _response(endpoint, request, reply)


def _response(endpoint: Endpoint, request: Request, reply: Reply) -> Response:
    if not endpoint.conditional:
        return json_response(reply, endpoint.status)
    body = msgspec.json.encode(reply)
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"cache-control": "private, no-cache", "etag": tag, "vary": "Authorization"}
    if _is_known(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, endpoint.status, headers, "application/json")


def _is_known(request: Request, tag: str) -> bool:
    """Return whether the client has the response already (RFC 9110 section 13.1.2).

    Weak tags compare like strong ones.
    """
    given = ",".join(request.headers.getlist("if-none-match"))
    return any(known.strip().removeprefix("W/") in (tag, "*") for known in given.split(","))


# Reading a request.


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read the whole body.

    Raises:
        ProblemError: The body is larger than `max_bytes`, by its `Content-Length` or by its bytes, or it takes longer
            than `BODY_TIMEOUT_S`.
    """
    data = bytearray()
    too_large = ProblemError(Problem.BODY_TOO_LARGE, f"at most {max_bytes:,} bytes")
    if int(request.headers.get("content-length", "0")) > max_bytes:  # the parser of heads accepts only numbers
        raise too_large
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                data += part
                if len(data) > max_bytes:
                    raise too_large
    except TimeoutError:
        raise ProblemError(Problem.REQUEST_TIMEOUT, f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from None
    return bytes(data)


def _validated(api: Api, endpoint: Endpoint, request: Request, data: bytes) -> ApiCall[Any, Any]:
    path: Mapping[str, str] = request.path_params
    user_id = ""
    if "user_id" in path:
        # A DELETE may remove data that an earlier version, or another setting, allowed.
        placeholders = api.settings.placeholder_ids or endpoint.method == "DELETE"
        user_id = parse_user_id(decoded(path["user_id"]), placeholders)
    name = next((_name(decoded(value), key) for key, value in path.items() if key != "user_id"), "")
    body = _body(data, endpoint.body) if endpoint.takes_body else _EMPTY
    return ApiCall(request, api.clock.now(), user_id, name, parameters(request, endpoint.query), body)


def decoded(segment: str) -> str:
    """Return the name in a segment of a path, percent-decoded (`middleware.RawPaths`).

    Bytes that are not UTF-8 become lone surrogates, which no name may contain.
    """
    return unquote(segment, errors="surrogateescape")


def _name(text: str, what: str) -> str:
    try:
        return checked_name(text, what)
    except BadParameter as error:
        raise ProblemError(Problem.BAD_BODY, str(error)) from None


def parameters(request: Request, kind: type[S]) -> S:
    """Return the parameters of the URL.

    An empty parameter is refused, never treated as omitted. Otherwise `?viewer=` would respond without the restriction
    to a viewer.

    Raises:
        ProblemError: A parameter is unknown, empty, given twice or has an invalid value.
    """
    try:
        unquote_to_bytes(request.scope["query_string"]).decode()
    except UnicodeDecodeError:
        raise ProblemError(Problem.BAD_PARAMETER, "the parameters are not percent-encoded UTF-8") from None
    several, flags = _lists(kind), _flags(kind)
    given: dict[str, object] = {}
    for key, values in check_names(request, [f.encode_name for f in fields(kind)], several, may_be_empty=False).items():
        given[key] = values if key in several else values[0]
        if key in flags and values[0] not in ("true", "false"):  # msgspec takes 1 and TRUE, too
            raise ProblemError(Problem.BAD_PARAMETER, f"{key} must be true or false")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ProblemError(Problem.BAD_PARAMETER, explain_invalid(error, kind)) from None


def check_names(
    request: Request, known: Sequence[str], several: frozenset[str] = frozenset(), may_be_empty: bool = True
) -> dict[str, list[str]]:
    """Return the values of each parameter of the URL. The client's own parameters (`x-`) are left out.

    Args:
        known: Names of the parameters.
        several: Names that may be given more than once.
        may_be_empty: Whether a parameter may have an empty value.

    Raises:
        ProblemError: A parameter is unknown, empty or given twice. An ignored `viewer` would not restrict the response.
    """
    found = {}
    for key in request.query_params:
        if key.startswith(EXTENSION):
            continue
        if key not in known:
            raise ProblemError(Problem.BAD_PARAMETER, unknown_name_message(key, known, "parameter"))
        values = found[key] = request.query_params.getlist(key)
        if "" in values and not may_be_empty:
            raise ProblemError(Problem.BAD_PARAMETER, f"{key} is empty; give a value, or leave it out")
        if len(values) > 1 and key not in several:
            raise ProblemError(Problem.BAD_PARAMETER, f"{key} is given {len(values)} times; give it once")
    return found


@cache
def _lists(kind: type[Struct]) -> frozenset[str]:
    """Return the names of the parameters that may be given several times."""
    return frozenset(f.encode_name for f in fields(kind) if isinstance(type_info(f.type), ListType))


@cache
def _flags(kind: type[Struct]) -> frozenset[str]:
    """Return the names of the parameters that are true or false."""
    return frozenset(f.encode_name for f in fields(kind) if isinstance(type_info(f.type), BoolType))


def _body(data: bytes, kind: type[S]) -> S:
    """Return the body; an empty body counts as an empty object."""
    try:
        data.decode()  # msgspec validates UTF-8 only in the parts that become strings
        body: S = read(data or b"{}", _decoder(kind), kind)
        return body
    except UnicodeDecodeError as error:
        raise ProblemError(Problem.BAD_BODY, f"the body is not UTF-8, from byte {error.start} on") from None
    except msgspec.MsgspecError as error:
        raise ProblemError(Problem.BAD_BODY, str(error)) from None


@cache
def _decoder(kind: type[S]) -> Decoder[S]:
    return Decoder(kind)
