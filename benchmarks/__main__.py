"""Run the benchmarks: `python -m benchmarks [--quick | --write] [QUESTION ...]`.

Linux only; the servers and the load are on loopback and end with the run. On a machine that does other things,
too, only the figures' ratios mean anything: all servers are measured in one run.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import fan_out, idle_memory, start_stop, watching
from benchmarks.load import LoadError
from benchmarks.machine import description, prepare
from benchmarks.report import Report
from benchmarks.servers import versions

QUESTIONS: dict[str, Callable[[bool], Report]] = {
    "idle_memory": idle_memory.run,
    "fan_out": fan_out.run,
    "start_stop": start_stop.run,
    "watching": watching.run,
}

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Exit code: 0, or 1 when a question has no answer."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure presenced beside other servers.")
    parser.add_argument("question", nargs="*", help=f"which to answer: {', '.join(QUESTIONS)} [default: all]")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--quick", action="store_true", help="small loads, to see that it works: 20 s; no real figures")
    modes.add_argument("--write", action="store_true", help="also write the answers to benchmarks/results")
    arguments = parser.parse_args()
    names = arguments.question or list(QUESTIONS)
    if unknown := set(names) - set(QUESTIONS):
        parser.error(f"no such question: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended on the way out
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
        mode = " --quick" if arguments.quick else " --write" if arguments.write else ""
        text = (
            f"{report}\n\nMade by `python -m benchmarks {name}{mode}` in {time.monotonic() - started:.0f} s "
            f"on {datetime.now(UTC):%Y-%m-%d}: {description()}, {versions()}.\n"
        )
        print(text, flush=True)
        if arguments.write:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{name}.md").write_text(text)
    return failed


if __name__ == "__main__":
    sys.exit(main())
