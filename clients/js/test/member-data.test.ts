/** Data of a member: what is sent of it, and what the server refuses. */

import { describe, expect, test } from "vitest";

import { connected } from "./support/page.js";
import { requests } from "./support/reading.js";

describe("what is sent", () => {
  test("null removes the data, once", async () => {
    const { host, client } = await connected();
    const membership = client.join("hall", { seat: 1 });
    await membership.joined;
    await membership.setData(null);
    await host.advance(10_000);
    expect(requests(host)).toEqual(['JOIN hall {"seat":1}', "SET_MEMBER hall null"]);
  });

  test("a member who joins with null has no data", async () => {
    const { host, client } = await connected();
    await client.join("hall", null).joined;
    await host.advance(10_000);
    expect(requests(host)).toEqual(["JOIN hall"]);
  });

  test("an object that the application changes is sent again when it is set again", async () => {
    const { host, client } = await connected();
    const data = { seat: 1 };
    const membership = client.join("hall", data);
    await membership.joined;
    data.seat = 2;
    await membership.setData(data);
    expect(requests(host)).toEqual(['JOIN hall {"seat":1}', 'SET_MEMBER hall {"seat":2}']);
  });

  test("data that is not JSON rejects, and everything else goes on", async () => {
    const { host, client } = await connected();
    const membership = client.join("hall", { seat: 1n });
    await expect(membership.joined).rejects.toMatchObject({
      code: "BAD_REQUEST",
      message: expect.stringMatching(/^the data is not JSON: .*BigInt/),
    });
    await client.setStatus({ status: "busy" });
    expect(requests(host)).toEqual(["SET_STATUS busy"]);
    await membership.setData({ seat: 1 });
    await expect(membership.setData({ seat: 2n })).rejects.toMatchObject({ code: "BAD_REQUEST" });
    membership.leave();
    await host.advance(1_000);
    expect(requests(host).slice(1)).toEqual(['JOIN hall {"seat":1}', "LEAVE hall"]);
  });
});
