"""Simulate several nodes until the time is over or a check fails.

`python -m tests.simulation.nodes --seed 7 --minutes 480` runs one world after the other, each with the next seed.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from tests.simulation.node_world import NodeWorld


def simulate(seed: int, seconds: float, goes_on: bool = False) -> tuple[int, list[int]]:
    """Run worlds with this and the following seeds for `seconds`. Return their number, and the seeds that failed.

    Args:
        goes_on: Go on after a world that fails, instead of raising its error.
    """
    ends, count, failed = time.monotonic() + seconds, 0, list[int]()
    while count == 0 or time.monotonic() < ends:
        world = NodeWorld(seed + count)
        try:
            world.run()
        except Exception as error:
            last = "" if goes_on else "\n".join(world.trace[-40:]) + "\n"
            repeat = f"python -m tests.simulation.nodes --seed {seed + count} --minutes 0 repeats it"
            sys.stderr.write(f"{last}{error}\n{repeat}\n")
            sys.stderr.flush()
            failed.append(seed + count)
            if not goes_on:
                raise
        count += 1
    return count, failed


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Simulate several nodes with a store that fails.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--keep-going", action="store_true", help="report all worlds that fail, and not only the first")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    done, failed = simulate(arguments.seed, arguments.minutes * 60, arguments.keep_going)
    result = f"{len(failed)} failed: {failed}" if failed else "all views equal the truth"
    sys.stdout.write(f"{done} worlds from seed {arguments.seed}: {result}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
