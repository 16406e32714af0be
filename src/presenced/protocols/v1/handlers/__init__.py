"""Handlers of the requests of presenced.v1. Importing this package registers all handlers in `context.handlers`.

The order of the imports is the order in which errors list the requests that are allowed.
"""

# ruff: noqa: I001 -- see above

from presenced.protocols.v1.handlers import auth, subscriptions, status, rooms, ping

__all__ = ["auth", "ping", "rooms", "status", "subscriptions"]
