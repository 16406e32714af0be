"""Long tests: `python -m tests.soak --seed 7 --minutes 30` runs each part with this seed, for about that long in all.

| part | share of the time | what it repeats |
|---|---|---|
| simulation | 25 % | clients on a bad network, with seeds from `--seed` on |
| nodes | 10 % | several nodes with a store that fails, with seeds from `--seed` on |
| property | 25 % | rules against naive models, with more examples than `make test` |
| fuzz | 30 % | broken requests and frames, with new seeds until the time is over |
| kills | 10 % | SIGKILL of the server, its storage worker or both, under load |
| deploy | some minutes more | ten nodes of a cluster are replaced under 2,000 clients, once |
| cluster | a sixth more | ten nodes with random faults, with the seed `--seed`; kills of one of ten nodes |
| variants | minutes more | variants of the tests of several nodes that `make test` leaves out |
| runtimes | seconds more | the built npm package in Node.js, Bun and Deno, which are fetched |
| image | some minutes more | the container image is built and started, once |
| native | some minutes more | the client for React Native, with React Native itself, once |
| expo | some minutes more | the example for React Native: its types, and its bundles for iOS and Android, once |

A part that fails prints what repeats the failure. The others run nevertheless.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from typing import NamedTuple

FUZZ_TESTS = 4
"""Number of tests in `tests/fuzz` that run for `PRESENCED_FUZZ_SECONDS`; one of them runs on both event loops."""

EXAMPLES_PER_MINUTE = 0.5
"""Factor for the number of examples, per minute of the part's share: a factor of 1 takes up to two minutes."""

KILLS_PER_MINUTE = 15
"""Number of kills in one minute (measured: 20 in 75 s)."""

SOAK_NODES = "10"
"""Number of nodes in the tests of clusters. `make test` has three."""

RUNTIMES = (
    "npm --prefix benchmarks/peers ci --silent --no-audit --no-fund && cd clients/js && "
    "npm exec --yes --package=deno@2.9.6 -- npx vitest run test/server/runtimes.test.ts"
)
"""Command that runs the npm package in each runtime."""


class Part(NamedTuple):
    """One part of the soak: a name, a command and its environment."""

    name: str
    command: list[str]
    environ: dict[str, str]


def parts(seed: int, minutes: float) -> list[Part]:
    """Return the parts, scaled to a total of `minutes`."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-o", f"timeout={60 * minutes + 600:.0f}"]
    fuzz_seconds = 0.30 * minutes * 60 / FUZZ_TESTS
    kills = max(3, round(0.10 * minutes * KILLS_PER_MINUTE))
    factor = max(1.0, 0.25 * minutes * EXAMPLES_PER_MINUTE)
    simulate = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--minutes", f"{0.25 * minutes:g}"]
    nodes = [sys.executable, "-m", "tests.simulation.nodes", "--seed", str(seed), "--minutes", f"{0.10 * minutes:g}"]
    return [
        Part("simulation", simulate, {}),
        Part("nodes", nodes, {}),
        Part(
            "property",
            [*pytest, "tests/property", "tests/features", f"--hypothesis-seed={seed}"],
            {"PRESENCED_EXAMPLES": f"{factor:g}"},
        ),
        Part(
            "fuzz",
            [*pytest, "tests/fuzz"],
            {"PRESENCED_FUZZ_SECONDS": f"{fuzz_seconds:g}", "PRESENCED_FUZZ_SEED": str(seed)},
        ),
        Part("kills", [*pytest, "-s", "tests/integration/test_worker_kills.py"], {"PRESENCED_KILLS": str(kills)}),
        Part(
            "deploy",
            [*pytest, "-s", "tests/cluster/test_deploy.py"],
            {"PRESENCED_CLUSTER_CROWD": "2000", "PRESENCED_CLUSTER_NODES": SOAK_NODES},
        ),
        Part("variants", [*pytest, "tests/cluster", "tests/simulation/test_mutations.py"], {"SOAK_VARIANTS": "1"}),
        Part(
            "cluster",
            [*pytest, "-s", "tests/cluster/test_random.py", "tests/cluster/test_many_nodes.py"],
            {
                "PRESENCED_CLUSTER_NODES": SOAK_NODES,
                "PRESENCED_CLUSTER_SECONDS": f"{max(60.0, 60 * minutes / 6):g}",
                "PRESENCED_CLUSTER_SEED": str(seed),
            },
        ),
        Part("runtimes", ["sh", "-c", RUNTIMES], {"PRESENCED_RUNTIMES": "node bun deno"}),
        Part("image", [*pytest, "tests/soak/test_image.py"], {"PRESENCED_IMAGE": "1"}),
        Part("native", ["npm", "--prefix", "clients/js/native", "run", "soak"], {}),
        Part(
            "expo", ["npm", "--prefix", "examples/react-native", "run", "soak"], {"CI": "1", "EXPO_NO_TELEMETRY": "1"}
        ),
    ]


def run(part: Part, seed: int) -> bool:
    """Run a part, and return whether it passed."""
    settings = " ".join(f"{name}={value}" for name, value in part.environ.items())
    sys.stdout.write(f"\n{part.name}, seed {seed}: {settings} {' '.join(part.command[1:])}\n")
    sys.stdout.flush()
    began = time.monotonic()
    passed = subprocess.run(part.command, env={**os.environ, **part.environ}, check=False).returncode == 0
    sys.stdout.write(f"{part.name}: {'passed' if passed else 'FAILED'} after {time.monotonic() - began:.0f} s\n")
    return passed


def main() -> int:
    """Run all parts, or those named, and return the exit code."""
    parser = argparse.ArgumentParser(description="Run the long tests.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("names", nargs="*", metavar="PART", help="the parts to run (default: all)")
    arguments = parser.parse_args()
    chosen = [part for part in parts(arguments.seed, arguments.minutes) if part.name in (arguments.names or part.name)]
    failed = [part.name for part in chosen if not run(part, arguments.seed)]
    sys.stdout.write(
        f"\n{len(chosen)} parts, seed {arguments.seed}: {'failed: ' + ', '.join(failed) if failed else 'ok'}\n"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
