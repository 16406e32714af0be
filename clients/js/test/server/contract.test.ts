/// <reference types="node" />
/** The helpers against the real server: every method, a token, a ticket, changes over a restart, and webhooks. */

import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import {
  type Change,
  type Operations,
  type PresenceServer,
  presenceServer,
  signToken,
  verifyWebhook,
  type WebhookEvent,
} from "../../src/server/index.js";
import { join, readUntil } from "./clients.js";
import { newKey, Presenced, PYTHON, until } from "./presenced.js";
import { faults } from "./schemas.js";

vi.setConfig({ testTimeout: 120_000 }); // processes start, and a request may wait for the database

const JWT_KEY = "a secret of forty characters, or nearly so";
const WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const admin = newKey("admin");
const read = newKey("read");

const received: WebhookEvent[] = [];
const forged: unknown[] = [];
const receiver = createServer(async (request, response) => {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part);
  try {
    const { events } = await verifyWebhook({ headers: request.headers, body: Buffer.concat(parts) }, WEBHOOK_SECRET);
    received.push(...events);
  } catch (error) {
    forged.push(error);
  }
  response.writeHead(204).end();
});

let server: Presenced;
let tickets: Presenced;
let presence: PresenceServer;

beforeAll(async () => {
  await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const { port } = receiver.address() as AddressInfo;
  const keys = { PRESENCED_API_KEYS: `${admin.entry} ${read.entry}` };
  server = new Presenced({
    ...keys,
    PRESENCED_AUTH: "jwt",
    PRESENCED_JWT_KEY: JWT_KEY,
    PRESENCED_DATABASE: "sqlite",
    PRESENCED_WEBHOOK_URLS: `http://127.0.0.1:${port}/`,
    PRESENCED_WEBHOOK_SECRETS: WEBHOOK_SECRET,
    PRESENCED_OUTGOING_PRIVATE: "true",
  });
  tickets = new Presenced({ ...keys, PRESENCED_AUTH: "ticket" });
  await Promise.all([server.start(), tickets.start()]);
  presence = presenceServer({ url: server.url, apiKey: admin.key });
  await presence.getLastSeen({ userId: "nobody" }, { retries: 20 }); // the database starts after the server
}, 180_000);

afterAll(async () => {
  receiver.close();
  await Promise.all([server.remove(), tickets.remove()]);
});

test("every method gets what its type promises", async () => {
  const userId = "ada/å 1";
  const source = "calendar";
  await join(server.url, await signToken({ userId, tokenId: "t1" }, JWT_KEY), "lobby");
  await until(async () => (await presence.listPastSessions({ userId })).sessions.length > 0, "the stored session");
  const results: { [K in keyof Operations]?: unknown } = {
    announce: await presence.announce({ userId, online: true }),
    setStatus: await presence.setStatus({ userId, status: "busy", text: "writing", data: { page: 7 }, expiresIn: 60 }),
    setClaim: await presence.setClaim({ userId, source, status: "away", priority: 10 }),
    listClaims: await presence.listClaims({ userId }),
    getUser: await presence.getUser({ userId, viewer: 7 }),
    queryUsers: await presence.queryUsers({ users: [userId, 7, ""] }),
    listOnline: await presence.listOnline({ limit: 1 }),
    getCounts: await presence.getCounts(),
    listRooms: await presence.listRooms(),
    getRoom: await presence.getRoom({ room: "lobby", viewer: userId }),
    followChanges: await presence.followChanges({ limit: 10 }),
    explainUser: await presence.explainUser({ userId, viewer: "bo" }),
    clearClaim: await presence.clearClaim({ userId, source }),
    clearStatus: await presence.clearStatus({ userId }),
    getLastSeen: await presence.getLastSeen({ userId }),
    queryLastSeen: await presence.queryLastSeen({ users: [userId, "nobody"] }),
    listHistory: await presence.listHistory({ userId, limit: 5 }),
    listPastSessions: await presence.listPastSessions({ userId }),
    listAllSessions: await presence.listAllSessions({ limit: 5 }),
    listSessions: await presence.listSessions({ userId }),
    disconnect: await presence.disconnect({ userId }),
    listDeadLetters: await presence.listDeadLetters(),
    retryDeadLetters: await presence.retryDeadLetters(),
    revoke: await presence.revoke({ userId, tokenId: "t1" }),
    erase: await presence.erase({ userId }),
    newTicket: await presenceServer({ url: tickets.url, apiKey: admin.key }).newTicket({ userId: 7, lasts: 60 }),
  };
  for (const [name, response] of Object.entries(results)) expect(faults(name, response)).toEqual([]);
  expect(results).toMatchObject({
    getUser: { userId, status: "away" },
    getRoom: { members: [{ userId, data: { role: "host" } }] },
    listSessions: { sessions: [{ device: "test", rooms: ["lobby"] }] },
    disconnect: { closed: 1 },
  });
  const stream = await presence.watch({ users: [userId] });
  expect(await readUntil(stream, "event: snapshot")).toContain("event: snapshot");
  const called = [...Object.keys(results), "watch", "changes", "snapshot", "ticket"];
  expect(called.sort()).toEqual(Object.keys(presence).sort());
});

