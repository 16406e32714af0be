"""Migrations of the database schema: revisions for Alembic, which `storage.migrate` runs."""
