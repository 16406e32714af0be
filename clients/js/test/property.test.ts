/** Random desired state, changes, losses, restarts and late answers: when all is quiet, client and server agree. */

import fc from "fast-check";
import { expect, test } from "vitest";

import { Run, type Step, step } from "./support/random-run.js";

/** PRESENCED_RUNS and PRESENCED_SEED run more, or the same again. */
const { PRESENCED_RUNS = "150", PRESENCED_SEED = "1" } =
  (globalThis as unknown as { process?: { env: Record<string, string> } }).process?.env ?? {};

const steps = fc.array(step, { maxLength: 60, size: "max" });

async function run(seed: number, all: readonly Step[]): Promise<Run> {
  const result = new Run(seed);
  for (const each of all) await result.do(each);
  await result.quiet();
  return result;
}

test(
  "when all is quiet, the stores agree with the server",
  async () => {
    const agrees = fc.asyncProperty(fc.nat(), steps, async (seed, all) => (await run(seed, all)).check());
    await fc.assert(agrees, { numRuns: Number(PRESENCED_RUNS), seed: Number(PRESENCED_SEED) });
  },
  Math.max(60_000, 200 * Number(PRESENCED_RUNS)),
);

test("the same seed gives the same run", async () => {
  for (const [index, all] of fc.sample(steps, { numRuns: 5, seed: 7 }).entries()) {
    const [first, second] = [await run(index, all), await run(index, all)];
    expect(first.server.trace.length).toBeGreaterThan(5);
    expect(second.server.trace).toEqual(first.server.trace);
  }
});
