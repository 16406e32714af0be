"""`docs/reference/tables.md`: the tables in the database and their columns, from the schema in `storage.schema`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Double, Index, Integer, Table, Text
from tools.docs.markdown import bullets, table, wrapped

from presenced.storage.migrate import VERSION_TABLE, newest_version
from presenced.storage.schema import metadata
from presenced.storage.types import ExactText

TABLES: dict[str, tuple[str, str]] = {
    "presenced_users": (
        "One row for each user that was ever present, or that a backend set something for: the state that others see.",
        "A row stays until the user is erased.",
    ),
    "presenced_sessions": (
        "One row for each session: a tab, an app or a device. A session of presenced.v1 survives reconnects. A classic "
        "connection is a session of its own. A session that moves to another node has a row of each node.",
        "A row stays for `history_age` after the end of its session. If that is 0, it stays for a day.",
    ),
    "presenced_changes": (
        "One row for each change of what others see of a user.",
        "A row stays for `history_age`. If that is 0, changes are not stored.",
    ),
    "presenced_claims": (
        "One row for each claim of a backend about a user.",
        "A row is deleted when the claim is cleared or over.",
    ),
    "presenced_revocations": (
        "One row for each revoked user or token.",
        "A row is deleted when no token that it concerns can still be valid. Erasing a user does not delete it.",
    ),
    "presenced_nodes": (
        "One row for each server, by its name in the setting `node`.",
        "A row of a stopped server is deleted `history_age` after `sign_ms`. If that is 0, after a day.",
    ),
    "presenced_log": (
        "One row for each shard of a cluster of [several nodes](../how-to/operate/several-nodes.md): up to where it is "
        "stored.",
        "It stays.",
    ),
    "presenced_webhooks": (
        "One row for each event and receiver that is not delivered yet, or cannot be delivered.",
        "A row is deleted when the receiver has accepted the event. A dead letter is deleted after 30 days.",
    ),
    "presenced_webhook_states": (
        "One row for each user and room that receivers of webhooks have received an event about: the last state sent.",
        "A row of a user stays until the user is erased. A row of a room is deleted long after the room was vacated.",
    ),
}
"""Content of each table, and how long its rows stay."""

STATUSES = "`online`, `away`, `busy` or `offline`"

COLUMNS: dict[str, dict[str, str]] = {
    "presenced_users": {
        "user_id": 'User id, as a string: `7` is the user whose id is 7 or `"7"` on the wire.',
        "status": f"Status that others see: {STATUSES}.",
        "version": "Number of the last change, or a later number if something was set since that others do not see.",
        "since_ms": "Time at which the status began.",
        "seen_ms": "Time at which the user was last known to be present. It may be outdated while the user is present.",
        "active_ms": "Time at which the user last connected, chose a status or became active.",
        "chosen": "Permanent choice of the user, as [JSON](#json). It may be `invisible`.",
        "timed": "Temporary choice of the user, as [JSON](#json).",
        "display": "Display data from the user's token: a JSON object.",
        "node": "Server that wrote the row. With several nodes, a shard of the cluster: `cluster:NAME:SHARD`.",
        "epoch": "Start of that server, or epoch of the cluster.",
    },
    "presenced_sessions": {
        "session_key": "Id of the first connection of the session.",
        "user_id": "User id.",
        "connection_id": "Id of the latest connection of the session.",
        "session": "Digest of the session id, which is a secret; empty for a classic connection.",
        "protocol": "`classic` or `presenced.v1`.",
        "device": "Kind of device that the client named; empty if none.",
        "address": "Address of the client, an IPv6 address as its /64. Null unless the setting `keep_addresses` is on, "
        "and for a client on the machine of the server.",
        "node": "Server that wrote the row.",
        "epoch": "Start of that server.",
        "opened_ms": "Time at which the first connection opened.",
        "closed_ms": "Time at which the latest connection ended; null while it is open.",
        "reason": "Why the latest connection ended: as in [metrics](metrics.md#labels), or `lost` if the server died.",
    },
    "presenced_changes": {
        "epoch": "Start of the server that made the change, or epoch of the cluster.",
        "position": "Place in the order of the changes of this start.",
        "user_id": "User id.",
        "version": "Version of the user after the change.",
        "status": f"Status after the change: {STATUSES}.",
        "was": "Status before the change.",
        "cause": "[Cause](websocket-v1.md#causes), as it is, even for users who became invisible.",
        "at_ms": "Time of the change.",
        "since_ms": "Time at which the status began. A change of the text alone does not begin a status.",
        "details": "Text, emoji, data, end and devices, as [JSON](#json); null if there are none.",
    },
    "presenced_claims": {
        "user_id": "User id.",
        "source": "Source of the claim, such as `calendar`.",
        "status": "`online`, `away` or `busy`.",
        "text": "Text; empty if none.",
        "emoji": "Emoji; empty if none.",
        "data": "Data, as JSON.",
        "priority": "From -100 to 100.",
        "set_ms": "Time at which the claim was set.",
        "until_ms": "Time at which the claim ends; null if it has no end.",
    },
    "presenced_revocations": {
        "kind": "`user` or `token`.",
        "subject": "User id, or the `jti` or digest of a token.",
        "at": "Time of the revocation, in epoch *seconds*. It concerns tokens of the user issued until then.",
        "until": "Time until which the server remembers it, in epoch *seconds*.",
    },
    "presenced_nodes": {
        "node": "Name of the server, or of a shard of a cluster: `cluster:NAME:SHARD`.",
        "epoch": "Start of the server: a new string each time.",
        "started_ms": "Time of the start.",
        "sign_ms": "When the server was last known to run. A running server updates this every half second.",
        "stopped_ms": "Time at which the server stopped; null while it runs.",
        "position": "Highest position or version used so far.",
    },
    "presenced_log": {
        "cluster": "Setting `cluster_name`.",
        "shard": "Number of the shard.",
        "epoch": "Life of the cluster: a new string if its store is emptied while no node runs.",
        "n": "Everything up to this number of the log is stored.",
        "writer": "Start of the server that stores for all nodes.",
    },
    "presenced_webhooks": {
        "id": "Id of the row. Later rows have greater ids.",
        "endpoint": "Digest of the receiver's URL.",
        "subject": "User id or name of the room.",
        "kind": "[Type of the event](webhook-events.md).",
        "version": "Version of the user, or position of the room.",
        "payload": "The event, as JSON.",
        "created_ms": "Time at which the event was queued.",
        "attempts": "Number of requests that contained it.",
        "next_ms": "Earliest time of the next request, after a failure.",
        "state": "`waiting`; `held` if the receiver refused it alone; `dead` for a dead letter.",
        "last_error": "Error of the last request; null if there was none.",
    },
    "presenced_webhook_states": {
        "kind": "`user` or `room`.",
        "subject": "User id or name of the room.",
        "status": "Status of the user, or `occupied` or `vacated`.",
        "version": "Version of the user, or position of the room.",
        "details": "Digest of text, emoji, data, end and display data; empty if there are none.",
    },
}
"""Meaning of each column."""


def tables() -> str:
    """Return the document."""
    parts = [_section(one) for one in metadata.sorted_tables]
    index = [f"[`{name}`](#{name}): {_short(purpose)}" for name, (purpose, _) in TABLES.items()]
    return "\n\n".join([_HEAD.format(index=bullets(index)), *sorted(parts, key=_order), _TAIL]) + "\n"


def _short(purpose: str) -> str:
    return purpose.partition(". ")[0].partition(":")[0].rstrip(".").replace("One", "one", 1)


def _order(section: str) -> int:
    return next(number for number, name in enumerate(TABLES) if section.startswith(f"### `{name}`"))


def _section(one: Table) -> str:
    purpose, lifetime = TABLES[one.name]
    rows = [
        [f"`{column.name}`", _type(column), "yes" if column.nullable else "", COLUMNS[one.name][column.name]]
        for column in one.columns
    ]
    keys = ", ".join(f"`{column.name}`" for column in one.primary_key.columns)
    indexes = sorted((index for index in one.indexes), key=lambda index: str(index.name))
    listed = [f"Primary key: {keys}", *(f"Index `{index.name}`: {_columns(index)}" for index in indexes)]
    parts = [
        f"### `{one.name}`",
        wrapped(f"{purpose} {lifetime}"),
        table(["column", "type", "null", "meaning"], rows),
        bullets(listed),
    ]
    return "\n\n".join(parts)


def _columns(index: Index) -> str:
    return ", ".join(f"`{column.name}`" for column in index.columns)


def _type(column: Column[Any]) -> str:
    kind: object = column.type
    if isinstance(kind, ExactText):
        return f"text({kind.length})"
    names = {BigInteger: "bigint", Integer: "integer", Double: "double", Text: "text"}
    return next(name for one, name in names.items() if isinstance(kind, one))


_HEAD = f"""# Tables

