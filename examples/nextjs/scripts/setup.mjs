// Creates the settings of the application and of presenced, and the database with a few people.

import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createClient } from "@libsql/client";
import { hashPassword } from "../lib/password.mjs";

const MIGRATION = "prisma/migrations/20260101000000_people/migration.sql";
const PASSWORD = "presence";

const PEOPLE = { ada: "Ada Lovelace", alan: "Alan Turing", grace: "Grace Hopper", linus: "Linus Pauling" };
const FRIENDS = [
  ["ada", "alan"],
  ["ada", "grace"],
  ["alan", "grace"],
  ["grace", "linus"],
];

/** Copy a template. Secrets are readable by this user only. */
function fill(template, name, replacements) {
  const text = readFileSync(template, "utf-8").replace(/^#.*setup.*\n\n/, "");
  const filled = replacements.reduce((all, [empty, value]) => all.replace(empty, () => value), text);
  writeFileSync(name, filled, { mode: 0o600 });
  console.log(`created ${name}`);
}

function presenced(...command) {
  return execFileSync("presenced", command, { encoding: "utf-8" });
}

function createSettings() {
  const made = presenced("api-key", "--scope", "admin");
  const [key] = made.match(/pk_\S+/);
  const [entry] = made.match(/admin:sha256:\w+/);
  const secret = presenced("webhook", "secret").trim();
  fill(".env.example", ".env", [
    ["SESSION_KEY=", `SESSION_KEY=${randomBytes(32).toString("hex")}`],
    ["API_KEY=", `API_KEY=${key}`],
    ["SECRET=", `SECRET=${secret}`],
  ]);
  fill("presenced.example.toml", "presenced.toml", [
    ['api_keys = [""]', `api_keys = ["${entry}"]`],
    ['webhook_secrets = ""', `webhook_secrets = "${secret}"`],
  ]);
}

/** Create the tables, as `prisma migrate deploy` would, but without the program that it downloads. */
async function createDatabase(url) {
  const database = createClient({ url });
  const tables = await database.execute("SELECT name FROM sqlite_master WHERE name = 'Person'");
  if (tables.rows.length) return;
  await database.executeMultiple(readFileSync(MIGRATION, "utf-8"));
  for (const [id, name] of Object.entries(PEOPLE)) {
    const args = [id, name, await hashPassword(PASSWORD)];
    await database.execute({ sql: 'INSERT INTO "Person" ("id", "name", "password") VALUES (?, ?, ?)', args });
  }
  for (const pair of FRIENDS) {
    for (const args of [pair, pair.toReversed()]) {
      await database.execute({ sql: 'INSERT INTO "_friends" ("A", "B") VALUES (?, ?)', args });
    }
  }
  console.log(`created ${url}: the password of everyone is ${PASSWORD}`);
}

if (!existsSync(".env")) createSettings();
const [, configured] = readFileSync(".env", "utf-8").match(/^DATABASE_URL=(.*)$/m);
await createDatabase(process.env.DATABASE_URL ?? configured);
