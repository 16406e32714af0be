"""Endpoints that change something: announcements, statuses, claims, and the end of connections, tokens and users.

In a cluster, each of them responds when all nodes have the change (`http.api.agreement`).
"""

from __future__ import annotations

from msgspec import UNSET
from msgspec.structs import replace

from presenced.auth.tickets import TICKET_LIFETIME_S
from presenced.errors import BadParameter, Problem
from presenced.http.api.agreement import wait_for_agreement
from presenced.http.api.endpoint import Api, ApiCall, Endpoint
from presenced.http.api.presence import record_of_user
from presenced.http.api.requests import Announcement, Empty, NewClaim, NewStatus, NewTicket, Revocation
from presenced.http.api.responses import (
    AnnounceResult,
    Claims,
    ClearClaimResult,
    ClosedConnections,
    EraseResult,
    Ticket,
    claim_record,
)
from presenced.presence.identity import parse_user_id
from presenced.presence.model import Choice, Status, StatusDetails
from presenced.presence.status import Claim, choice_of
from presenced.protocols.ids import wire_user_id
from presenced.protocols.requests import RequestRefused
from presenced.protocols.v1.checks import check_text_and_emoji, data_of
from presenced.protocols.v1.messages import UserRecord


@Endpoint(
    "POST", "/users/{user_id}/announce", scope="write", problems=(Problem.UNAVAILABLE,), example='{"online": true}'
)
async def announce(api: Api, call: ApiCall[Empty, Announcement]) -> AnnounceResult:
    """Announce a user known from elsewhere.

    An announcement holds until the opposite is announced. It adds presence and never removes it: with `false`, a
    user with an open connection stays online.
    """
    before = api.service.view_of(call.user_id)
    changed = api.service.announce(call.user_id, call.body.online, call.now)
    mark = await wait_for_agreement(api, call.user_id)
    return AnnounceResult(changed or api.service.view_of(call.user_id) != before, mark)


@Endpoint("POST", "/users/{user_id}/disconnect", scope="write", problems=(Problem.UNAVAILABLE,), is_destructive=True)
async def disconnect(api: Api, call: ApiCall[Empty, Empty]) -> ClosedConnections:
    """Close all connections of a user.

    The close code 4410 stops automatic reconnects of the clients. Event streams that the user's tokens opened end,
    too, and the stream of a ticket does not return. An announcement stays in force.
    """
    closed = api.service.disconnect(call.user_id, call.now)
    return ClosedConnections(closed, await wait_for_agreement(api, call.user_id))


@Endpoint(
    "PUT",
    "/users/{user_id}/status",
    scope="write",
    problems=(Problem.UNAVAILABLE,),
    example='{"status": "busy", "text": "in a meeting", "expiresIn": 3600}',
)
async def set_status(api: Api, call: ApiCall[Empty, NewStatus]) -> UserRecord:
    """Choose a status for a user.

    Has the same effect as a choice on one of the user's devices. The choice of an absent user is remembered. The
    response is what others see now.
    """
    api.service.set_status(call.user_id, choice_in(call.body), call.body.expires_in, call.now)
    return await _shown(api, call.user_id)


@Endpoint("DELETE", "/users/{user_id}/status", scope="write", problems=(Problem.UNAVAILABLE,), is_destructive=True)
async def clear_status(api: Api, call: ApiCall[Empty, Empty]) -> UserRecord:
    """Clear the status that a user chose.

    From now on the status is as detected, the same as after choosing `auto`. The response is what others see now.
    """
    api.service.set_status(call.user_id, None, now=call.now)
    return await _shown(api, call.user_id)


@Endpoint("GET", "/users/{user_id}/claims", scope="read")
async def list_claims(api: Api, call: ApiCall[Empty, Empty]) -> Claims:
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
async def set_claim(api: Api, call: ApiCall[Empty, NewClaim]) -> UserRecord:
    """Set a claim about a user.

    Replaces the previous claim of this source. A claim counts while the user is present and not invisible. The
    response is what others see now.
    """
    api.service.set_claim(call.user_id, claim_in(call.name, call.body), call.body.expires_in, call.now)
    return await _shown(api, call.user_id)