*Generated from `src/presenced/storage/schema.py` by `make docs`. Do not edit this file.*

If the setting [`database`](settings.md#database) is set, presenced stores its data in these tables.
You may read them with SQL or an ORM. [Prisma](../../deploy/prisma/README.md) has ready models.
Programs that only need to know who is online now should ask the [HTTP API](http-api.md) instead.

{{index}}
- `{VERSION_TABLE}`: the version of the tables, now `{newest_version()}`

## Rules for readers

- **Read only.** Never write to the tables. Use the HTTP API to set a status or a claim, and to
  [erase a user](../how-to/operate/erase-users.md).
- **A little late.** Changes are in the table some 30 ms after they happen. Rows of users and
  sessions are written at most four times a second, so they may be up to 250 ms older. If the
  database is slow, records [wait](../explanation/storage.md).
- **`status` is what others see.** An invisible user is `offline` in `status`. The true choice is in
  `chosen`, so do not show that column to other users.
- **`status` may be stale.** If a server and its storage worker are killed together, its users stay
  online in the table. A server with the same `node` corrects that when it starts. Trust only rows
  of [running servers](#users-who-are-online).
- **Check visibility yourself.** The tables contain no rules for which users a viewer may see.
- **New columns.** A later version may add tables and columns. [Compatibility](compatibility.md)
  says what stays.

## Types

Columns whose names end with `_ms` are epoch milliseconds, UTC. The types are:

| here | SQLite | PostgreSQL | MariaDB and MySQL |
|---|---|---|---|
| text(n) | VARCHAR(n) | VARCHAR(n) | VARCHAR(n), compared byte by byte |
| text | TEXT | TEXT | MEDIUMTEXT |
| bigint | BIGINT | BIGINT | BIGINT |
| integer | INTEGER | INTEGER | INTEGER |
| double | DOUBLE | DOUBLE PRECISION | DOUBLE |

### JSON

JSON is stored as text. `chosen`, `timed` and `details` are objects with these members. Empty
members are omitted.

| member | in | meaning |
|---|---|---|
| `status` | `chosen`, `timed` | `online`, `away`, `busy` or `invisible`; an empty string if the status is as detected |
| `text`, `emoji` | all | text and emoji |
| `data` | all | any JSON |
| `until` | all | end in epoch milliseconds |
| `devices` | `details` | list of the kinds of connected devices |

## Tables and columns"""

_TAIL = """## Queries

The examples work in every supported database. `:now_ms` is the time in epoch milliseconds, and
`:user_id` is a user id.

### Users who are online

```sql
SELECT users.user_id, users.status, users.since_ms
FROM presenced_users AS users
JOIN presenced_nodes AS nodes ON nodes.node = users.node AND nodes.epoch = users.epoch
WHERE users.status IN ('online', 'away', 'busy')
  AND nodes.stopped_ms IS NULL
  AND nodes.sign_ms + 15000 > :now_ms
ORDER BY users.user_id
```

The list of statuses can use the index, while `status <> 'offline'` cannot. The join leaves out
users of servers that have not updated `sign_ms` for 15 s.

### Last seen

```sql
SELECT user_id, status, seen_ms, active_ms
FROM presenced_users
WHERE user_id = :user_id
```

If `status` is not `offline`, the user is there now, and `seen_ms` is the time of an earlier event.

### History of a user

```sql
SELECT at_ms, was, status, cause, details
FROM presenced_changes
WHERE user_id = :user_id
ORDER BY version DESC
LIMIT 50
```

### Open sessions of a user

```sql
SELECT connection_id, protocol, device, opened_ms
FROM presenced_sessions
WHERE user_id = :user_id AND closed_ms IS NULL
ORDER BY opened_ms
```

### Number of users who came online on each day

```sql
SELECT at_ms - at_ms % 86400000 AS day_ms, COUNT(DISTINCT user_id) AS users
FROM presenced_changes
WHERE was = 'offline'
GROUP BY at_ms - at_ms % 86400000
ORDER BY day_ms
```

`day_ms` is the beginning of the day, in UTC."""
