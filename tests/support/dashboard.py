"""Queries of the Grafana dashboard and of the Prometheus alerts in `deploy/`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboard.json").read_bytes())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = {
    f"{panel['title']}, {target['refId']}": str(target["expr"])
    for panel in PANELS
    for target in panel.get("targets", [])
}
"""Queries of the dashboard, by the title of their panel."""

RULES = [str(rule["expr"]) for group in msgspec.yaml.decode(ALERTS.read_bytes())["groups"] for rule in group["rules"]]
"""Queries of the alerts."""


def metrics_in(query: str) -> set[str]:
    """Return the metrics in a query: names that are not functions, keywords or labels."""
    bare = re.sub(r"\"[^\"]*\"|\{[^}]*\}|\[[^]]*\]|\b(by|without|on) *\([^)]*\)", "", query)
    names = set(re.findall(r"\b[a-z_][a-z0-9_]*\b(?! *\()", bare))
    return names - {"by", "without", "and", "or", "unless", "offset"}
