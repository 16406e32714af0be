/** A clock that goes back: timers still run, and only the time of day changes. */

import { expect, test } from "vitest";

import { FakeHost, settle } from "./support/fake-host.js";
import { connected } from "./support/page.js";
import { changes, receive, record, snapshot } from "./support/records.js";

const HOUR_MS = 3_600_000;

/** A client that is connected, and a function that sets its clock back by an hour. */
async function clocked() {
  const host = new FakeHost();
  let offset = 0;
  const timed = Object.assign(host.host, { now: () => host.time - offset });
  const page = await connected({}, Object.assign(host, { host: timed }));
  return {
    ...page,
    setBack: () => {
      offset = HOUR_MS;
    },
  };
}

test("everyone still appears within 100 ms", async () => {
  const { host, client, setBack } = await clocked();
  let calls = 0;
  client.everyone.subscribe(() => {
    calls += 1;
  });
  await settle();
  await receive(host, snapshot("everyone", [record("bob", "online", 1)]), changes());
  await host.advance(1_000);
  setBack();
  const before = calls;
  await receive(host, changes(record("carl", "online", 2)));
  await host.advance(100);
  expect([calls - before, client.everyone.get().size]).toEqual([1, 2]);
});

test("a silent connection is still found: a PING within the interval, and a loss without an answer", async () => {
  const { host, client, setBack } = await clocked();
  host.socket.onSend = () => {};
  await host.advance(10_000);
  setBack();
  await host.advance(20_000);
  expect(host.socket.sentOf("PING").length).toBe(1);
  await host.advance(10_000);
  expect(client.connection.get().state).toBe("waiting");
});

test("a page that becomes visible still probes the connection", async () => {
  const { host, setBack } = await clocked();
  await host.advance(10_000);
  setBack();
  await host.signal("visible");
  expect(host.socket.sentOf("PING").length).toBe(1);
});
