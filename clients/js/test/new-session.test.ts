/** A new session after a restart of the server: what is shown stays until the server says something else. */

import { expect, test } from "vitest";
import { Browser } from "./tabs/browser.js";

test("a user who is still online does not go offline between the ACK and the snapshot", async () => {
  const browser = new Browser();
  browser.canShare = false;
  browser.server.set("bo", "online");
  const tab = browser.open();
  const seen: string[] = [];
  const bo = tab.client.user("bo");
  bo.subscribe(() => seen.push(bo.get().status));
  await browser.advance(10);
  browser.server.sessions.clear();
  browser.server.socket.drop(1006);
  await browser.advance(2_000);
  expect(seen).toEqual(["online"]);
  expect(tab.client.connection.get()).toMatchObject({ state: "open", stale: false });
});
