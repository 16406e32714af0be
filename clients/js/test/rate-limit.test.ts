/** The client's limit of requests stays below the server's, and wastes little of it. */

import { describe, expect, test } from "vitest";

import { createRateLimit } from "../src/rate-limit.js";

const START = 1_700_000_000_000;

describe("with 10 requests a second, and 20 at once", () => {
  const create = () => createRateLimit(10, 20, START);

  /** Take as many as there are at this time. */
  const drain = (take: (now: number) => number, now: number): number => {
    let count = 0;
    while (take(now) === 0) count += 1;
    return count;
  };

  test("nine tenths of the burst are free at once", () => {
    expect(drain(create(), START)).toBe(18);
  });

  test("nine tenths of the rate follow, and never more than the burst", () => {
    const take = create();
    drain(take, START);
    expect(drain(take, START + 1_000)).toBe(9);
    expect(drain(take, START + 3_600_000)).toBe(18);
  });

  test("the wait is the shortest after which there is a request", () => {
    const take = create();
    drain(take, START);
    const wait = take(START);
    expect(wait).toBe(112); // a ninth of a second
    expect(take(START + wait - 1)).toBeGreaterThan(0);
    expect(take(START + wait)).toBe(0);
  });

  test("part of a request shortens the wait for the next one", () => {
    const take = create();
    drain(take, START);
    expect(take(START + 100)).toBe(12);
  });

  test("a clock that is set back gives and takes nothing", () => {
    const take = create();
    drain(take, START);
    expect(take(START - 60_000)).toBe(112);
    expect(take(START - 60_000 + 112)).toBe(0);
  });
});

test("a server that allows one request at once gets one", () => {
  const take = createRateLimit(1, 1, START);
  expect(take(START)).toBe(0);
  expect(take(START)).toBe(1_112);
});
