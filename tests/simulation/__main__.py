"""Simulate until the time is over or a check fails: `python -m tests.simulation --seed 7 --minutes 30`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.world import World


def simulate(seed: int, seconds: float) -> int:
    """Run worlds with this and the following seeds for `seconds`, three rounds each. Return their number."""
    ends, count = time.monotonic() + seconds, 0
    while count == 0 or time.monotonic() < ends:
        world = World(seed + count)
        try:
            for _ in range(3):
                world.run()
        except BaseException:
            last = "\n".join(world.trace[-30:])
            sys.stderr.write(f"{last}\nmake simulate SEED={seed + count} MINUTES=0 repeats it\n")
            raise
        count += 1
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Simulate clients on a bad network.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1)
    arguments = parser.parse_args()
    done = simulate(arguments.seed, arguments.minutes * 60)
    sys.stdout.write(f"{done} worlds from seed {arguments.seed}: all views equal the truth\n")
