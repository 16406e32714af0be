import { expect, test, vi } from "vitest";
import { createPresence } from "../src/index.js";

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
