"""What a backend tells: announcements, statuses, claims; and the end of connections, tokens and users."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from presenced.auth.gatekeeper import Gatekeeper
from presenced.auth.tickets import LIFETIME
from presenced.errors import BadClaim, Problem
from presenced.http.api.endpoint import Api, Call
from presenced.http.api.parameters import Announcement, NewClaim, NewStatus, NewTicket, Nothing, Revocation
from presenced.http.api.records import claim_record
from presenced.http.api.responses import Announced, Claims, Cleared, Disconnected, Erased, Revoked, Ticket
from presenced.http.api.viewing import Eyes
from presenced.http.errors import ProblemError
from presenced.node.requests import BadRequest, check_shown, data_of
from presenced.presence.identity import parse_user_id
from presenced.presence.model import Custom, Status
from presenced.presence.status import Claim, choice_of
from presenced.protocols.ids import wire_user_id
from presenced.protocols.v1.messages import UserRecord


async def announce(api: Api, call: Call[Nothing, Announcement]) -> Announced:
    """It can add presence, never take it from an open connection: with `false`, a user who has one stays online."""
    return Announced(api.application.announce(call.user_id, call.body.online))


async def disconnect(api: Api, call: Call[Nothing, Nothing]) -> Disconnected:
    """Close code 4410 stops automatic reconnects of their clients. Event streams that their tokens opened end, too, and
    a ticket's stream does not return. An announcement stays in force."""
    return Disconnected(api.application.disconnect(call.user_id))


async def set_status(api: Api, call: Call[Nothing, NewStatus]) -> UserRecord:
    """As the user's own devices can; of one who is not there it is remembered. The answer is what others see now."""
    body, custom = call.body, _custom(call.body)
    choice = choice_of(body.status, custom.text, custom.emoji, custom.data)
    api.application.set_status(call.user_id, choice, body.expires_in)
    return _shown(api, call.user_id)


async def clear_status(api: Api, call: Call[Nothing, Nothing]) -> UserRecord:
    """The status is as detected from now on, the same as after choosing `auto`. The response is what others see now."""
    api.application.set_status(call.user_id, None)
    return _shown(api, call.user_id)


async def list_claims(api: Api, call: Call[Nothing, Nothing]) -> Claims:
    """In the order in which they were set."""
    found = [claim_record(claim) for claim in api.application.claims_of(call.user_id)]
    return Claims(wire_user_id(call.user_id), found)


async def set_claim(api: Api, call: Call[Nothing, NewClaim]) -> UserRecord:
    """It takes the place of what this source said before, and counts while the user is there and not invisible. The
    answer is what others see now."""
    body = call.body
    claim = Claim(call.name, Status(body.status), _custom(body), body.priority)
    try:
        api.application.set_claim(call.user_id, claim, body.expires_in)
    except BadClaim as error:
        raise ProblemError(Problem.BAD_BODY, str(error)) from None
    return _shown(api, call.user_id)


async def clear_claim(api: Api, call: Call[Nothing, Nothing]) -> Cleared:
    """Again and again, if need be."""
    return Cleared(api.application.clear_claim(call.user_id, call.name))


async def new_ticket(api: Api, call: Call[Nothing, NewTicket]) -> Ticket:
    """For the setting auth = ticket: docs/security.md."""
    settings, body = api.node.settings, call.body
    if settings.auth != "ticket":
        raise ProblemError(
            Problem.CONFLICT, f"tickets are not taken here: the setting auth is {settings.auth}, not ticket"
        )
    if body.lasts is not None and body.lasts > settings.token_lifetime:
        raise ProblemError(Problem.BAD_BODY, f"lasts must be above 0 and at most {settings.token_lifetime:g}")
    user_id, now = parse_user_id(body.user_id, settings.placeholder_ids), api.node.clock.now()
    try:
        ticket = api.tickets.issue(
            user_id, now.monotonic, now.epoch_ms / 1000, body.lasts, None if body.presence is UNSET else body.presence
        )
    except ValueError as error:
        raise ProblemError(Problem.BAD_BODY, f"presence: {error}") from None
    return Ticket(ticket, wire_user_id(user_id), LIFETIME)


async def revoke(api: Api, call: Call[Nothing, Revocation]) -> Revoked:
    """What came in by them is closed; they are accepted no longer: docs/security.md."""
    if api.node.gatekeeper is None:
        raise ProblemError(Problem.CONFLICT, "there are no tokens to revoke: the setting auth is none")
    return Revoked(_revoke(api.node.gatekeeper, call.user_id, call.body))


def _revoke(gatekeeper: Gatekeeper[Any], user_id: str, body: Revocation) -> int:
    if body.session_id and body.token_id:
        raise ProblemError(Problem.BAD_BODY, "give sessionId or tokenId, not both")
    if body.session_id:
        return gatekeeper.revoke_session(user_id, body.session_id)
    if body.token_id:
        return gatekeeper.revoke_token(body.token_id)
    return gatekeeper.revoke_user(user_id)


async def erase(api: Api, call: Call[Nothing, Nothing]) -> Erased:
    """All that is known of a user is forgotten: tokens made until now, connections, announcement, status, claims,
    display data, and what is kept. Those who follow changes, and receivers of webhooks, are told that they are offline;
    of their earlier changes the statuses alone stay in memory for a while: docs/security.md. Done again, it does no
    harm."""
    user_id = call.user_id
    closed = 0 if api.node.gatekeeper is None else api.node.gatekeeper.revoke_user(user_id)
    closed += api.application.forget(user_id)
    stored = 0
    if api.archive is not None:
        stored = msgspec.json.decode(await api.archive.erase(user_id), type=_Stored).stored
    return Erased(closed, stored)


class _Stored(msgspec.Struct):
    stored: int


def _shown(api: Api, user_id: str) -> UserRecord:
    (record,) = Eyes(api, None).records([user_id])
    return record


def _custom(body: NewStatus | NewClaim) -> Custom:
    try:
        check_shown(body.text, body.emoji)
        return Custom(body.text, body.emoji, data_of(body.data))
    except BadRequest as error:
        raise ProblemError(Problem.BAD_BODY, str(error)) from None
