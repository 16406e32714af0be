"""The HTTP API for backends: `/api`."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from presenced.admission import Admission
from presenced.auth.tickets import LIFETIME, Tickets
from presenced.core.identity import parse_user_id
from presenced.engine import Engine
from presenced.errors import BadUserId, CapacityError, Problem
from presenced.http.access import Access
from presenced.http.answers import ProblemError, json_answer
from presenced.wire.classic import wire_user_id

MAX_BODY = 65_536
"""Bytes of a request's body."""

B = TypeVar("B", bound=Struct)


class NewTicket(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Body of `POST /api/tickets`."""

    user_id: int | str
    lasts: float | None = None
    """Seconds for which the connection may stay; for good when not given."""
    presence: Any = None
    """Whom the user may see, and where they may go: `auth.allowed.Allowed`."""


class Ticket(Struct, frozen=True, rename="camel"):
    """Answer to it."""

    ticket: str
    user_id: int | str
    expires_in: float
    """Seconds in which it can be used, once."""


class Revocation(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Body of `POST /api/users/{id}/revoke`; with neither, all of the user's tokens are meant."""

    session_id: str = ""
    """The token that this session came in with."""
    token_id: str = ""
    """The token with this `jti`."""


class Revoked(Struct, frozen=True, rename="camel"):
    """Answer to it."""

    closed: int
    """Connections that are being closed."""


def api_routes(engine: Engine, access: Access, tickets: Tickets) -> list[Route]:
    """The routes below `/api`."""

    async def new_ticket(request: Request) -> Response:
        access.check(request, "write")
        if engine.settings.auth != "ticket":
            detail = f"tickets are not taken here: the setting auth is {engine.settings.auth}, not ticket"
            raise ProblemError(Problem.CONFLICT, detail)
        body = await _body(request, NewTicket)
        if body.lasts is not None and not 0 < body.lasts <= engine.settings.token_lifetime:
            raise ProblemError(
                Problem.BAD_BODY, f"lasts must be above 0 and at most {engine.settings.token_lifetime:g}"
            )
        user_id, now = _user_id(body.user_id), engine.clock.now()
        try:
            ticket = tickets.issue(user_id, now.monotonic, now.epoch_ms / 1000, body.lasts, body.presence)
        except ValueError as error:
            raise ProblemError(Problem.BAD_BODY, f"presence: {error}") from None
        except CapacityError as error:
            raise ProblemError(Problem.UNAVAILABLE, str(error), {"retry-after": f"{LIFETIME:.0f}"}) from None
        return json_answer(Ticket(ticket, wire_user_id(user_id), LIFETIME), 201)

    async def revoke(request: Request) -> Response:
        access.check(request, "admin")
        if engine.admission is None:
            raise ProblemError(Problem.CONFLICT, "there are no tokens to revoke: the setting auth is none")
        user_id = _user_id(request.path_params["user_id"])
        body = await _body(request, Revocation)
        try:
            return json_answer(Revoked(_revoke(engine.admission, user_id, body)))
        except CapacityError as error:
            raise ProblemError(Problem.UNAVAILABLE, str(error), {"retry-after": "60"}) from None

    return [
        Route("/tickets", new_ticket, methods=["POST"]),
        Route("/users/{user_id}/revoke", revoke, methods=["POST"]),
    ]


def _revoke(admission: Admission[Any], user_id: str, body: Revocation) -> int:
    if body.session_id and body.token_id:
        raise ProblemError(Problem.BAD_BODY, "give sessionId or tokenId, not both")
    if body.session_id:
        return admission.revoke_session(user_id, body.session_id)
    if body.token_id:
        return admission.revoke_token(body.token_id)
    return admission.revoke_user(user_id)


def _user_id(value: int | str) -> str:
    try:
        return parse_user_id(value)
    except BadUserId as error:
        raise ProblemError(Problem.BAD_BODY, str(error)) from None


async def _body(request: Request, kind: type[B]) -> B:
    """The request's JSON; an empty body is an empty object."""
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MAX_BODY:
            raise ProblemError(Problem.BODY_TOO_LARGE, f"at most {MAX_BODY} bytes")
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ProblemError(Problem.BAD_BODY, str(error)) from None