@Endpoint(
    "DELETE", "/users/{user_id}/claims/{source}", scope="write", problems=(Problem.UNAVAILABLE,), is_destructive=True
)
async def clear_claim(api: Api, call: ApiCall[Empty, Empty]) -> ClearClaimResult:
    """Clear a claim about a user.

    Clearing a claim again has no effect.
    """
    cleared = api.service.clear_claim(call.user_id, call.name, call.now)
    return ClearClaimResult(cleared, await wait_for_agreement(api, call.user_id))


@Endpoint("DELETE", "/users/{user_id}", scope="admin", problems=(Problem.UNAVAILABLE,), is_destructive=True)
async def erase(api: Api, call: ApiCall[Empty, Empty]) -> EraseResult:
    """Erase a user.

    Revokes the user's tokens, closes the connections, and deletes the announcement, the status, the claims, the
    display data, the time last seen and everything in the database. Clients that follow changes, and receivers of
    webhooks, learn that the user is offline. Of the changes, only the statuses, causes and times stay in memory for a
    while. Erasing a user again has no effect.
    """
    erasure = await api.service.erase(call.user_id, call.now)
    return EraseResult(erasure.closed, erasure.stored, await wait_for_agreement(api, call.user_id))


@Endpoint(
    "POST",
    "/tickets",
    scope="write",
    problems=(Problem.CONFLICT, Problem.UNAVAILABLE),
    status=201,
    example='{"userId": 7}',
)
async def new_ticket(api: Api, call: ApiCall[Empty, NewTicket]) -> Ticket:
    """Make a ticket with which a client of a user can connect once.

    Needs the setting auth = ticket (docs/explanation/security-model.md).
    """
    body = call.body
    user_id = parse_user_id(body.user_id, api.settings.placeholder_ids)
    grants = None if body.presence is UNSET else body.presence
    ticket = api.service.issue_ticket(user_id, body.lasts, grants, call.now)
    return Ticket(ticket, wire_user_id(user_id), TICKET_LIFETIME_S)


@Endpoint(
    "POST",
    "/users/{user_id}/revoke",
    scope="admin",
    problems=(Problem.CONFLICT, Problem.UNAVAILABLE),
    is_destructive=True,
    example="{}",
)
async def revoke(api: Api, call: ApiCall[Empty, Revocation]) -> ClosedConnections:
    """Revoke tokens of a user.

    Closes the connections that the tokens opened, and refuses the tokens from now on.
    """
    session_id, token_id = call.body.session_id or "", call.body.token_id or ""
    closed = api.service.revoke(call.user_id, session_id, token_id, call.now)
    return ClosedConnections(closed, await wait_for_agreement(api, call.user_id))


async def _shown(api: Api, user_id: str) -> UserRecord:
    """Return what others see of a user after a command."""
    mark = await wait_for_agreement(api, user_id)
    record = record_of_user(api.service, user_id)
    return replace(record, certainty=mark) if mark else record


# Values from bodies, for the Python interface, too.


def choice_in(body: NewStatus) -> Choice:
    """Return the choice that a request describes.

    Raises:
        BadParameter: Its text, emoji or data is invalid.
    """
    details = _details(body)
    return choice_of(body.status, details.text, details.emoji, details.data)


def claim_in(source: str, body: NewClaim) -> Claim:
    """Return the claim that a request describes.

    Raises:
        BadParameter: Its text, emoji or data is invalid.
    """
    return Claim(source, Status(body.status), _details(body), body.priority)


def _details(body: NewStatus | NewClaim) -> StatusDetails:
    try:
        check_text_and_emoji(body.text, body.emoji)
        return StatusDetails(body.text, body.emoji, data_of(body.data))
    except RequestRefused as error:
        raise BadParameter(str(error)) from None
