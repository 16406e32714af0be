"""JOIN, SET_MEMBER and LEAVE: membership of rooms."""

from __future__ import annotations

from presenced.errors import Fault
from presenced.presence.subscriptions import MAX_ROOMS
from presenced.protocols.requests import RequestRefused
from presenced.protocols.v1.checks import check_count, check_may_enter, data_of, room_names
from presenced.protocols.v1.context import Context, handlers
from presenced.protocols.v1.messages import Join, Leave, SetMember


@handlers.handles(Join, SetMember)
def join(context: Context, request: Join | SetMember) -> None:
    """Join a room and subscribe to it, or change the member's data."""
    [name], session = room_names([request.room]), context.session
    subscription, joined = context.subscription, session.rooms or {}
    if isinstance(request, SetMember) and name not in joined:
        raise RequestRefused(Fault.NOT_A_MEMBER, f"this session is not in the room {name}; JOIN it first")
    check_may_enter(context.connection, {name})
    data = data_of(request.data)
    check_count(len(subscription.rooms | {name}), MAX_ROOMS, "rooms", Fault.TOO_MANY_ROOMS)
    # A session that has joined keeps its place, although others do not see an invisible user as a member.
    if name not in joined and not context.parts.rooms.has_place(name, session.user_id, session.visibility.blocked):
        raise RequestRefused(Fault.ROOM_FULL, f"the room {name} has as many members as a room may have")
    context.ack()
    context.parts.rooms.join(session, name, data, context.now)
    context.parts.publisher.update_rooms(session.user_id, context.now)
    if name not in subscription.full.rooms:
        broadcaster, connection = context.parts.broadcaster, context.connection
        with broadcaster.changing(connection):  # after the join above, which the snapshot shows
            subscription.full.rooms.add(name)
        broadcaster.insert(connection, context.feed.snapshots_of(connection, False, (), (name,)))


@handlers.handles(Leave)
def leave(context: Context, request: Leave) -> None:
    """Leave a room and end the subscription to it."""
    [name], session = room_names([request.room]), context.session
    if name not in (session.rooms or {}):
        raise RequestRefused(Fault.NOT_A_MEMBER, f"this session is not in the room {name}")
    with context.parts.broadcaster.changing(context.connection):
        context.subscription.full.rooms.discard(name)
    context.parts.rooms.leave(session, name)
    context.ack()
    context.parts.publisher.update_rooms(session.user_id, context.now)
