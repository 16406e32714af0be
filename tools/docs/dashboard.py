"""The Grafana dashboard, made from a table of its panels."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SELECTED = '{job=~"$job",instance=~"$instance"}'
RATE = "[$__rate_interval]"

WIDTH = 24
"""Of Grafana's grid."""

NOW, GRAPH = "stat", "timeseries"
HEIGHTS = {NOW: 4, GRAPH: 8}


class Panel(NamedTuple):
    """One picture. In the queries `{}` stands for the servers that are selected."""

    title: str
    unit: str
    queries: dict[str, str]
    """Legend to PromQL."""
    says: str = ""
    kind: str = GRAPH


class Row(NamedTuple):
    """Panels side by side, below a title that folds them away."""

    title: str
    width: int
    panels: list[Panel]


def rate(metric: str, by: str = "", where: str = "") -> str:
    """Of a counter, in a second, over all servers."""
    selected = f"{SELECTED[:-1]},{where}}}" if where else "{}"
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{selected}{RATE}))"


def quantile(share: float, metric: str, by: str = "") -> str:
    """Of a histogram, over all servers."""
    return f"histogram_quantile({share:g}, {rate(f'{metric}_bucket', f'le, {by}' if by else 'le')})"


def quantiles(metric: str) -> dict[str, str]:
    """The middle one, and what all but one in a hundred stay below."""
    return {"p50": quantile(0.5, metric), "p99": quantile(0.99, metric)}


ROWS = [
    Row(
        "Now",
        3,
        [
            Panel("Servers", "none", {"": "count(presenced_connections{})"}, kind=NOW),
            Panel("Connections", "short", {"": "sum(presenced_connections{})"}, kind=NOW),
            Panel("Users online", "short", {"": "sum(presenced_users_online{})"}, kind=NOW),
            Panel("Changes", "ops", {"": rate("presenced_changes_total")}, kind=NOW),
            Panel("Deliveries", "ops", {"": rate("presenced_deliveries_total")}, kind=NOW),
            Panel(
                "Watchers behind",
                "percentunit",
                {"": "sum(presenced_slow_watchers{}) / clamp_min(sum(presenced_connections{}), 1)"},
                kind=NOW,
            ),
            Panel("Loop lag p99", "s", {"": quantile(0.99, "presenced_loop_lag_seconds")}, kind=NOW),
            Panel(
                "Open files",
                "percentunit",
                {"": "max(process_open_fds{} / process_max_fds{})"},
                "Of those the system allows. Each connection is one.",
                kind=NOW,
            ),
        ],
    ),
    Row(
        "People",
        8,
        [
            Panel(
                "Connections and users",
                "short",
                {
                    "connections": "sum(presenced_connections{})",
                    "users connected": "sum(presenced_users_connected{})",
                    "users online": "sum(presenced_users_online{})",
                    "rooms": "sum(presenced_rooms{})",
                },
                "Users in a grace and announced ones are online without a connection.",
            ),
            Panel(
                "Connections opened and ended",
                "ops",
                {
                    "opened": rate("presenced_connections_opened_total"),
                    "{{reason}}": rate("presenced_connections_closed_total", "reason"),
                },
                "closed, going_away, keep_session and lost come from clients; all others come from the server.",
            ),
            Panel(
                "Handshakes refused",
                "ops",
                {
                    "{{code}}": rate("presenced_handshakes_refused_total", "code"),
                    "before the upgrade: {{reason}}": rate("presenced_connections_refused_total", "reason")
                    + " or vector(0)",
                },
                "What the codes mean: spec/codes.md.",
            ),
            Panel(
                "Authentications",
                "ops",
                {"{{result}}": rate("presenced_authentications_total", "result")},
                "unavailable: who says who somebody is does not answer.",
            ),
            Panel(
                "Sessions of presenced.v1",
                "ops",
                {"{{how}}": rate("presenced_sessions_total", "how")},
                "resumed: what was missed was enough. told_again: the whole had to be told, as after a deploy.",
            ),
            Panel(
                "Heartbeats failed",
                "ops",
                {"no answer": rate("presenced_heartbeats_failed_total")},
                "Clients that went without a word: networks, phones, lids.",
            ),
            Panel(
                "Messages from clients",
                "ops",
                {
                    "messages": rate("presenced_messages_received_total"),
                    "refused: {{name}}": rate("presenced_requests_refused_total", "name"),
                },
            ),
            Panel(
                "Connections taken",
                "percentunit",
                {"{{instance}}": "presenced_connections{} / presenced_max_connections{}"},
                "Of max_connections, or of what the limit of open files leaves. At 100 % others are refused.",
            ),
        ],
    ),
    Row(
        "Telling",
        8,
        [
            Panel("Changes", "ops", {"{{status}}": rate("presenced_changes_total", "status")}, "By the new status."),
            Panel("Deliveries", "ops", {"deliveries": rate("presenced_deliveries_total")}, "Changes times watchers."),
            Panel("Sent", "Bps", {"changes": rate("presenced_sent_bytes_total")}),
            Panel(
                "Time of a flush",
                "s",
                quantiles("presenced_flush_duration_seconds"),
                "All changes since the last one go to all watchers: what somebody waits for news.",
            ),
            Panel("Changes in a flush", "short", quantiles("presenced_flush_changes")),
            Panel(
                "Watchers behind",
                "short",
                {
                    "behind": "sum(presenced_slow_watchers{})",
                    "given up": rate("presenced_connections_closed_total", where='reason="fell_behind"')
                    + " or vector(0)",
                },
                "They get what they missed when they read again; those that don't are closed.",
            ),
        ],
    ),
    Row(
        "Process",
        8,
        [
            Panel(
                "Loop lag",
                "s",
                quantiles("presenced_loop_lag_seconds"),
                "How late a tick was. Above 0.1 s the process has more to do than it can.",
            ),
            Panel("CPU", "percentunit", {"{{instance}}": "rate(process_cpu_seconds_total{}[$__rate_interval])"}),
            Panel(
                "Garbage collection",
                "s",
                {
                    "of each second, {{instance}}": "rate(presenced_gc_paused_seconds{}[$__rate_interval])",
                    "longest, {{instance}}": "presenced_gc_longest_pause_seconds{}",
                },
                "The longest is since the start.",
            ),
            Panel("Memory", "bytes", {"{{instance}}": "process_resident_memory_bytes{}"}),
            Panel(
                "Open files",
                "short",
                {"{{instance}}": "process_open_fds{}", "allowed, {{instance}}": "process_max_fds{}"},
            ),
            Panel(
                "Processes lost",
                "short",
                {
                    "writers": "sum(increase(presenced_writers_lost_total{}[$__rate_interval]))",
                    "storage workers": "sum(increase(presenced_storage_workers_lost_total{}[$__rate_interval]))",
                },
                "They are started again.",
            ),
        ],
    ),
    Row(
        "HTTP API",
        8,
        [
            Panel("Answers", "ops", {"{{status}}": rate("presenced_api_answers_total", "status")}),
            Panel(
                "Time to answer, p99",
                "s",
                {"{{route}}": quantile(0.99, "presenced_api_duration_seconds", "route")},
                "Requests that wait for changes are not among these.",
            ),
            Panel("Followers", "short", {"followers": "sum(presenced_api_followers{})"}, "They wait for changes."),
        ],
    ),
    Row(
        "Storage",
        8,
        [
            Panel("Is being stored", "bool_yes_no", {"{{instance}}": "presenced_storage_up{}"}),
            Panel(
                "Records on their way",
                "short",
                {
                    "waiting": "sum(presenced_storage_waiting_facts{})",
                    "being stored": "sum(presenced_storage_unstored_facts{})",
                },
                "Beyond 100,000 of a kind, changes are merged and the oldest records dropped.",
            ),
            Panel("Behind", "s", {"{{instance}}": "presenced_storage_behind_seconds{}"}, "Below 1 s when all is well."),
            Panel("Time of a batch", "s", quantiles("presenced_storage_batch_duration_seconds")),
            Panel(
                "Batches",
                "ops",
                {
                    "batches": rate("presenced_storage_batches_total"),
                    "records": rate("presenced_storage_batch_facts_sum"),
                },
            ),
            Panel(
                "Failures",
                "short",
                {
                    "failed attempts": "sum(increase(presenced_storage_failures_total{}[$__rate_interval]))",
                    "records dropped": "sum(increase(presenced_storage_facts_dropped_total{}[$__rate_interval]))",
                    "changes merged": "sum(increase(presenced_storage_facts_merged_total{}[$__rate_interval]))",
                    "records unusable": "sum(increase(presenced_storage_facts_unusable_total{}[$__rate_interval]))",
                },
            ),
        ],
    ),
    Row(
        "Webhooks",
        8,
        [
            Panel(
                "Events waiting and dead",
                "short",
                {"waiting": "sum(presenced_webhooks_waiting{})", "dead": "sum(presenced_webhooks_dead{})"},
            ),
            Panel("Oldest that waits", "s", {"{{instance}}": "presenced_webhooks_oldest_seconds{}"}),
            Panel(
                "Outcomes",
                "ops",
                {
                    "delivered": rate("presenced_webhooks_delivered_total"),
                    "sent again": rate("presenced_webhooks_retried_total"),
                    "requests failed": rate("presenced_webhooks_failed_total"),
                    "expelled": rate("presenced_webhooks_expelled_total"),
                    "dropped": rate("presenced_webhooks_dropped_total"),
                },
            ),
            Panel(
                "Time of a request",
                "s",
                quantiles("presenced_webhooks_request_duration_seconds"),
            ),
        ],
    ),
]


