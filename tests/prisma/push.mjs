// What `prisma db push` does: `node push.mjs SCHEMA TABLE,TABLE…` with the tables that are not Prisma's to change.
//
// The command itself needs a program that it would fetch; this is the same engine from npm, which has no command.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { PrismaPg } from "@prisma/adapter-pg";
import { bindMigrationAwareSqlAdapterFactory } from "@prisma/driver-adapter-utils";
import * as engines from "@prisma/schema-engine-wasm/schema_engine_bg";
import Result from "pg/lib/result.js";

// The engine asks the catalogue for columns of the type "char", which the adapter does not know: as char(1) it does.
const addFields = Result.prototype.addFields;
Result.prototype.addFields = function (fields) {
  return addFields.call(this, fields.map((field) => (field.dataTypeID === 18 ? { ...field, dataTypeID: 1042 } : field)));
};

const glue = import.meta.resolve("@prisma/schema-engine-wasm/schema_engine_bg");
const program = readFileSync(fileURLToPath(glue.replace(/\.js$/, ".wasm")));
const { instance } = await WebAssembly.instantiate(program, { "./schema_engine_bg.js": engines });
engines.__wbg_set_wasm(instance.exports);
instance.exports.__wbindgen_start();

const [, , path, tables] = process.argv;
const content = readFileSync(path, "utf8");
const adapter = bindMigrationAwareSqlAdapterFactory(new PrismaPg({ connectionString: process.env.DATABASE_URL }));
const engine = await engines.SchemaEngine.new({ datamodels: [[path, content]] }, () => {}, adapter);
const { executedSteps, warnings } = await engine.schemaPush({
  schema: { files: [{ path, content }] },
  force: false,
  filters: { externalTables: tables.split(",").filter(Boolean), externalEnums: [] },
});
console.log(JSON.stringify({ executedSteps, warnings }));
process.exit();
