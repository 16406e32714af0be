"""The tables. They live beside an application's own, hence their prefix; `migrations/` makes and changes them.

Ids compare byte by byte in every database. JSON is kept as text: nothing asks for what is in it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects import mysql

metadata = MetaData()

_COLLATION = "utf8mb4_bin"


def _string(length: int) -> String:
    """A text that compares byte by byte; MariaDB and MySQL would take `Ada` and `ada` for the same."""
    return String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation=_COLLATION), "mysql", "mariadb"
    )


def _text() -> Text:
    return Text().with_variant(mysql.MEDIUMTEXT(charset="utf8mb4", collation=_COLLATION), "mysql", "mariadb")


def _id() -> String:
    return _string(128)


users = Table(
    "presenced_users",
    metadata,
    Column("user_id", _id(), primary_key=True),
    Column("status", _string(16), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Column("active_ms", BigInteger, nullable=False),
    Column("chosen", _text()),
    Column("timed", _text()),
    Column("display", _text()),
    Column("node", _string(64), nullable=False),
    Column("epoch", _string(16), nullable=False),
    Index("presenced_users_status", "status", "user_id"),
    Index("presenced_users_node", "node", "epoch"),
)

sessions = Table(
    "presenced_sessions",
    metadata,
    # A user id may have 128 characters; the connection's number comes on top.
    Column("session_key", _string(160), primary_key=True),
    Column("user_id", _id(), nullable=False),
    Column("connection_id", _string(160), nullable=False),
    Column("session", _string(32), nullable=False),
    Column("protocol", _string(32), nullable=False),
    Column("device", _string(64), nullable=False),
    Column("address", _string(64)),
    Column("node", _string(64), nullable=False),
    Column("epoch", _string(16), nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("closed_ms", BigInteger),
    Column("reason", _string(32), nullable=False),
    Index("presenced_sessions_user", "user_id", "opened_ms"),
    Index("presenced_sessions_open", "node", "closed_ms"),
    Index("presenced_sessions_closed", "closed_ms"),
)

changes = Table(
    "presenced_changes",
    metadata,
    Column("epoch", _string(16), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("user_id", _id(), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("status", _string(16), nullable=False),
    Column("was", _string(16), nullable=False),
    Column("cause", _string(16), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("details", _text()),
    PrimaryKeyConstraint("epoch", "position"),
    Index("presenced_changes_user", "user_id", "version"),
    Index("presenced_changes_at", "at_ms"),
)

claims = Table(
    "presenced_claims",
    metadata,
    Column("user_id", _id(), nullable=False),
    Column("source", _string(64), nullable=False),
    Column("status", _string(16), nullable=False),
    Column("text", _text(), nullable=False),
    Column("emoji", _string(64), nullable=False),
    Column("data", _text()),
    Column("priority", Integer, nullable=False),
    Column("set_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger),
    PrimaryKeyConstraint("user_id", "source"),
)

revocations = Table(
    "presenced_revocations",
    metadata,
    Column("kind", _string(8), nullable=False),
    Column("subject", _string(255), nullable=False),
    Column("at", Float(53), nullable=False),
    Column("until", Float(53), nullable=False),
    PrimaryKeyConstraint("kind", "subject"),
)

nodes = Table(
    "presenced_nodes",
    metadata,
    Column("node", _string(64), primary_key=True),
    Column("epoch", _string(16), nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("sign_ms", BigInteger, nullable=False),
    Column("stopped_ms", BigInteger),
)

webhooks = Table(
    "presenced_webhooks",
    metadata,
    Column("id", _string(64), primary_key=True),
    Column("endpoint", _string(64), nullable=False),
    Column("subject", _id(), nullable=False),
    Column("kind", _string(32), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("payload", _text(), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_ms", BigInteger, nullable=False),
    Column("state", _string(8), nullable=False),
    Column("last_error", _text()),
    Index("presenced_webhooks_due", "endpoint", "state", "id"),
)

told = Table(
    "presenced_told",
    metadata,
    Column("kind", _string(8), nullable=False),
    Column("subject", _id(), nullable=False),
    Column("status", _string(16), nullable=False),
    Column("version", BigInteger, nullable=False),
    # A digest of text, emoji, data and end; empty when there are none.
    Column("details", _string(16), nullable=False),
    PrimaryKeyConstraint("kind", "subject"),
)
