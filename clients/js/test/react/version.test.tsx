// @vitest-environment jsdom
import { version } from "react";
import { version as domVersion } from "react-dom";
import { expect, inject, test } from "vitest";
import { OnlineDot } from "../../src/react/index.js";

declare module "vitest" {
  interface ProvidedContext {
    react: "18" | "19" | "compiler";
  }
}

test("the tests run with the React that their project names", () => {
  const project = inject("react");
  expect(version).toMatch(project === "18" ? /^18\.2\./ : /^19\./);
  expect(domVersion).toBe(version);
  expect(/const \$ = /.test(String(OnlineDot))).toBe(project === "compiler");
});
