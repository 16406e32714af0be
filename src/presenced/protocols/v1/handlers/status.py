"""SET_STATUS and ACTIVITY: the status of the user, and whether the person at the device is active."""

from __future__ import annotations

from presenced.presence.status import choice_of
from presenced.protocols.v1.checks import check_text_and_emoji, data_of
from presenced.protocols.v1.context import Context, handlers
from presenced.protocols.v1.messages import Activity, SetStatus


@handlers.handles(SetStatus)
def choose_status(context: Context, request: SetStatus) -> None:
    """Apply the user's choice of status."""
    check_text_and_emoji(request.text, request.emoji)
    choice = choice_of(request.status, request.text, request.emoji, data_of(request.data))
    context.ack()
    outcome = context.parts.directory.choose(context.session.user_id, choice, context.now, request.expires_in)
    context.parts.publisher.apply(outcome, context.now)


@handlers.handles(Activity)
def set_activity(context: Context, request: Activity) -> None:
    """Set whether the person at this device is active or idle."""
    context.ack()
    active = request.state == "active"
    outcome = context.parts.directory.set_active(context.session.user_id, context.connection, active, context.now)
    context.parts.publisher.apply(outcome, context.now)
