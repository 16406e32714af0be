"""All endpoints of the HTTP API, in the groups and the order in which the documentation lists them."""

from __future__ import annotations

from presenced.http.api import changes, commands, explain, presence, stored, watch
from presenced.http.api.endpoint import Endpoint

TOKENS: tuple[Endpoint, ...] = (commands.new_ticket, commands.revoke)
"""Endpoints that are also reachable under `/api`, their first address."""

GROUPS: dict[str, tuple[Endpoint, ...]] = {
    "Presence": (
        presence.get_user,
        presence.query_users,
        presence.list_online,
        presence.get_counts,
        presence.list_rooms,
        presence.get_room,
    ),
    "Following": (changes.follow_changes, watch.watch),
    "Commands": (
        commands.announce,
        commands.disconnect,
        commands.set_status,
        commands.clear_status,
        commands.list_claims,
        commands.set_claim,
        commands.clear_claim,
    ),
    "Past": (stored.get_last_seen, stored.query_last_seen, stored.list_history, stored.list_past_sessions),
    "Administration": (
        explain.list_all_sessions,
        explain.list_sessions,
        explain.explain_user,
        commands.erase,
        stored.list_dead_letters,
        stored.retry_dead_letters,
    ),
    "Tokens": TOKENS,
}
"""Endpoints by the heading in the documentation."""

ENDPOINTS = tuple(endpoint for group in GROUPS.values() for endpoint in group)
