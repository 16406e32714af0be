import { expect, test, vi } from "vitest";
import { createPresence, type Signal, webHost } from "../src/index.js";

test("creating a client reads no clock and no random number, so that pages with it can be prerendered", () => {
  const now = vi.fn(() => 0);
  const random = vi.fn(() => 0);
  const users = [{ userId: "bo", status: "busy", version: 1 }];
  const client = createPresence({ initial: { at: 1, users }, host: { now, random } });
  expect(client.user("bo").get().status).toBe("busy");
  expect(client.everyone.get().size).toBe(1);
  expect(client.connection.get()).toMatchObject({ state: "idle", since: 0 });
  expect([now, random].flatMap((each) => each.mock.calls)).toEqual([]);
});

test("a host of an application may replace a part of the environment, and call what it replaces", () => {
  const stop = vi.fn();
  const onSignal = vi.fn((listener: (signal: Signal) => void) => {
    const stopPage = webHost.onSignal(listener);
    listener("visible"); // what only the application knows
    return () => {
      stopPage();
      stop();
    };
  });
  const client = createPresence({ url: "ws://localhost:3001", host: { onSignal } });
  client.connect();
  client.close();
  expect([onSignal.mock.calls.length, stop.mock.calls.length]).toEqual([1, 1]);
});
