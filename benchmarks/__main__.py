"""Run the benchmarks: `python -m benchmarks [--quick] [QUESTION ...]`. The answers are also written to `results/`.

Linux only. The servers and the load run on loopback and end with the run. On a busy machine only the ratios of the
figures are meaningful. For their sake, one run measures all servers.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    attacks,
    busy_pages,
    cluster_changes,
    cluster_cost,
    cluster_fan_out,
    cluster_kill,
    cluster_latency,
    cluster_return,
    cluster_start,
    cluster_store,
    compression,
    cores,
    endurance,
    fan_out,
    faults,
    friends,
    ghosts,
    idle_memory,
    large_tables,
    latency,
    plot,
    slow_watchers,
    start_stop,
    storage,
    tls,
    watching,
    webhooks,
)
from benchmarks.load import LoadError
from benchmarks.machine import description, prepare
from benchmarks.report import Report, wrapped
from benchmarks.servers import versions

QUESTIONS: dict[str, Callable[[bool], Report]] = {
    "idle_memory": idle_memory.run,
    "fan_out": fan_out.run,
    "latency": latency.run,
    "cores": cores.run,
    "slow_watchers": slow_watchers.run,
    "endurance": endurance.run,
    "compression": compression.run,
    "start_stop": start_stop.run,
    "watching": watching.run,
    "attacks": attacks.run,
    "tls": tls.run,
    "webhooks": webhooks.run,
    "storage": storage.run,
    "faults": faults.run,
    "large_tables": large_tables.run,
    "cluster_latency": cluster_latency.run,
    "cluster_changes": cluster_changes.run,
    "cluster_fan_out": cluster_fan_out.run,
    "cluster_store": cluster_store.run,
    "cluster_start": cluster_start.run,
    "cluster_kill": cluster_kill.run,
    "cluster_return": cluster_return.run,
    "cluster_cost": cluster_cost.run,
    "ghosts": ghosts.run,
    "friends": friends.run,
    "busy_pages": busy_pages.run,
}

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Answer the questions in the arguments. Return the exit code: 0, or 1 if a question has no answer."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure presenced beside other servers.")
    parser.add_argument("question", nargs="*", help=f"which to answer: {', '.join(QUESTIONS)} [default: all]")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small loads to see that it works, 10 min; no real figures, nothing written",
    )
    arguments = parser.parse_args()
    names = arguments.question or list(QUESTIONS)
    if unknown := set(names) - set(QUESTIONS):
        parser.error(f"no such question: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the exit ends all servers and clients
    prepare()
    failed = 0
    for name in names:
        started = time.monotonic()
        try:
            report = QUESTIONS[name](arguments.quick)
        except LoadError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = 1
            continue
        made = {
            "command": f"python -m benchmarks {name}{' --quick' * arguments.quick}",
            "seconds": round(time.monotonic() - started),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": description(),
            "versions": versions(),
        }
        how = f"Made by `{made['command']}` in {made['seconds']} s on {made['date']}"
        origin = f"{how}: {made['machine']}, {made['versions']}."
        text = f"{report}\n\n{wrapped(origin)}\n"
        print(text, flush=True)
        if not arguments.quick:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{name}.md").write_text(text)
            found = {"question": report.question, "answer": report.answer, "figures": report.figures, "made": made}
            (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    if "fan_out" in names and not arguments.quick and not failed:
        print(plot.draw(RESULTS / "fan_out.json", RESULTS / "fan_out.svg"))
        plot.draw_bars(RESULTS / "fan_out.json", RESULTS / "deliveries.svg")
    return failed


if __name__ == "__main__":
    sys.exit(main())
