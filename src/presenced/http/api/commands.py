"""Endpoints that change something: announcements, statuses, claims, and the end of connections, tokens and users."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from presenced.auth.tickets import TICKET_LIFETIME_S
from presenced.errors import BadClaim, Problem
from presenced.http.api.endpoint import Api, ApiCall, Endpoint
from presenced.http.api.presence import user_record
from presenced.http.api.requests import Announcement, NewClaim, NewStatus, NewTicket, Nothing, Revocation
from presenced.http.api.responses import Announced, Claims, Cleared, ClosedConnections, Erased, Ticket, claim_record
from presenced.http.errors import ProblemError
from presenced.presence.identity import parse_user_id
from presenced.presence.model import Custom, Status
from presenced.presence.status import Claim, choice_of
from presenced.protocols.ids import wire_user_id
from presenced.protocols.requests import RequestRefused
from presenced.protocols.v1.checks import check_shown, data_of
from presenced.protocols.v1.messages import UserRecord


@Endpoint(
    "POST", "/users/{user_id}/announce", scope="write", problems=(Problem.UNAVAILABLE,), example='{"online": true}'
)
async def announce(api: Api, call: ApiCall[Nothing, Announcement]) -> Announced:
    """Announce a user known from elsewhere.

    An announcement holds until the opposite is announced. It adds presence and never removes it: with `false`, a
    user with an open connection stays online.
    """
    return Announced(api.service.announce(call.user_id, call.body.online, call.now))


@Endpoint("POST", "/users/{user_id}/disconnect", scope="write")
async def disconnect(api: Api, call: ApiCall[Nothing, Nothing]) -> ClosedConnections:
    """Close all connections of a user.

    The close code 4410 stops automatic reconnects of the clients. Event streams that the user's tokens opened end,
    too, and the stream of a ticket does not return. An announcement stays in force.
    """
    return ClosedConnections(api.service.disconnect(call.user_id, call.now))


@Endpoint(
    "PUT",
    "/users/{user_id}/status",
    scope="write",
    example='{"status": "busy", "text": "in a meeting", "expiresIn": 3600}',
)
async def set_status(api: Api, call: ApiCall[Nothing, NewStatus]) -> UserRecord:
    """Choose a status for a user.

    Has the same effect as a choice on one of the user's devices. The choice of an absent user is remembered. The
    response is what others see now.
    """
    body, custom = call.body, _custom(call.body)
    choice = choice_of(body.status, custom.text, custom.emoji, custom.data)
    api.service.set_status(call.user_id, choice, body.expires_in, call.now)
    return user_record(api, call.user_id)


@Endpoint("DELETE", "/users/{user_id}/status", scope="write")
async def clear_status(api: Api, call: ApiCall[Nothing, Nothing]) -> UserRecord:
    """Clear the status that a user chose.

    From now on the status is as detected, the same as after choosing `auto`. The response is what others see now.
    """
    api.service.set_status(call.user_id, None, now=call.now)
    return user_record(api, call.user_id)


@Endpoint("GET", "/users/{user_id}/claims", scope="read")
async def list_claims(api: Api, call: ApiCall[Nothing, Nothing]) -> Claims:
    """The claims about a user.

    The claims are in the order in which they were set.
    """
    found = [claim_record(claim) for claim in api.service.claims_of(call.user_id)]
    return Claims(wire_user_id(call.user_id), found)


@Endpoint(
    "PUT",
    "/users/{user_id}/claims/{source}",
    scope="write",
    problems=(Problem.UNAVAILABLE,),
    example='{"status": "busy", "text": "on the phone", "priority": 10, "expiresIn": 600}',
)
async def set_claim(api: Api, call: ApiCall[Nothing, NewClaim]) -> UserRecord:
    """Set a claim about a user.

    Replaces the previous claim of this source. A claim counts while the user is present and not invisible. The
    response is what others see now.
    """
    body = call.body
    claim = Claim(call.name, Status(body.status), _custom(body), body.priority)
    try:
        api.service.set_claim(call.user_id, claim, body.expires_in, call.now)
    except BadClaim as error:
        raise ProblemError(Problem.BAD_BODY, str(error)) from None
    return user_record(api, call.user_id)


@Endpoint("DELETE", "/users/{user_id}/claims/{source}", scope="write")
async def clear_claim(api: Api, call: ApiCall[Nothing, Nothing]) -> Cleared:
    """Clear a claim about a user.

    Clearing a claim again has no effect.
    """
    return Cleared(api.service.clear_claim(call.user_id, call.name, call.now))


@Endpoint("DELETE", "/users/{user_id}", scope="admin", problems=(Problem.UNAVAILABLE,))
async def erase(api: Api, call: ApiCall[Nothing, Nothing]) -> Erased:
    """Erase a user.

    Revokes the user's tokens, closes the connections, and deletes the announcement, the status, the claims, the
    display data and everything in the database. Clients that follow changes, and receivers of webhooks, learn that the
    user is offline. Of earlier changes, only the statuses stay in memory for a while. Erasing a user
    again has no effect.
    """
    user_id = call.user_id
    closed = 0 if api.gatekeeper is None else api.gatekeeper.revoke("user", user_id, call.now)
    closed += api.service.forget(user_id, call.now)
    stored = 0
    if api.storage is not None:
        stored = msgspec.json.decode(await api.storage.erase(user_id), type=dict[str, int])["stored"]
    return Erased(closed, stored)


@Endpoint(
    "POST",
    "/tickets",
    scope="write",
    problems=(Problem.CONFLICT, Problem.UNAVAILABLE),
    status=201,
    example='{"userId": 7}',
)
async def new_ticket(api: Api, call: ApiCall[Nothing, NewTicket]) -> Ticket:
    """Make a ticket, with which a client of a user connects once.

    Needs the setting auth = ticket (docs/explanation/security-model.md).
    """
    settings, body = api.settings, call.body
    if settings.auth != "ticket":
        raise ProblemError(
            Problem.CONFLICT, f"this server accepts no tickets: the setting auth is {settings.auth}, not ticket"
        )
    if body.lasts is not None and body.lasts > settings.token_lifetime:
        raise ProblemError(Problem.BAD_BODY, f"lasts must be above 0 and at most {settings.token_lifetime:g}")
    user_id = parse_user_id(body.user_id, settings.placeholder_ids)
    try:
        ticket = api.tickets.issue(user_id, call.now, body.lasts, None if body.presence is UNSET else body.presence)
    except ValueError as error:
        raise ProblemError(Problem.BAD_BODY, f"presence: {error}") from None
    return Ticket(ticket, wire_user_id(user_id), TICKET_LIFETIME_S)


@Endpoint(
    "POST", "/users/{user_id}/revoke", scope="admin", problems=(Problem.CONFLICT, Problem.UNAVAILABLE), example="{}"
)
async def revoke(api: Api, call: ApiCall[Nothing, Revocation]) -> ClosedConnections:
    """Revoke tokens of a user.

    Closes the connections that the tokens opened, and refuses the tokens from now on.
    """
    gatekeeper, body = api.gatekeeper, call.body
    if gatekeeper is None:
        raise ProblemError(Problem.CONFLICT, "there are no tokens to revoke: the setting auth is none")
    if body.session_id and body.token_id:
        raise ProblemError(Problem.BAD_BODY, "give sessionId or tokenId, not both")
    if body.session_id:
        return ClosedConnections(gatekeeper.revoke_session(call.user_id, body.session_id, call.now))
    if body.token_id:
        return ClosedConnections(gatekeeper.revoke("token", body.token_id, call.now))
    return ClosedConnections(gatekeeper.revoke("user", call.user_id, call.now))


def _custom(body: NewStatus | NewClaim) -> Custom:
    try:
        check_shown(body.text, body.emoji)
        return Custom(body.text, body.emoji, data_of(body.data))
    except RequestRefused as error:
        raise ProblemError(Problem.BAD_BODY, str(error)) from None
