"""The core's records as they are answered."""

from __future__ import annotations

from typing import Literal, cast

from msgspec import Raw

from presenced.http.api.responses import ChangeRecord, ClaimRecord
from presenced.presence.model import Change, Custom, View
from presenced.presence.status import Claim
from presenced.protocols.ids import wire_user_id
from presenced.protocols.v1 import codec as v1


def json_of(custom: Custom) -> Raw | None:
    """What goes with a status beside its text."""
    return Raw(custom.data) if custom.data else None


def display_of(view: View) -> Raw | None:
    """What tokens of the user give for others to see."""
    return Raw(view.display) if view.display else None


def change_record(change: Change, cause: str = "") -> ChangeRecord:
    """A change.

    Args:
        cause: The true one, for those who may know who is invisible.
    """
    custom = change.view.custom
    return ChangeRecord(
        wire_user_id(change.user_id),
        change.status,
        change.was,
        change.version,
        cause or v1.shown_cause(change),
        change.at.epoch_ms,
        change.since_ms,
        change.seen_ms,
        custom.text,
        custom.emoji,
        json_of(custom),
        custom.until_ms,
        change.view.devices,
        display_of(change.view),
    )


def claim_record(claim: Claim) -> ClaimRecord:
    """A claim."""
    custom = claim.custom
    return ClaimRecord(
        claim.source,
        cast(Literal["online", "away", "busy"], claim.status.value),  # one of `presence.claims.CLAIMABLE`
        claim.priority,
        claim.set_ms,
        custom.text,
        custom.emoji,
        json_of(custom),
        custom.until_ms,
    )
