"""WATCH and UNWATCH: the users and rooms that the session is notified about."""

from __future__ import annotations

from presenced.delivery.batch import Batch
from presenced.errors import Fault
from presenced.presence.subscriptions import MAX_ROOMS, MAX_WATCHED_USERS, Selection
from presenced.protocols.v1.checks import check_count, check_may_enter, room_names, user_ids
from presenced.protocols.v1.context import Context, handlers
from presenced.protocols.v1.messages import Unwatch, Watch


@handlers.handles(Watch)
def subscribe(context: Context, request: Watch) -> None:
    """Subscribe to users and rooms, by name or by count."""
    subscription, users, rooms = context.subscription, user_ids(request.users), room_names(request.rooms)
    check_may_enter(context.connection, rooms)
    check_count(len(subscription.users | users), MAX_WATCHED_USERS, "users", Fault.TOO_MANY_WATCHED)
    check_count(len(subscription.rooms | rooms), MAX_ROOMS, "rooms", Fault.TOO_MANY_ROOMS)
    context.ack()
    broadcaster, connection = context.parts.broadcaster, context.connection
    if request.mode == "count":
        with broadcaster.changing(connection):
            subscription.counted.add(request.everyone, users, rooms)
        # Counted users share one count, so a new one changes the count of them all. Each room has its own.
        counted = subscription.counted.users if users else set()
        _send_counts(context, Selection(request.everyone, counted, rooms))
        return
    everyone_is_new = request.everyone and not subscription.full.everyone
    new_users = users - subscription.full.users
    with broadcaster.changing(connection):
        subscription.full.add(request.everyone, users, rooms)
    # A room is sent again even if the session subscribes to it: the client may have had only its count, and expects its
    # members now.
    if everyone_is_new or new_users or rooms:
        snapshots = context.feed.snapshots_of(connection, everyone_is_new, tuple(new_users), rooms)
        broadcaster.insert(connection, snapshots)


@handlers.handles(Unwatch)
def unsubscribe(context: Context, request: Unwatch) -> None:
    """End subscriptions, by name and by count. The session stays subscribed to rooms that it has joined."""
    users, rooms = user_ids(request.users), room_names(request.rooms)
    subscription, joined = context.subscription, context.session.rooms or {}
    counts_fewer = not subscription.counted.users.isdisjoint(users)
    with context.parts.broadcaster.changing(context.connection):
        subscription.full.discard(request.everyone, users, rooms - joined.keys())
        subscription.counted.discard(request.everyone, users, rooms)
    context.ack()
    if counts_fewer and subscription.counted.users:
        _send_counts(context, Selection(users=subscription.counted.users))


def _send_counts(context: Context, named: Selection) -> None:
    """Send the counts that the request names. A client that is behind receives all its counts when it catches up."""
    feed, connection = context.feed, context.connection
    if not feed.keeps_up(connection):
        context.parts.broadcaster.remind(connection)
    elif counts := list(feed.digests.counts(connection, named)):
        connection.send_batch(Batch(counts))
