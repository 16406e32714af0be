"""Tables. Their prefix separates them from an application's own; `migrations/` creates and changes them.

Ids compare byte by byte in every database. JSON is stored as text, because no query looks into it.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, PrimaryKeyConstraint, Table

from presenced.storage.types import ExactText, long_text

metadata = MetaData()

users = Table(
    "presenced_users",
    metadata,
    Column("user_id", ExactText(128), primary_key=True),
    Column("status", ExactText(16), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Column("active_ms", BigInteger, nullable=False),
    Column("chosen", long_text()),
    Column("timed", long_text()),
    Column("display", long_text()),
    Column("node", ExactText(64), nullable=False),
    Column("epoch", ExactText(16), nullable=False),
    Index("presenced_users_status", "status", "user_id"),
    Index("presenced_users_node", "node", "epoch"),
)

sessions = Table(
    "presenced_sessions",
    metadata,
    # A connection id is the user id, of up to 128 characters, with a number.
    Column("session_key", ExactText(160), primary_key=True),
    Column("user_id", ExactText(128), nullable=False),
    Column("connection_id", ExactText(160), nullable=False),
    Column("session", ExactText(32), nullable=False),
    Column("protocol", ExactText(32), nullable=False),
    Column("device", ExactText(64), nullable=False),
    Column("address", ExactText(64)),
    Column("node", ExactText(64), nullable=False),
    Column("epoch", ExactText(16), nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("closed_ms", BigInteger),
    Column("reason", ExactText(32), nullable=False),
    Index("presenced_sessions_user", "user_id", "opened_ms"),
    Index("presenced_sessions_open", "node", "closed_ms"),
    Index("presenced_sessions_closed", "closed_ms"),
)

changes = Table(
    "presenced_changes",
    metadata,
    Column("epoch", ExactText(16), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("user_id", ExactText(128), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("status", ExactText(16), nullable=False),
    Column("was", ExactText(16), nullable=False),
    Column("cause", ExactText(16), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("details", long_text()),
    PrimaryKeyConstraint("epoch", "position"),
    Index("presenced_changes_user", "user_id", "version"),
    Index("presenced_changes_at", "at_ms"),
)

claims = Table(
    "presenced_claims",
    metadata,
    Column("user_id", ExactText(128), nullable=False),
    Column("source", ExactText(64), nullable=False),
    Column("status", ExactText(16), nullable=False),
    Column("text", long_text(), nullable=False),
    Column("emoji", ExactText(64), nullable=False),
    Column("data", long_text()),
    Column("priority", Integer, nullable=False),
    Column("set_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger),
    PrimaryKeyConstraint("user_id", "source"),
)

revocations = Table(
    "presenced_revocations",
    metadata,
    Column("kind", ExactText(8), nullable=False),
    Column("subject", ExactText(255), nullable=False),
    Column("at", Double, nullable=False),
    Column("until", Double, nullable=False),
    PrimaryKeyConstraint("kind", "subject"),
)

nodes = Table(
    "presenced_nodes",
    metadata,
    Column("node", ExactText(64), primary_key=True),
    Column("epoch", ExactText(16), nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("sign_ms", BigInteger, nullable=False),
    Column("stopped_ms", BigInteger),
    Column("position", BigInteger, nullable=False),
)

# The number up to which the log of each shard of a cluster is stored (`storage.shard_log`).
log = Table(
    "presenced_log",
    metadata,
    Column("cluster", ExactText(64), nullable=False),
    Column("shard", Integer, nullable=False),
    Column("epoch", ExactText(16), nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("writer", ExactText(16), nullable=False),
    PrimaryKeyConstraint("cluster", "shard"),
)

webhooks = Table(
    "presenced_webhooks",
    metadata,
    Column("id", ExactText(64), primary_key=True),
    Column("endpoint", ExactText(64), nullable=False),
    Column("subject", ExactText(128), nullable=False),
    Column("kind", ExactText(32), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("payload", long_text(), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_ms", BigInteger, nullable=False),
    Column("state", ExactText(8), nullable=False),
    Column("last_error", long_text()),
    Index("presenced_webhooks_due", "endpoint", "state", "id"),
)

# The last state sent to receivers of webhooks about each user and room (`webhooks.producer`).
webhook_states = Table(
    "presenced_webhook_states",
    metadata,
    Column("kind", ExactText(8), nullable=False),
    Column("subject", ExactText(128), nullable=False),
    Column("status", ExactText(16), nullable=False),
    Column("version", BigInteger, nullable=False),
    # A digest of text, emoji, data and end; empty when there are none.
    Column("details", ExactText(16), nullable=False),
    PrimaryKeyConstraint("kind", "subject"),
)
