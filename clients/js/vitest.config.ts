import { transformAsync } from "@babel/core";
import { defineConfig, type Plugin } from "vitest/config";
import { documented } from "./test/vue/documented.mjs";

const REACT_TESTS = "test/react/**/*.test.tsx";

/** Tests that start the server or other runtimes. They take most of the time. */
const CONTRACT_TESTS = ["test/**/contract.test.ts", "test/server/runtimes.test.ts"];

/** Compile hooks, components and tests with the React Compiler, as an application may. */
const reactCompiler: Plugin = {
  name: "react-compiler",
  enforce: "pre",
  async transform(code, id) {
    if (!/\/(src|test)\/react\/.*\.tsx?$/.test(id)) return null;
    const compiled = await transformAsync(code, {
      filename: id,
      babelrc: false,
      configFile: false,
      sourceMaps: true,
      parserOpts: { plugins: ["typescript", "jsx"] },
      plugins: [["babel-plugin-react-compiler", { panicThreshold: id.includes("/src/") ? "all_errors" : "none" }]],
    });
    return compiled?.code ? { code: compiled.code, map: compiled.map } : null;
  },
};

export default defineConfig({
  test: {
    projects: [
      {
        plugins: [documented],
        resolve: {
          alias: {
            "presenced/vue": `${import.meta.dirname}/src/vue/index.ts`,
            "react-native": `${import.meta.dirname}/test/react-native/stand-in.tsx`,
          },
        },
        test: {
          name: "core",
          include: ["test/**/*.test.{ts,tsx}"],
          exclude: [REACT_TESTS, ...CONTRACT_TESTS],
          environment: "node", // tests of components name jsdom in their first line
        },
      },
      { test: { name: "contract", include: CONTRACT_TESTS, environment: "node" } },
      {
        test: {
          name: "react",
          include: [REACT_TESTS],
          setupFiles: ["test/react/setup.ts"],
          provide: { react: "19" },
        },
      },
      {
        resolve: { alias: [{ find: /^(react|react-dom)($|\/)/, replacement: "$1-18$2" }] },
        test: {
          name: "react-18",
          include: [REACT_TESTS],
          setupFiles: ["test/react/react-18.mjs", "test/react/setup.ts"],
          provide: { react: "18" },
        },
      },
      {
        plugins: [reactCompiler],
        test: {
          name: "react-compiler",
          include: [REACT_TESTS],
          setupFiles: ["test/react/setup.ts"],
          provide: { react: "compiler" },
        },
      },
    ],
    passWithNoTests: false,
  },
});
