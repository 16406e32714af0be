/** Build the package: `tsc` once for ES modules and once for CommonJS, one output per source file. */

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";

const FORMATS = [
  { folder: "dist/esm", module: "esnext" },
  { folder: "dist/cjs", module: "commonjs" },
];

rmSync("dist", { recursive: true, force: true });
for (const { folder, module } of FORMATS) {
  const options = ["--noEmit", "false", "--declaration", "--rootDir", "src", "--outDir", folder, "--module", module];
  execFileSync("node_modules/.bin/tsc", ["-p", "tsconfig.build.json", ...options], { stdio: "inherit" });
  mkdirSync(`${folder}/react`, { recursive: true });
  copyFileSync("src/react/dots.css", `${folder}/react/dots.css`);
}
// Node reads the module format of `dist/cjs/*.js` from the nearest package.json.
writeFileSync("dist/cjs/package.json", '{"type":"commonjs"}\n');
