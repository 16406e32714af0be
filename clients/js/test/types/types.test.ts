import { expect, test } from "vitest";
import { check, emit } from "./compiler.mjs";

test("an application that imports only presenced/react can register the types of its data", () => {
  expect(check("test/types/register")).toBe("");
}, 60_000);

test.each(["esnext", "commonjs"] as const)(
  "in %s, every file with a hook or component begins with 'use client', and the index does not",
  (module) => {
    const files = Object.entries(emit(module)).filter(([name]) => /^react(-native)?\//.test(name));
    expect(files.length).toBeGreaterThan(12);
    for (const [name, code] of files) {
      const hooks = /^export function (use)?[A-Z]|^exports\.(use)?[A-Z]\w* = (use)?[A-Z]/m.test(code);
      // Directives count as long as only directives come before them, as "use strict" does in CommonJS.
      expect(/^("use strict";\n)?"use client";\n/.test(code), name).toBe(hooks);
    }
  },
  60_000,
);
