/**
 * Bundle the core into `client.js`, which the server serves: `node scripts/page.mjs [output]`.
 *
 * The result is committed, so that the server's package needs no Node.js. `test/page.test.ts` compares it with the source.
 */

import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import packageJson from "../package.json" with { type: "json" };

const fromHere = (path) => fileURLToPath(new URL(path, import.meta.url));

await build({
  entryPoints: [fromHere("../src/index.ts")],
  outfile: process.argv[2] ?? fromHere("../../../src/presenced/web/client.js"),
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  tsconfigRaw: "{}", // the options of the type checker must not change the output
  banner: { js: `/* The client of presenced, ${packageJson.version}. ${packageJson.license}. */` },
});
