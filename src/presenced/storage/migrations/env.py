"""Environment that Alembic runs, with the connection from `storage.migrate`."""

from __future__ import annotations

from alembic import context

from presenced.storage.migrate import VERSION_TABLE
from presenced.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
