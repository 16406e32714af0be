/** The messages of the classic protocol in `spec/vectors`, read by the page. presenced.v1 is the library's. */

/// <reference types="vite/client" />

import { expect, test } from "vitest";

import { parseMessage } from "../../src/presenced/web/demo/protocol.js";

/** @type {Record<string, string>} */
const files = import.meta.glob("../../spec/vectors/classic.jsonl", { query: "?raw", import: "default", eager: true });

/** @type {{ name: string, user: string, epochMs: number, message: string }[]} */
const classic = Object.values(files).flatMap((text) => text.trim().split("\n").map((line) => JSON.parse(line)));

test("the vectors are found", () => {
  expect(classic.length).toBeGreaterThan(3);
});

test.each(classic)("classic: $name", ({ user, epochMs, message }) => {
  expect(parseMessage(message)).toMatchObject({ userId: user, at: epochMs });
});
