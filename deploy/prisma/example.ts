// Queries of the presence that presenced stores, with Prisma 7. Copy the functions you need. README.md says how to run
// this file.
//
// The results are for your backend. They include invisible users, so your application decides who sees them.

import { PrismaPg } from "@prisma/adapter-pg";
import { PrismaClient, type PresenceUser } from "./generated/prisma/client.js";

const ALIVE = 15_000;
const PRESENT = ["online", "away", "busy"]; // the index supports this list, but not `not: "offline"`

/** Return the running servers. Each updates its row every half second. If a whole machine failed, the tables still
 * show its users online. ALIVE is in milliseconds, so your clock and the server's must agree. */
export async function servers(prisma: PrismaClient): Promise<{ node: string; epoch: string }[]> {
  return prisma.presenceNode.findMany({
    where: { stoppedMs: null, signMs: { gt: Date.now() - ALIVE } },
    select: { node: true, epoch: true },
  });
}

/** Return users who are online, away or busy, by user id: the first `limit` after the user `after`. */
export async function whoIsOnline(prisma: PrismaClient, limit = 100, after = ""): Promise<PresenceUser[]> {
  return prisma.presenceUser.findMany({
    where: { status: { in: PRESENT }, userId: { gt: after }, OR: await servers(prisma) },
    orderBy: { userId: "asc" },
    take: limit,
  });
}

export interface Seen {
  status: string;
  /** Time at which the user was last there; now, if the user is there. */
  lastSeen: Date;
  /** Time at which the user last did something. */
  lastActive: Date;
}

/** Return when users were last seen. Users who were never seen are missing. */
export async function lastSeen(prisma: PrismaClient, userIds: string[]): Promise<Map<string, Seen>> {
  const [alive, users] = await Promise.all([
    servers(prisma),
    prisma.presenceUser.findMany({ where: { userId: { in: userIds } } }),
  ]);
  const isAlive = new Set(alive.map(({ node, epoch }) => `${node} ${epoch}`));
  return new Map(
    users.map((user) => {
      const status = isAlive.has(`${user.node} ${user.epoch}`) ? user.status : "offline";
      const seen = status === "offline" ? date(user.seenMs) : new Date();
      return [user.userId, { status, lastSeen: seen, lastActive: date(user.activeMs) }];
    }),
  );
}

export interface Past {
  version: bigint;
  status: string;
  was: string;
  cause: string;
  at: Date;
  text: string;
}

/** Return what others saw of a user, newest first. `before` is the version of the last entry of the previous page. */
export async function history(prisma: PrismaClient, userId: string, limit = 50, before?: bigint): Promise<Past[]> {
  const changes = await prisma.presenceChange.findMany({
    where: { userId, ...(before === undefined ? {} : { version: { lt: before } }) },
    orderBy: { version: "desc" },
    take: limit,
  });
  return changes.map(({ version, status, was, cause, atMs, details }) => {
    const { text = "" } = JSON.parse(details ?? "{}") as { text?: string };
    return { version, status, was, cause, at: date(atMs), text };
  });
}

/** Return the open sessions of a user with their devices, oldest first. */
export async function openSessions(
  prisma: PrismaClient,
  userId: string,
): Promise<{ connectionId: string; device: string; since: Date }[]> {
  const sessions = await prisma.presenceSession.findMany({
    where: { userId, closedMs: null, OR: await servers(prisma) },
    orderBy: { openedMs: "asc" },
    take: 100,
  });
  return sessions.map(({ connectionId, device, openedMs }) => ({ connectionId, device, since: date(openedMs) }));
}

function date(milliseconds: bigint): Date {
  return new Date(Number(milliseconds));
}

// Usage: node example.js USER...
async function main(userIds: string[]): Promise<void> {
  const adapter = new PrismaPg({ connectionString: process.env["DATABASE_URL"] });
  const prisma = new PrismaClient({ adapter });
  try {
    const answer = {
      online: (await whoIsOnline(prisma)).map(({ userId, status }) => ({ userId, status })),
      lastSeen: Object.fromEntries(await lastSeen(prisma, userIds)),
      history: Object.fromEntries(await Promise.all(userIds.map(async (id) => [id, await history(prisma, id)]))),
      sessions: Object.fromEntries(await Promise.all(userIds.map(async (id) => [id, await openSessions(prisma, id)]))),
    };
    console.log(JSON.stringify(answer, (_, value: unknown) => (typeof value === "bigint" ? Number(value) : value), 2));
  } finally {
    await prisma.$disconnect();
  }
}

await main(process.argv.slice(2));
