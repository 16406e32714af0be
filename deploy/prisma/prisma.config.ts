// Tables that Prisma must not change, because presenced creates and migrates them itself.

import { defineConfig } from "prisma/config";

export default defineConfig({
  schema: "schema.prisma",
  datasource: { url: process.env["DATABASE_URL"] ?? "" },
  experimental: { externalTables: true },
  tables: {
    external: [
      "public.presenced_changes",
      "public.presenced_claims",
      "public.presenced_log",
      "public.presenced_nodes",
      "public.presenced_revocations",
      "public.presenced_sessions",
      "public.presenced_webhook_states",
      "public.presenced_users",
      "public.presenced_version",
      "public.presenced_webhooks",
    ],
  },
});
