/** Renewal of tokens on the open connection, and attempts that were abandoned meanwhile. */

import { describe, expect, test } from "vitest";

import { FakeHost, settle } from "./support/fake-host.js";
import { connected, connecting, drop, establish, nextAttempt, type Page } from "./support/page.js";
import { requests } from "./support/reading.js";
import { changes, member, receive, roomSnapshot } from "./support/records.js";

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

describe("AUTH_EXPIRING", () => {
  const expiring = async ({ host }: Page) => {
    host.socket.receive({ type: "AUTH_EXPIRING", expiresAt: host.time + 60_000 });
    await settle();
  };

  test("a newer token is sent on the open connection", async () => {
    const { token, tokens } = counted((call) => jwt(1_700_000_600_000, `token ${call}`));
    const page = await connected({ token });
    await expiring(page);
    expect(tokens.length).toBe(2);
    expect(page.host.socket.sent).toEqual([{ type: "AUTH", token: tokens[1], id: expect.anything() }]);
    expect(page.client.connection.get().state).toBe("open");
  });

  describe("a newer token that does not allow a room", () => {
    const forbidden = { type: "ERROR", code: 114, name: "NOT_ALLOWED", message: "not the hall", room: "hall" };

    async function joined() {
      const page = await connected({ token: counted((call) => `ticket-${call}`).token });
      const { host, client } = page;
      const errors: string[] = [];
      client.on("rejected", ({ code }) => errors.push(code));
      client.room("hall").subscribe(() => {});
      client.count({ room: "hall" }).subscribe(() => {});
      const membership = client.join("hall", { seat: 1 });
      await membership.joined;
      const count = { type: "PRESENCE_COUNT", watch: "room", room: "hall", online: 7 };
      const snapshots = [roomSnapshot("hall", [member("bob", 1)]), count as never];
      await receive(host, ...snapshots, changes());
      const shown = () => {
        const { known, joined, count, members } = client.room("hall").get();
        const [{ status }, online] = [client.user("bob").get(), client.count({ room: "hall" }).get()];
        return [known, joined, count, members.size, status, online];
      };
      return { ...page, errors, membership, shown, snapshots };
    }

    test("ends the membership and the subscriptions, until a token allows it again", async () => {
      const page = await joined();
      const { host, errors, membership, shown, snapshots } = page;
      await expiring(page);
      const { length } = requests(host);
      await receive(host, forbidden as never);
      expect([shown(), errors]).toEqual([[false, false, 0, 0, "unknown", null], ["NOT_ALLOWED"]]);
      await receive(host, changes());
      expect([requests(host).length, page.client.connection.get().stale]).toEqual([length, false]);
      await expiring(page);
      expect(requests(host).slice(length + 1)).toEqual(['JOIN hall {"seat":1}', "WATCH hall count"]);
      await receive(host, ...snapshots, changes());
      expect(shown()).toEqual([true, true, 1, 1, "online", 7]);
      await membership.setData({ seat: 2 });
    });

    test("also with the connection that resumes the session", async () => {
      const page = await joined();
      const { host, errors, shown } = page;
      await drop(host);
      await nextAttempt(page);
      await establish(host, {}, [forbidden as never]);
      expect([shown(), errors]).toEqual([[false, false, 0, 0, "unknown", null], ["NOT_ALLOWED"]]);
      expect([requests(host), page.client.connection.get().stale]).toEqual([[], false]);
    });

    test("is found out with the next connection, if the message about it was lost", async () => {
      const page = await joined();
      const { host, client, errors, shown } = page;
      await drop(host);
      await nextAttempt(page);
      host.socket.onSend = ({ type, id }) =>
        queueMicrotask(() => {
          const { room: _, ...refusal } = forbidden;
          host.socket.receive(type === "JOIN" || type === "WATCH" ? { ...refusal, id } : { type: "ACK", id });
        });
      host.socket.establish();
      await settle();
      expect(requests(host)).toEqual(
        expect.arrayContaining(['JOIN hall {"seat":1}', "WATCH hall count", "WATCH hall"]),
      );
      expect([shown(), client.connection.get().stale]).toEqual([[false, false, 0, 0, "unknown", null], false]);
      expect(new Set(errors)).toEqual(new Set(["NOT_ALLOWED"]));
    });

    test("rejects data that is on its way", async () => {
      const page = await joined();
      const { host, membership, errors } = page;
      host.socket.onSend = () => {};
      const data = membership.setData({ seat: 2 });
      await settle();
      const id = host.socket.sent.at(-1)?.id;
      await receive(host, forbidden as never, { type: "ERROR", code: 112, name: "NOT_A_MEMBER", message: "", id });
      await expect(data).rejects.toMatchObject({ code: "NOT_A_MEMBER" });
      expect(errors).toEqual(["NOT_ALLOWED"]);
    });
  });

  test("the next connection reuses the newer token", async () => {
    const host = new FakeHost();
    const { token, tokens } = counted((call) => jwt(host.time + 600_000, `token ${call}`));
    const page = await connected({ token }, host);
    await expiring(page);
    await reconnect(page);
    expect(host.socket.protocols[1]).toBe(`presenced.token.${tokens[1]}`);
  });

  test("a ticket that was sent on the open connection is not used again", async () => {
    const { token, tokens } = counted((call) => `ticket-${call}`);
    const page = await connected({ token });
    await expiring(page);
    await reconnect(page);
    expect(tokens.length).toBe(3);
    expect(page.host.socket.protocols[1]).toBe("presenced.token.ticket-3");
  });

  test("what an earlier token did not allow is requested again", async () => {
    const { token } = counted((call) => `ticket-${call}`);
    const page = await connecting({ token });
    const { host, client } = page;
    const rejected: string[] = [];
    client.on("rejected", ({ code }) => rejected.push(code));
    client.room("staff").subscribe(() => {});
    host.socket.establish();
    await settle();
    const [watch] = host.socket.sentOf("WATCH");
    host.socket.receive({ type: "ERROR", code: 114, name: "NOT_ALLOWED", message: "no", id: watch?.id } as never);
    await settle();
    expect([rejected, host.socket.sentOf("WATCH").length]).toEqual([["NOT_ALLOWED"], 1]);
    host.socket.acceptAll();
    await expiring(page);
    await settle();
    expect(host.socket.sentOf("WATCH").length).toBe(2);
  });

  test("with a fixed token nothing is sent", async () => {
    const page = await connected({ token: "fixed" });
    await expiring(page);
    expect(page.host.socket.sent).toEqual([]);
    expect(page.client.connection.get().state).toBe("open");
  });

  test("the function throws: the connection goes on, and 4401 asks for another token", async () => {
    let fails = false;
    const token = () => {
      if (fails) throw new Error("signing is down");
      return "ticket";
    };
    const page = await connected({ token });
    fails = true;
    await expiring(page);
    expect(page.client.connection.get()).toMatchObject({ state: "open", error: null });
    fails = false;
    await drop(page.host, 4401);
    await page.host.advance(1_000);
    expect(page.host.sockets.length).toBe(2);
  });

  test.each([null, ""])(
    "the function returns %j: the user has signed out, and is offline immediately",
    async (none) => {
      let token: string | null = "ticket";
      const page = await connected({ token: () => token });
      token = none;
      await expiring(page);
      expect(page.client.connection.get().state).toBe("closed");
      expect(page.host.socket).toMatchObject({ isClosed: true, closeCode: 1000 });
    },
  );

  test("a token that comes after the connection has ended is not sent", async () => {
    const answers: ((token: string) => void)[] = [];
    const token = () => new Promise<string>((resolve) => answers.push(resolve));
    const page = await connecting({ token });
    answers[0]?.("ticket-1");
    await settle();
    await establish(page.host);
    await expiring(page);
    await drop(page.host);
    await page.host.advance(1_000);
    answers[2]?.("ticket-3");
    await settle();
    await establish(page.host, { resumed: true });
    answers[1]?.("ticket-2");
    await settle();
    expect(page.host.sockets.map(({ protocols }) => protocols[1])).toEqual([
      "presenced.token.ticket-1",
      "presenced.token.ticket-3",
    ]);
    expect(page.host.sockets.flatMap(({ sent }) => sent)).toEqual([]);
  });
});

