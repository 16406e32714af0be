import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.{ts,tsx}"],
    environment: "node", // tests of components name jsdom in their first line
    passWithNoTests: false,
  },
});
