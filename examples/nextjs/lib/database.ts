import "server-only";

import { PrismaLibSql } from "@prisma/adapter-libsql";
import { PrismaClient } from "@/generated/prisma/client";

// In development, modules are loaded again after each edit. The connection is not.
const globals = globalThis as { prisma?: PrismaClient };

export const prisma =
  globals.prisma ??
  new PrismaClient({ adapter: new PrismaLibSql({ url: process.env.DATABASE_URL ?? "file:people.db" }) });

globals.prisma = prisma;