test("a refusal of the server is a PresenceError that says what to do", async () => {
  const reader = presenceServer({ url: server.url, apiKey: read.key });
  const refused = reader.announce({ userId: "ada", online: true });
  await expect(refused).rejects.toMatchObject({ code: "FORBIDDEN", numericCode: 403, retryable: false });
  const anonymous = presenceServer({ url: server.url, apiKey: "pk_wrong" });
  await expect(anonymous.getCounts()).rejects.toMatchObject({ code: "UNAUTHORIZED" });
  const misspelt = presence.setStatus({ userId: "ada", status: "asleep" } as unknown as {
    userId: string;
    status: "busy";
  });
  await expect(misspelt).rejects.toMatchObject({ code: "BAD_BODY", hint: expect.stringContaining("allowed values") });
  await expect(presence.newTicket({ userId: 7 })).rejects.toMatchObject({ code: "CONFLICT" });
});

test("the server accepts a signed token, with its grants", async () => {
  await presence.announce({ userId: "grace", online: true });
  await presence.announce({ userId: "eve", online: true });
  const token = await signToken({ userId: "ada", expiresIn: 60, presence: { block: ["eve"] } }, JWT_KEY);
  const ada = presenceServer({ url: server.url, apiKey: token });
  const text = await readUntil(await ada.watch({ everyone: true }), '"more":false');
  expect(text).toContain('"grace"');
  expect(text).not.toContain('"eve"');
  const wrong = await signToken({ userId: "ada" }, `${JWT_KEY}!`);
  const stranger = presenceServer({ url: server.url, apiKey: wrong });
  await expect(stranger.watch({ everyone: true })).rejects.toMatchObject({ code: "UNAUTHORIZED" });
});

test("the server accepts a ticket once", async () => {
  const ticket = await presenceServer({ url: tickets.url, apiKey: admin.key }).ticket("ada", {
    watch: ["bo"],
    lasts: 60,
  });
  const watch = () => presenceServer({ url: tickets.url, apiKey: ticket }).watch({ users: ["bo"] });
  expect(await readUntil(await watch(), "event: snapshot")).toContain('"bo"');
  await expect(watch()).rejects.toMatchObject({ code: "UNAUTHORIZED" });
});

test("a snapshot has the records that the client starts with", async () => {
  await presence.announce({ userId: 7, online: true });
  const { at, users } = await presence.snapshot([7, "nobody"], { viewer: "ada" });
  expect(users).toMatchObject([
    { userId: 7, status: "online" },
    { userId: "nobody", status: "offline" },
  ]);
  expect(Math.abs(at - Date.now())).toBeLessThan(10_000);
  const errors: unknown[] = [];
  const wrong = presenceServer({ url: server.url, apiKey: "pk_wrong", onError: (error) => errors.push(error) });
  expect((await wrong.snapshot([7])).users).toEqual([]);
  expect(errors).toMatchObject([{ code: "UNAUTHORIZED" }]);
});

test("changes are followed over a restart, which says that some may be lost", async () => {
  const seen: Change[] = [];
  const stop = new AbortController();
  let loads = 0;
  const following = (async () => {
    for (;;) {
      try {
        const { position } = await presence.listOnline();
        loads++;
        for await (const change of presence.changes(position, { signal: stop.signal })) seen.push(change);
      } catch (error) {
        if ((error as { code?: string }).code !== "CURSOR_TOO_OLD") return error;
      }
    }
  })();
  const saw = (id: string) => seen.some(({ userId }) => userId === id);
  await until(() => loads === 1, "the first list");
  await presence.announce({ userId: "before", online: true });
  await until(() => saw("before"), "the change before the restart");
  await server.kill();
  await server.start();
  await until(() => loads === 2, "the list after the restart");
  await presence.announce({ userId: "after", online: true });
  await until(() => saw("after"), "the change after the restart");

  const last = seen.at(-1)?.position;
  await presence.announce({ userId: "after", online: false });
  for await (const change of presence.changes(last)) {
    expect(change).toMatchObject({ userId: "after", was: "online", status: "offline", cause: "announcement" });
    break;
  }
  stop.abort();
  expect(await following).toMatchObject({ name: "AbortError" });
});

test("webhooks of the server verify, and have the documented events", async () => {
  await presence.announce({ userId: "hook", online: true });
  await presence.setStatus({ userId: "hook", status: "busy", text: "é🙂" });
  await presence.announce({ userId: "hook", online: false });
  const about = () => received.filter(({ data }) => "userId" in data && data.userId === "hook");
  await until(() => about().at(-1)?.type === "user.offline", "the webhook");
  for (const event of about()) {
    if (event.type === "room.occupied" || event.type === "room.vacated") throw new Error("it is about a user");
    expect(event.data.version).toBeGreaterThan(0);
    expect(event.data.was).toMatch(/^(online|busy|offline)$/);
  }
  expect(forged).toEqual([]);
});

test("requests that the repository's own signer signs verify", async () => {
  const program = `
import json, sys, time
from presenced.webhooks.signing import decode_secret, new_secret, signed_headers
secrets, body = [new_secret(), new_secret()], '{"type": "presence.test", "data": {}, "text": "é🙂"}'
headers = signed_headers(map(decode_secret, secrets), "msg_1", int(time.time()), body.encode())
print(json.dumps({"secrets": secrets, "headers": headers, "body": body}))
`;
  const signed = JSON.parse(execFileSync(PYTHON, ["-c", program], { encoding: "utf-8" }));
  for (const secret of [...signed.secrets, signed.secrets]) {
    const request = new Request("http://localhost/", { method: "POST", headers: signed.headers, body: signed.body });
    expect(await verifyWebhook(request, secret)).toEqual({ type: "presence.test", events: [] });
  }
  await expect(verifyWebhook(signed, WEBHOOK_SECRET)).rejects.toMatchObject({ code: "BAD_SIGNATURE" });
});