describe("attempts that were abandoned while they awaited a token", () => {
  /** A page whose token function answers when the test says so. */
  async function waiting() {
    const answers: ((token: string | null) => void)[] = [];
    const failures: ((error: Error) => void)[] = [];
    const page = await connecting({
      token: () =>
        new Promise<string | null>((resolve, reject) => {
          answers.push(resolve);
          failures.push(reject);
        }),
    });
    return { ...page, answers, failures };
  }

  test("close(): the token opens nothing", async () => {
    const { host, client, answers } = await waiting();
    client.close();
    answers[0]?.("ticket");
    await host.advance(60_000);
    expect([host.sockets.length, client.connection.get().state]).toEqual([0, "closed"]);
  });

  test("close() and connect(): one socket, with the later token", async () => {
    const { host, client, answers } = await waiting();
    client.close();
    client.connect();
    await settle();
    answers[0]?.("ticket-1");
    await settle();
    expect(host.sockets.length).toBe(0);
    answers[1]?.("ticket-2");
    await settle();
    expect(host.sockets.map(({ protocols }) => protocols[1])).toEqual(["presenced.token.ticket-2"]);
  });

  test("a signal that starts again: the earlier failure changes nothing", async () => {
    const { host, client, answers, failures } = await waiting();
    await host.signal("restored");
    failures[0]?.(new Error("too late"));
    await settle();
    expect(client.connection.get()).toMatchObject({ state: "connecting", error: null });
    answers[1]?.("ticket-2");
    await settle();
    expect(host.sockets.length).toBe(1);
  });

  test("a signal that starts again: an earlier null does not sign out", async () => {
    const { host, client, answers } = await waiting();
    await host.advance(3_000);
    await host.signal("visible");
    await host.advance(250);
    answers[0]?.(null);
    await settle();
    expect(client.connection.get().state).toBe("connecting");
    answers[1]?.("ticket-2");
    await settle();
    expect(host.sockets.length).toBe(1);
  });

  test("the last user of the client leaves: the token opens nothing", async () => {
    const answers: ((token: string) => void)[] = [];
    const host = new FakeHost();
    const client = host.client({ token: () => new Promise((resolve) => answers.push(resolve)) });
    const release = client.connect();
    await settle();
    release();
    await host.advance(1_000);
    answers[0]?.("ticket");
    await host.advance(60_000);
    expect([host.sockets.length, client.connection.get().state]).toEqual([0, "idle"]);
  });
});