def dashboard() -> str:
    """As Grafana imports it."""
    made: dict[str, Any] = {
        "uid": "presenced",
        "title": "presenced",
        "description": "Who is online, how fast it is told, and what stands in the way. Made by `make docs`.",
        "tags": ["presenced"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_source(), _variable("job"), _variable("instance", 'job=~"$job"')]},
        "panels": _panels(),
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(label: str, within: str = "") -> dict[str, Any]:
    query = f"label_values(presenced_connections{{{within}}}, {label})"
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": label},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "sort": 1,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    y = 0
    for row in ROWS:
        panels.append({"id": len(panels) + 1, "type": "row", "title": row.title, "datasource": SOURCE})
        panels[-1] |= {"gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}, "collapsed": False, "panels": []}
        y += 1
        height = HEIGHTS[row.panels[0].kind]
        for number, panel in enumerate(row.panels):
            down, across = divmod(number, WIDTH // row.width)
            place = {"x": across * row.width, "y": y + down * height, "w": row.width, "h": height}
            panels.append({"id": len(panels) + 1, "gridPos": place, **_panel(panel)})
        y += (down + 1) * height
    return panels


def _panel(panel: Panel) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "legendFormat": legend or "__auto",
            "expr": query.replace("{}", SELECTED),
        }
        for number, (legend, query) in enumerate(panel.queries.items())
    ]
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.kind == GRAPH:
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never", "spanNulls": False}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}} if panel.kind == GRAPH else {},
    }
