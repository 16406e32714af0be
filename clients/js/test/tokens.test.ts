/** Tokens: when they are fetched, how they travel, and where they never appear. */

import { describe, expect, test } from "vitest";

import type { LogEntry, PresenceOptions } from "../src/index.js";
import { tokenSubprotocol } from "../src/token.js";
import { FakeHost, settle } from "./support/fake-host.js";
import { connected, connecting, drop, establish, nextAttempt, type Page } from "./support/page.js";

/** Return a JWT that expires then. Its signature is not one. */
function jwt(expiresAtMs: number, name = "secret"): string {
  const encode = (value: object) =>
    btoa(JSON.stringify(value)).replace(/=+$/, "").replace(/\+/g, "-").replace(/\//g, "_");
  return `${encode({ alg: "HS256" })}.${encode({ sub: "ada", exp: expiresAtMs / 1_000, name: `ä${name}` })}.c2lnbmF0dXJl`;
}

/** A token function that counts its calls, and returns what `next` returns. */
function counted(next: (call: number) => string) {
  const tokens: string[] = [];
  const token = async () => {
    tokens.push(next(tokens.length + 1));
    return tokens.at(-1);
  };
  return { token, tokens };
}

async function reconnect(page: Page): Promise<void> {
  await drop(page.host);
  await nextAttempt(page);
  await establish(page.host, { resumed: true });
}

describe("the token function", () => {
  test("it is called before each connection, and not before connect", async () => {
    const { token, tokens } = counted((call) => `ticket-${call}`);
    const host = new FakeHost();
    const client = host.client({ token });
    await host.advance(1_000);
    expect(tokens).toEqual([]);
    client.connect();
    await settle();
    await establish(host);
    await reconnect({ host, client });
    await reconnect({ host, client });
    expect(host.sockets.map(({ protocols }) => protocols)).toEqual([
      ["presenced.v1", "presenced.token.ticket-1"],
      ["presenced.v1", "presenced.token.ticket-2"],
      ["presenced.v1", "presenced.token.ticket-3"],
    ]);
    expect(tokens.length).toBe(3);
  });

  test("a ticket is used once, also after an attempt that never opened", async () => {
    const { token, tokens } = counted((call) => `ticket-${call}`);
    const page = await connecting({ token });
    await drop(page.host);
    await nextAttempt(page);
    expect(tokens).toEqual(["ticket-1", "ticket-2"]);
  });

  test("a JWT is reused until a minute before it expires", async () => {
    const host = new FakeHost();
    const { token, tokens } = counted((call) => jwt(host.time + 600_000, `token ${call}`));
    const page = await connected({ token }, host);
    await host.advance(500_000);
    await reconnect(page);
    expect(tokens.length).toBe(1);
    await host.advance(36_000);
    await reconnect(page); // 536 s and a little, which is more than a minute before the end
    expect(tokens.length).toBe(1);
    await host.advance(4_000);
    await reconnect(page); // 540 s are over
    expect(tokens.length).toBe(2);
    expect(host.socket.protocols[1]).toBe(`presenced.token.${tokens[1]}`);
  });

  test.each([
    ["a text", '{"ticket":"ticket-1","userId":"ada"}'],
    ["an object", { ticket: "ticket-1" } as unknown as string],
  ])("JSON instead of a token is not sent, and the error says what to return: %s", async (_, json) => {
    let next = json;
    const page = await connecting({ token: () => next });
    expect(page.host.sockets).toEqual([]);
    const { state, error } = page.client.connection.get();
    expect([state, error?.code, error?.message]).toEqual([
      "waiting",
      "TOKEN_FAILED",
      "the token function returned JSON: return the token alone",
    ]);
    next = "ticket-2";
    await nextAttempt(page);
    expect(page.host.socket.protocols[1]).toBe("presenced.token.ticket-2");
  });

  test.each([
    ["not JSON", "a.b.c"],
    ["JSON without an object", `a.${btoa("null")}.c`],
    ["no exp", `a.${btoa('{"sub":"ada"}')}.c`],
    ["an exp that is no number", `a.${btoa('{"exp":"soon"}')}.c`],
    ["one that is over", jwt(1_000)],
  ])("a token with %s is used once", async (_, value) => {
    const { token, tokens } = counted(() => value);
    const page = await connected({ token });
    await reconnect(page);
    expect(tokens.length).toBe(2);
  });

  test("a fixed token is used for each connection", async () => {
    const page = await connected({ token: "fixed" });
    await reconnect(page);
    expect(page.host.sockets.map(({ protocols }) => protocols[1])).toEqual([
      "presenced.token.fixed",
      "presenced.token.fixed",
    ]);
  });

  test("without the option, no token travels", async () => {
    const { host } = await connected();
    expect(host.socket.protocols).toEqual(["presenced.v1"]);
    expect(host.socket.sent).toEqual([]);
  });

  test("after 4401 a JWT is not reused", async () => {
    const host = new FakeHost();
    const { token, tokens } = counted((call) => jwt(host.time + 600_000, `token ${call}`));
    await connecting({ token }, host);
    await drop(host, 4401);
    await host.advance(1_000);
    expect(tokens.length).toBe(2);
    expect(host.socket.protocols[1]).toBe(`presenced.token.${tokens[1]}`);
  });

  test("after close() a JWT is not reused", async () => {
    const host = new FakeHost();
    const { token, tokens } = counted((call) => jwt(host.time + 600_000, `token ${call}`));
    const { client } = await connected({ token }, host);
    client.close();
    client.connect();
    await settle();
    expect(tokens.length).toBe(2);
  });

  test("a JWT that arrives after close() is not used for the next user", async () => {
    const host = new FakeHost();
    const answers: ((token: string) => void)[] = [];
    const client = host.client({ token: () => new Promise<string>((resolve) => answers.push(resolve)) });
    client.connect();
    await settle();
    client.close();
    answers[0]?.(jwt(host.time + 600_000, "of the first user"));
    await settle();
    client.connect();
    await settle();
    const token = jwt(host.time + 600_000, "of the second user");
    answers[1]?.(token);
    await settle();
    expect(host.sockets.map(({ protocols }) => protocols[1])).toEqual([`presenced.token.${token}`]);
  });
});

describe("how a token travels", () => {
  test("characters that a subprotocol can contain", () => {
    expect(tokenSubprotocol("abc.DEF-0_9~")).toBe("presenced.token.abc.DEF-0_9~");
    for (const token of ["a=", "a/b", "a b", "a,b", "ä", "", "a\n"]) expect(tokenSubprotocol(token) ?? null).toBeNull();
  });

  test("otherwise it is the first message, and no subprotocol", async () => {
    const { host, client } = await connecting({ token: () => "a/b==" });
    expect(host.socket.protocols).toEqual(["presenced.v1"]);
    host.socket.open();
    expect(host.socket.sent).toEqual([{ type: "AUTH", token: "a/b==" }]);
    expect(client.connection.get().state).toBe("connecting");
  });

  test("nothing precedes it, and requests wait until the server has answered it", async () => {
    const { host, client } = await connecting({ token: "a/b==" });
    client.user("bob").subscribe(() => {});
    client.setStatus({ status: "busy" });
    host.socket.open();
    await host.advance(5_000);
    expect(host.socket.sent.map(({ type }) => type)).toEqual(["AUTH"]);
    await establish(host);
    expect(host.socket.sent.map(({ type }) => type)).toEqual(expect.arrayContaining(["WATCH", "SET_STATUS"]));
  });

  test("it is never in the URL", async () => {
    const page = await connected({ token: () => "ticket" });
    await reconnect(page);
    for (const { url } of page.host.sockets) expect(url).not.toContain("ticket");
  });
});

describe("where a token never appears", () => {
  const SECRET = "s3cr3t";

  /** Everything that the client wrote anywhere while it fetched, sent and renewed tokens, and was refused. */
  async function written(options: PresenceOptions): Promise<string> {
    const entries: LogEntry[] = [];
    const host = new FakeHost();
    const page = await connected({ ...options, log: (entry) => entries.push(entry) }, host);
    const { client } = page;
    host.socket.receive({ type: "AUTH_EXPIRING", expiresAt: host.time + 60_000 });
    await settle();
    void client.wire.request({ type: "AUTH", token: SECRET } as { type: string });
    await host.signal("leaving");
    await reconnect(page);
    const report = client.explain();
    const saved = [...host.storage.entries()];
    await drop(host, 4401, "expired");
    await host.advance(1_000);
    await drop(host, 4401, "expired");
    await host.advance(1_000);
    return JSON.stringify([
      entries,
      report,
      saved,
      client.explain(),
      client.connection.get(),
      host.sockets.map(({ url }) => url),
    ]);
  }

  test.each([
    ["in a subprotocol", () => SECRET],
    ["as AUTH", () => `${SECRET}/==`],
    ["a JWT", () => jwt(1_800_000_000_000, SECRET)],
  ])("%s", async (_, token) => {
    const text = await written({ token });
    expect(text.length).toBeGreaterThan(500);
    expect(text).not.toContain(SECRET);
    expect(text).not.toContain(token());
    expect(text).not.toContain(token().slice(20, 40) || SECRET);
  });

  test("a fixed one", async () => {
    expect(await written({ token: SECRET })).not.toContain(SECRET);
  });
});
