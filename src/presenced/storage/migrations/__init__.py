"""How the tables came to be what they are: revisions for Alembic, which `storage.migrate` runs."""
