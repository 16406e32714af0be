"""Webhooks: events made from changes, an outbox in the database, and delivery. All of it runs in the storage worker."""
