"""Checkpoints of a cluster."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, PrimaryKeyConstraint

from presenced.storage.types import ExactText

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "presenced_log",
        Column("cluster", ExactText(64), nullable=False),
        Column("shard", Integer, nullable=False),
        Column("epoch", ExactText(16), nullable=False),
        Column("n", BigInteger, nullable=False),
        Column("writer", ExactText(16), nullable=False),
        PrimaryKeyConstraint("cluster", "shard"),
    )
