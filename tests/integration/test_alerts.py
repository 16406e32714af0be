"""Alerts in `deploy/prometheus/alerts.yml` fire when they should, and only then, according to `promtool`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.services import find

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
ALERTS: list[dict[str, Any]] = [
    rule for group in msgspec.yaml.decode(RULES.read_bytes())["groups"] for rule in group["rules"]
]
NAMES = [str(alert["alert"]) for alert in ALERTS]

HEALTHY = {
    "up": "1x60",
    "process_start_time_seconds": "5x60",
    "process_open_fds": "500x60",
    "process_max_fds": "1000x60",
    "presenced_connections": "400x60",
    "presenced_max_connections": "936x60",
    "presenced_slow_watchers": "4x60",
    "presenced_heartbeats_failed_total": "0+4x60",
    'presenced_loop_lag_seconds_bucket{le="0.05"}': "0+120x60",
    'presenced_loop_lag_seconds_bucket{le="0.5"}': "0+120x60",
    'presenced_loop_lag_seconds_bucket{le="+Inf"}': "0+120x60",
    'presenced_authentications_total{result="accepted"}': "0+100x60",
    'presenced_authentications_total{result="expired"}': "0+20x60",
    "presenced_gc_paused_seconds": "0+0.1x60",
    "presenced_writers_lost_total": "0x60",
    "presenced_storage_workers_lost_total": "0x60",
    'presenced_api_answers_total{status="200"}': "0+1000x60",
    'presenced_api_answers_total{status="503"}': "0+1x60",
    'presenced_api_duration_seconds_bucket{le="0.05"}': "0+1000x60",
    'presenced_api_duration_seconds_bucket{le="1"}': "0+1001x60",
    'presenced_api_duration_seconds_bucket{le="+Inf"}': "0+1001x60",
    "presenced_storage_up": "1x60",
    "presenced_storage_behind_seconds": "0.03x60",
    "presenced_storage_facts_dropped_total": "0x60",
    "presenced_storage_facts_unusable_total": "0x60",
    "presenced_webhooks_oldest_seconds": "2x60",
    "presenced_webhooks_dead": "0x60",
    'presenced_cluster_state{state="ready"}': "1x60",
    'presenced_cluster_state{state="local"}': "0x60",
    "presenced_cluster_nodes": "3x60",
    "presenced_cluster_lag_seconds": "0.4x60",
    "presenced_cluster_fenced_total": "0x60",
    "presenced_cluster_unsettled": "0x60",
}
"""Metrics of a healthy server for each minute: VALUExMINUTES, or START+STEPxMINUTES."""

PROBLEMS = {
    "PresencedDown": {"up": "1x57 0 0 0"},
    "PresencedRestarts": {"process_start_time_seconds": "1x45 2x3 3x3 4x9"},
    "PresencedOverloaded": {'presenced_loop_lag_seconds_bucket{le="0.05"}': "0+100x60"},
    "PresencedFilesShort": {"process_open_fds": "850x60"},
    "PresencedConnectionsShort": {"presenced_connections": "800x60"},
    "PresencedWatchersBehind": {"presenced_slow_watchers": "40x60"},
    "PresencedClientsLost": {"presenced_heartbeats_failed_total": "0+20x60"},
    "PresencedTokensRefused": {'presenced_authentications_total{result="expired"}': "0+150x60"},
    "PresencedGarbagePauses": {"presenced_gc_paused_seconds": "0+2x60"},
    "PresencedHelperLost": {"presenced_storage_workers_lost_total": "0x50 1x10"},
    "PresencedApiFails": {'presenced_api_answers_total{status="503"}': "0+100x60"},
    "PresencedApiSlow": {'presenced_api_duration_seconds_bucket{le="0.05"}': "0+900x60"},
    "PresencedStorageDown": {"presenced_storage_up": "1x57 0 0 0"},
    "PresencedStorageBehind": {"presenced_storage_behind_seconds": "20x60"},
    "PresencedStorageLoses": {"presenced_storage_facts_dropped_total": "0x55 7x5"},
    "PresencedWebhooksLate": {"presenced_webhooks_oldest_seconds": "0+60x60"},
    "PresencedWebhooksDead": {"presenced_webhooks_dead": "0x50 3x10"},
    "PresencedLocal": {
        'presenced_cluster_state{state="local"}': "0x57 1 1 1",
        "presenced_cluster_lag_seconds": "0.4x57 60 120 180",
    },
    "PresencedNodesMissing": {"presenced_cluster_nodes": "3x50 2x10"},
    "PresencedNodeLags": {"presenced_cluster_lag_seconds": "5x60"},
    "PresencedNodeFenced": {"presenced_cluster_fenced_total": "0x50 1x10"},
    "PresencedUnsettled": {"presenced_cluster_unsettled": "0x50 3x10"},
}


def scenario(problem: dict[str, str], fires: list[str]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [
            {"series": f"{name}{{{','.join(filter(None, [labels, OF]))}}}", "values": values}
            for series, values in {**HEALTHY, **problem}.items()
            for name, labels in [re.match(r"(\w+)(?:{(.*)})?$", series).groups()]  # type: ignore[union-attr]  # every series matches
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "1h",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in fires],
            }
        ],
    }


OF = 'job="presenced",instance="one:3001"'


def promtool(tmp_path: Path, *tests: dict[str, Any]) -> None:
    file = tmp_path / "tests.yml"
    file.write_bytes(
        msgspec.yaml.encode({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": list(tests)})
    )
    tool = find("promtool")
    done = subprocess.run([tool, "test", "rules", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_accepts_the_rules() -> None:
    subprocess.run([find("promtool"), "check", "rules", str(RULES)], check=True, capture_output=True, timeout=60)


def test_no_alert_fires_for_a_healthy_server(tmp_path: Path) -> None:
    promtool(tmp_path, scenario({}, []))


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_fires_for_its_problem_and_no_other_does(name: str, tmp_path: Path) -> None:
    promtool(tmp_path, scenario(PROBLEMS[name], [name]))


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_an_alert_has_a_summary_and_a_runbook(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("warning", "critical")
    assert alert["annotations"]["summary"]
    file, _, anchor = alert["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / file).read_text(), re.MULTILINE)
    assert anchor in [heading.lower().replace(" ", "-") for heading in headings]
