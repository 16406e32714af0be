/// <reference types="node" />
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type Operations, presenceServer } from "../../src/server/index.js";
import { fakeFetch, ok } from "./fake-fetch.js";

interface Parameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
}
interface Operation {
  readonly operationId: keyof Operations;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: object;
}

const DOCUMENT: { paths: Record<string, Record<string, Operation>> } = JSON.parse(
  readFileSync("../../spec/openapi.json", "utf-8"),
);
const ENDPOINTS = Object.entries(DOCUMENT.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), ...operation })),
);

test.each(ENDPOINTS)(
  "$operationId sends what openapi.json says",
  async ({ path, method, parameters = [], ...rest }) => {
    const fake = fakeFetch(ok());
    const named = parameters.filter(({ in: place }) => place !== "header").map(({ name }) => [name, `a/${name}`]);
    const body = rest.requestBody ? { "x-mine": 1 } : {};
    const presence = presenceServer({ url: "http://presence", fetch: fake.fetch });
    const call = presence[rest.operationId] as (input: object) => Promise<unknown>;
    await call({ ...Object.fromEntries(named), ...body });
    const [sent] = fake.sent;
    const filled = path.replace(/{(\w+)}/g, (_, name) => encodeURIComponent(`a/${name}`));
    const asked = parameters.filter(({ in: place }) => place === "query").map(({ name }) => `${name}=a%2F${name}`);
    expect(sent?.method).toBe(method);
    expect(sent?.url).toBe(`http://presence/api/v1${filled}${asked.length ? "?" : ""}${asked.join("&")}`);
    expect(JSON.parse(sent?.body ?? "{}")).toEqual(body);
    expect(sent?.body === null).toBe(method === "GET" || method === "DELETE"); // proxies refuse a body there
  },
);

test("there is no method without an endpoint, except the helpers", () => {
  const methods = Object.keys(presenceServer({ url: "http://presence" }));
  const known = [...ENDPOINTS.map(({ operationId }) => operationId), "changes", "snapshot", "ticket"];
  expect(methods.sort()).toEqual(known.sort());
});

test("a list is a parameter for each item, and an absent value is left out", async () => {
  const fake = fakeFetch(ok());
  const presence = presenceServer({ url: "http://presence", fetch: fake.fetch });
  await presence.watch({ users: [7, "a&b"] });
  await presence.listOnline({ after: 3, limit: undefined } as { after: number });
  expect(fake.sent.map(({ url }) => url)).toEqual([
    "http://presence/api/v1/watch?users=7&users=a%26b",
    "http://presence/api/v1/online?after=3",
  ]);
});

test.each([".", "..", ""])("the user id %j, which would name another endpoint, is not sent", async (userId) => {
  const fake = fakeFetch(ok());
  const presence = presenceServer({ url: "http://presence", fetch: fake.fetch });
  await expect(presence.listSessions({ userId })).rejects.toMatchObject({ code: "BAD_PARAMETER" });
  expect(fake.sent).toEqual([]);
});

test.each([undefined, null, ""])("the viewer %j does not show everything", async (viewer) => {
  const fake = fakeFetch(ok());
  const presence = presenceServer({ url: "http://presence", fetch: fake.fetch });
  const input = { viewer } as { viewer: string };
  await expect(presence.getCounts(input)).rejects.toMatchObject({ code: "BAD_PARAMETER" });
  await expect(presence.queryUsers({ users: [7], ...input })).rejects.toMatchObject({ code: "BAD_PARAMETER" });
  expect(fake.sent).toEqual([]);
});

test("a ticket carries what its user may see", async () => {
  const fake = fakeFetch(ok({ ticket: "ticket_x", userId: 7, expiresIn: 30 }));
  const presence = presenceServer({ url: "http://presence", fetch: fake.fetch });
  expect(await presence.ticket(7, { watch: [8, "bo"], lasts: 60 })).toBe("ticket_x");
  expect(await presence.ticket("ada")).toBe("ticket_x");
  expect(fake.sent.map(({ body }) => JSON.parse(body ?? ""))).toEqual([
    { userId: 7, lasts: 60, presence: { watch: [8, "bo"] } },
    { userId: "ada", presence: {} },
  ]);
});
