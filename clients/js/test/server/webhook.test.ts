/// <reference types="node" />
import { createHmac } from "node:crypto";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { verifyWebhook } from "../../src/server/index.js";

/** Values of the tests of Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks). */
const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const TIME = 1_614_265_330;
const BODY = '{"test": 2432232314}';
const SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

const OTHER_SECRET = `whsec_${Buffer.from("another secret of 32 characters!").toString("base64")}`;
const BATCH = JSON.stringify({
  type: "presence.batch",
  timestamp: "2026-05-04T09:30:00.123Z",
  data: {
    events: [{ id: "msg_1", type: "room.occupied", timestamp: "2026-05-04T09:30:00.121Z", data: { room: "é🙂" } }],
  },
});

beforeEach(() => vi.useFakeTimers({ now: TIME * 1000 }));
afterEach(() => vi.useRealTimers());

function sign(body: string, secret = SECRET, time: string | number = TIME): string {
  const key = Buffer.from(secret.replace("whsec_", ""), "base64");
  return `v1,${createHmac("sha256", key).update(`${ID}.${time}.${body}`).digest("base64")}`;
}

function request(body: string, signature: string, time: string | number = TIME): Request {
  const headers = { "webhook-id": ID, "webhook-timestamp": String(time), "webhook-signature": signature };
  return new Request("http://localhost/hook", { method: "POST", headers, body });
}

test("the values of Standard Webhooks verify", async () => {
  expect(sign(BODY)).toBe(SIGNATURE);
  expect((await verifyWebhook(request(BODY, SIGNATURE), SECRET)).events).toEqual([]);
  await expect(verifyWebhook(request(`${BODY} `, SIGNATURE), SECRET)).rejects.toMatchObject({ code: "BAD_SIGNATURE" });
});

test("it returns the events of a batch, and none of a test", async () => {
  expect(await verifyWebhook(request(BATCH, sign(BATCH)), SECRET)).toEqual({
    type: "presence.batch",
    events: JSON.parse(BATCH).data.events,
  });
  const sent = '{"type":"presence.test","timestamp":"2026-05-04T09:30:00Z","data":{}}';
  expect(await verifyWebhook(request(sent, sign(sent)), SECRET)).toEqual({ type: "presence.test", events: [] });
});

test.each([
  ["text", BATCH],
  ["bytes", Buffer.from(BATCH)],
])("plain headers and a body as %s verify, as other frameworks have them", async (_, body) => {
  const headers = {
    "webhook-id": ID,
    "webhook-timestamp": `${TIME}`,
    "webhook-signature": sign(BATCH),
    cookie: ["a", "b"],
  };
  expect((await verifyWebhook({ headers, body }, SECRET)).events).toHaveLength(1);
});

test("one of several signatures is enough, with one of several secrets", async () => {
  const both = `${sign(BATCH, OTHER_SECRET)} ${sign(BATCH)}`;
  expect((await verifyWebhook(request(BATCH, both), SECRET)).events).toHaveLength(1);
  for (const secrets of [[OTHER_SECRET, SECRET], `${OTHER_SECRET} ${SECRET}\n`]) {
    expect((await verifyWebhook(request(BATCH, sign(BATCH)), secrets)).events).toHaveLength(1);
  }
});

test.each([
  ["another secret's signature", sign(BATCH, OTHER_SECRET), TIME],
  ["a signature of another time", sign(BATCH, SECRET, TIME - 1), TIME],
  ["no signature", "", TIME],
  ["a signature without its version", sign(BATCH).slice(3), TIME],
  ["a signature of another version", sign(BATCH).replace("v1", "v1a"), TIME],
  ["a signature of a later version", sign(BATCH).replace("v1", "v2"), TIME],
  ["the beginning of a signature", sign(BATCH).slice(0, 20), TIME],
  ["a signature that is not Base64", "v1,é", TIME],
  ["the right signature after too many others", `${"v1,AAAA ".repeat(10)}${sign(BATCH)}`, TIME],
  ["a request of 301 seconds ago", sign(BATCH, SECRET, TIME - 301), TIME - 301],
  ["a request 301 seconds ahead", sign(BATCH, SECRET, TIME + 301), TIME + 301],
  ["a signed time that is no number", sign(BATCH, SECRET, "soon"), "soon"],
])("%s is refused", async (_, signature, time) => {
  const headers = { "webhook-id": ID, "webhook-timestamp": String(time), "webhook-signature": signature };
  await expect(verifyWebhook({ headers, body: BATCH }, SECRET)).rejects.toMatchObject({ code: "BAD_SIGNATURE" });
});

test("a line break after the secret does not turn a forgery into a mistake of the receiver", async () => {
  const forged = verifyWebhook(request(BATCH, sign(BATCH, OTHER_SECRET)), `${SECRET}\n`);
  await expect(forged).rejects.toMatchObject({ code: "BAD_SIGNATURE" });
});

test("a request of 5 minutes ago is accepted", async () => {
  const time = TIME - 300;
  expect((await verifyWebhook(request(BATCH, sign(BATCH, SECRET, time), time), SECRET)).events).toHaveLength(1);
});

test("a request without headers is refused", async () => {
  const bare = new Request("http://localhost/", { method: "POST", body: BATCH });
  await expect(verifyWebhook(bare, SECRET)).rejects.toMatchObject({ code: "BAD_SIGNATURE" });
});

test.each([
  undefined,
  "",
  "whsec_",
  "whsec_c2hvcnQ=",
  "whsec_***",
  SECRET.slice(6),
  SECRET.replace("whsec_", "secret"),
])("the secret %j is a mistake of the receiver, which the error does not show", async (secret) => {
  const refused = verifyWebhook(request(BATCH, sign(BATCH)), secret as string);
  await expect(refused).rejects.toThrow(new TypeError("secret: expected whsec_ and Base64"));
});
