"""The Grafana dashboard and the alerts use only metrics that exist, and the panels are well-formed."""

from __future__ import annotations

import re

from tests.support.dashboard import DASHBOARD, PANELS, QUERIES, RULES, metrics_in
from tools.docs.metrics import families

MADE_BY_PROMETHEUS = {"up"}


def test_every_metric_exists() -> None:
    exist = set(MADE_BY_PROMETHEUS)
    for family in families():
        match family.type:
            case "histogram":
                exist |= {f"{family.name}_bucket", f"{family.name}_sum", f"{family.name}_count"}
            case "counter":
                exist.add(f"{family.name}_total")
            case _:
                exist.add(family.name)
    used = {name for query in (*QUERIES.values(), *RULES) for name in metrics_in(query)}
    assert len(used) > 40
    assert used <= exist, used - exist


def test_panels_have_different_ids_and_places() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells), "no two panels overlap"
    assert max(x for x, _ in cells) < 24, "the grid of Grafana has 24 columns"


def test_every_query_uses_the_chosen_data_source_and_servers() -> None:
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert {"datasource", "job", "instance"} <= variables
    for panel in PANELS:
        for part in (panel, *panel.get("targets", [])):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for query in QUERIES.values():
        assert set(re.findall(r"\$(\w+)", query)) - {"__rate_interval"} <= variables
        assert len(re.findall(r'job=~"\$job",instance=~"\$instance"', query)) == len(metrics_in(query)), query
