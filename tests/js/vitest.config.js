import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["*.test.js"],
    environment: "node", // the tested modules are pure; tests of elements run in Chromium (tests/browser)
    isolate: false, // no test leaves state behind; separate workers would take most of the time
    passWithNoTests: false,
  },
});
