"""All endpoints of the HTTP API, in the order in which the documentation lists them."""

from __future__ import annotations

from presenced.http.api import changes, commands, explain, presence, stored, watch
from presenced.http.api.endpoint import Endpoint

TOKENS: tuple[Endpoint, ...] = (commands.new_ticket, commands.revoke)
"""Endpoints that are reachable below `/api`, too, where they were first."""

ENDPOINTS: tuple[Endpoint, ...] = (
    presence.get_user,
    presence.query_users,
    presence.get_room,
    presence.get_counts,
    presence.list_online,
    changes.follow_changes,
    watch.watch,
    commands.announce,
    commands.disconnect,
    commands.set_status,
    commands.clear_status,
    commands.list_claims,
    commands.set_claim,
    commands.clear_claim,
    stored.get_last_seen,
    stored.query_last_seen,
    stored.list_history,
    stored.list_past_sessions,
    explain.list_sessions,
    explain.explain_user,
    commands.erase,
    stored.list_dead_letters,
    stored.retry_dead_letters,
    *TOKENS,
)
