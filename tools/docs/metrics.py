"""`docs/reference/metrics.md`: every metric, from the registry of a server with all features."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric
from tools.docs.markdown import bullets, table, wrapped

from presenced.auth.tickets import Tickets
from presenced.cluster.directory import SharedDirectory
from presenced.cluster.history.write_behind import SharedWriteBehind
from presenced.cluster.metrics import STATES, ClusterMetrics
from presenced.config.settings import Settings
from presenced.errors import Close, Fault
from presenced.node.build import build_node
from presenced.presence.model import Ending
from presenced.runtime.metrics import Metrics
from presenced.testing.clock import FakeClock
from presenced.transports.fastpath.writer_pool import WriterPool
from presenced.worker.factory import make_worker_client

GROUPS = {
    "Connections": (
        "presenced_connections",
        "presenced_max_connections",
        "presenced_connections_opened",
        "presenced_connections_closed",
        "presenced_connections_refused",
        "presenced_handshakes_refused",
        "presenced_heartbeats_failed",
        "presenced_slow_watchers",
    ),
    "Authentication and sessions": (
        "presenced_authentications",
        "presenced_unauthenticated",
        "presenced_sessions",
    ),
    "Users, changes and messages": (
        "presenced_users_online",
        "presenced_users_connected",
        "presenced_rooms",
        "presenced_changes",
        "presenced_deliveries",
        "presenced_sent_bytes",
        "presenced_flush_changes",
        "presenced_flush_duration_seconds",
        "presenced_messages_received",
        "presenced_requests_refused",
    ),
    "HTTP API": ("presenced_api_answers", "presenced_api_duration_seconds", "presenced_api_followers"),
    "Storage": (
        "presenced_storage_up",
        "presenced_storage_behind_seconds",
        "presenced_storage_waiting_facts",
        "presenced_storage_unstored_facts",
        "presenced_storage_batches",
        "presenced_storage_batch_facts",
        "presenced_storage_batch_duration_seconds",
        "presenced_storage_failures",
        "presenced_storage_facts_merged",
        "presenced_storage_facts_dropped",
        "presenced_storage_facts_unusable",
        "presenced_storage_workers_lost",
    ),
    "Webhooks": (
        "presenced_webhooks_waiting",
        "presenced_webhooks_oldest_seconds",
        "presenced_webhooks_dead",
        "presenced_webhooks_delivered",
        "presenced_webhooks_failed",
        "presenced_webhooks_retried",
        "presenced_webhooks_expelled",
        "presenced_webhooks_dropped",
        "presenced_webhooks_requests",
        "presenced_webhooks_seconds",
        "presenced_webhooks_request_duration_seconds",
    ),
    "Several nodes": (
        "presenced_cluster_node_info",
        "presenced_cluster_state",
        "presenced_cluster_nodes",
        "presenced_cluster_records",
        "presenced_cluster_items",
        "presenced_cluster_commit_seconds",
        "presenced_cluster_batch_items",
        "presenced_cluster_refused",
        "presenced_cluster_store_rtt_seconds",
        "presenced_cluster_lag_seconds",
        "presenced_cluster_lag_items",
        "presenced_cluster_unsettled",
        "presenced_cluster_retained_contributions",
        "presenced_cluster_reloads",
        "presenced_cluster_fenced",
        "presenced_cluster_removed_nodes",
        "presenced_cluster_designated_writer",
        "presenced_cluster_history_gaps",
    ),
    "Process": (
        "presenced_loop_lag_seconds",
        "presenced_gc_paused_seconds",
        "presenced_gc_longest_pause_seconds",
        "presenced_writers",
        "presenced_writers_lost",
    ),
}
"""Metrics in the order of the page, without the suffix `_total` of counters."""

INTRODUCTIONS = {
    "Connections": "A connection is an open WebSocket. `presenced_max_connections` is the limit of WebSocket and HTTP "
    "connections together.",
    "Authentication and sessions": "`presenced_unauthenticated` exists if the setting `auth` is not `none`.",
    "Users, changes and messages": "A delivery is one change that is written to one connection.",
    "HTTP API": "Health checks, statistics and pages do not count.",
    "Storage": "The gauges exist if a [database](../explanation/storage.md) is configured. In the names, a fact is one "
    "record.",
    "Webhooks": "These metrics exist if a database is configured. With several nodes, only the node that delivers has "
    "figures other than 0.",
    "Several nodes": "These metrics exist with [several nodes](../how-to/operate/several-nodes.md#monitor), "
    "the last two only if a database is configured.",
    "Process": "`presenced_writers` exists if the setting `writers` is not 0.",
}

AUTHENTICATIONS = {
    "accepted": "the token or ticket is accepted",
    "algorithm": "an algorithm or a critical header that is not accepted",
    "claims": "a claim is missing, wrong or not yet valid",
    "expired": "the token has expired",
    "malformed": "the token is damaged or too long",
    "refused": "the callback or the function refused it",
    "revoked": "the token was revoked",
    "signature": "the signature matches no key",
    "ticket": "the ticket is unknown, used or expired",
    "unavailable": "the keys or the callback do not respond",
    "unknown_key": "no known key signed the token",
}
"""Values of the label `result`."""

FROM_CLIENT = (Ending.CLOSED, Ending.GOING_AWAY, Ending.KEEP_SESSION, Ending.LOST)
BY_SERVER = (
    Close.PROTOCOL_ERROR,
    Close.INVALID_DATA,
    Close.MESSAGE_TOO_BIG,
    Close.UNAUTHORIZED,
    Close.TIMED_OUT,
    Close.REPLACED,
    Close.DISCONNECTED,
    Close.FELL_BEHIND,
    Close.TOO_MANY_REQUESTS,
)
"""Close codes with which the server ends connections that were admitted. 1001 counts as `stopping`."""

REFUSED = (
    Close.TRY_AGAIN_LATER,
    Close.BAD_USER_ID,
    Close.UNAUTHORIZED,
    Close.BAD_PARAMETER,
    Close.FORBIDDEN,
    Close.TOO_MANY_CONNECTIONS,
)
"""Close codes with which the server refuses connections before it admits them."""


class _Alone:
    """Node without others, for the gauges."""

    name, state = "a", "ready"
    live_nodes, lag_s = 1, 0.0
    shards = ()


def families() -> Iterable[Metric]:
    """Return every metric of a server."""
    clock, metrics = FakeClock(), Metrics()
    WriterPool(0, clock, metrics).stop()  # it registers its gauge, and starts no process
    build_node(
        settings=Settings(),
        clock=clock,
        metrics=metrics,
        max_connections=1,
        authenticator=Tickets(),
        storage_worker=make_worker_client(Settings(database="sqlite"), clock, metrics),
        directory_class=SharedDirectory,
        storage_class=SharedWriteBehind,
    )
    ClusterMetrics(metrics).watch(_Alone())
    return metrics.registry.collect()


def metrics() -> str:
    """Return the document."""
    known = {family.name: family for family in families()}
    parts = [
        f"## {title}\n\n{wrapped(INTRODUCTIONS[title])}\n\n{_table([known[name] for name in names])}"
        for title, names in GROUPS.items()
    ]
    return (
        "\n\n".join([_HEAD, *parts, _LABELS, *(f"### {name}\n\n{bullets(items)}" for name, items in _labels())]) + "\n"
    )


def _table(found: list[Metric]) -> str:
    rows = [
        [
            f"`{family.name}{'_total' if family.type == 'counter' else ''}`",
            family.type,
            f"{family.documentation.partition('. ')[0].rstrip('.')}.",
        ]
        for family in found
    ]
    return table(["metric", "type", "meaning"], rows)


def _labels() -> list[tuple[str, list[str]]]:
    """Return the values of each label, by its metric and name."""
    return [
        (
            "`reason` of `presenced_connections_closed_total`",
            [
                f"the client ended the connection: {_codes(ending.value for ending in FROM_CLIENT)}",
                "the server stopped: `stopping`",
                "the server closed with a [code](codes.md#close-codes-of-the-websocket), in lower case: "
                + _codes(close.name.lower() for close in BY_SERVER),
            ],
        ),
        (
            "`reason` of `presenced_connections_refused_total`",
            [
                "state of the server: `full`, `behind`, `stopping`",
                "a limit of the address is reached: `address`",
                "otherwise the code of a [problem](codes.md#problems-of-http), in lower case. `forbidden_origin` and "
                "`misdirected` include HTTP requests",
            ],
        ),
        (
            "`code` of `presenced_handshakes_refused_total`",
            [f"name of the close code: {_codes(close.name for close in REFUSED)}"],
        ),
        (
            "`result` of `presenced_authentications_total`",
            [f"`{result}`: {meaning}" for result, meaning in AUTHENTICATIONS.items()],
        ),
        (
            "`how` of `presenced_sessions_total`",
            [
                "`new`: the session was created",
                "`resumed`: the client got the changes that it missed",
                "`resynced`: the session was resumed, and the client got a new snapshot",
            ],
        ),
        (
            "`status` of `presenced_changes_total`",
            ["status that others see: `online`, `away`, `busy`, `offline`. `invisible` is always 0"],
        ),
        (
            "`name` of `presenced_requests_refused_total`",
            [f"name of an [error](codes.md#errors-of-presencedv1): {_codes(fault.name for fault in Fault)}"],
        ),
        (
            "`state` of `presenced_cluster_state`",
            [
                f"1 for one of {_codes(STATES)}, 0 for the others",
                "`local`: the store is out of reach, and the node shows only what happens on it",
            ],
        ),
        (
            "`from` of `presenced_cluster_items_total`",
            ["node that made the change: `own` for this one, or `other`"],
        ),
        (
            "`reason` of `presenced_cluster_refused_total`",
            [
                "`conflict`: another node has changed the user at the same moment",
                "`unknown`: the reply was lost, or the memory of the store is full",
                "`fenced`: this node was declared dead",
            ],
        ),
        (
            "`reason` of `presenced_cluster_reloads_total`",
            [
                "`registered`: the node has joined, or joined again",
                "`log`: the log of the store did not continue where the node was",
                "`keys`: the store has lost keys",
            ],
        ),
        (
            "`route` and `status` of `presenced_api_answers_total`",
            [
                "`route`: method and path, such as `GET /users/{user_id}`",
                "`status`: status of the response. 499 means that the client disconnected before its body was complete",
            ],
        ),
    ]


def _codes(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


_HEAD = """# Metrics

*Generated from the server's metrics by `make docs`. Do not edit this file.*

`GET /metrics` returns all metrics in the text format of Prometheus:

```sh
curl localhost:3001/metrics
```

With authentication, requests from other machines need an [API key](http-api.md#api-keys) of scope
`read`. [Monitor](../how-to/operate/monitor.md) shows how to set up Prometheus, the dashboard and
the alerts.

Metrics use base units: seconds and bytes. No label has a value for each user or client. Counters
start from 0 with each process. A histogram has the series `_bucket`, `_sum` and `_count`. The usual
`process_*` and `python_gc_*` metrics are included."""

_LABELS = "## Labels"
