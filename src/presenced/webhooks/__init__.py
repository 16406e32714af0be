"""Webhooks: events out of changes, an outbox in the database, and its delivery. All of it runs in the keeper."""
