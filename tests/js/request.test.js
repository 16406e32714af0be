/** Requests that a person writes in the forms of the page /docs. */

import { describe, expect, test } from "vitest";

import { operationsOf, parameterFields } from "../../src/presenced/web/docs/openapi.js";
import {
  curlOf,
  endOf,
  exampleOf,
  headersOf,
  MAX_SHOWN,
  outcomeOf,
  prettyBody,
  requestOf,
  shownHeaders,
} from "../../src/presenced/web/docs/request.js";
import api from "../../spec/openapi.json";

const ORIGIN = "http://localhost:3001";
const OPERATIONS = operationsOf(/** @type {any} */ (api));

/** @param {string} id */
function operation(id) {
  const found = OPERATIONS.find((one) => one.id === id);
  if (!found) throw new Error(`there is no operation ${id}`);
  return found;
}

/**
 * @param {string} id
 * @param {{[name: string]: string}} [parameters]
 * @param {{body?: string, asStream?: boolean}} [more]
 */
function request(id, parameters = {}, more = {}) {
  const example = exampleOf(operation(id));
  return requestOf(operation(id), { ...example, ...more, parameters: { ...example.parameters, ...parameters } }, ORIGIN);
}

describe("the request", () => {
  test.each(OPERATIONS.map((one) => one.id))("of the example of %s has a URL and a method", (id) => {
    const { url, method } = request(id);
    expect(url).toMatch(/^http:\/\/localhost:3001\/api\/v1\/[^{}]+$/);
    expect(method).toBe(operation(id).method);
  });

  test("encodes names in the path and parameters of the query", () => {
    expect(request("getUser", { "path userId": "a/b ö$&", "query viewer": "x&y=ä" }).url).toBe(
      `${ORIGIN}/api/v1/users/a%2Fb%20%C3%B6%24%26?viewer=x%26y%3D%C3%A4`,
    );
  });

  test("needs every name in the path", () => {
    expect(() => request("setClaim", { "path source": "" })).toThrow("Enter source.");
  });

  test("omits empty parameters, which the server refuses", () => {
    expect(request("listOnline", { "query limit": "", "query after": "5" }).url).toBe(`${ORIGIN}/api/v1/online?after=5`);
    expect(request("getUser").headers).toEqual({});
  });

  test("repeats a parameter that is a list, once for each line", () => {
    expect(request("watch", { "query users": "7\n\na,b\r\nbo" }).url).toBe(
      `${ORIGIN}/api/v1/watch?users=7&users=a%2Cb&users=bo`,
    );
  });

  test("puts headers where they belong", () => {
    expect(request("getUser", { "header If-None-Match": '"x"' }).headers).toEqual({ "If-None-Match": '"x"' });
  });

  test("has the body as it was entered, even if it is invalid", () => {
    expect(request("announce", {}, { body: "{nonsense" })).toMatchObject({
      body: "{nonsense",
      headers: { "Content-Type": "application/json" },
    });
    expect(request("announce", {}, { body: "  " }).body).toBeUndefined();
    expect(request("getUser", {}, { body: "{}" }).body).toBeUndefined();
  });

  test("asks for a stream only where there is a choice", () => {
    expect(request("followChanges")).toMatchObject({ streams: false, headers: {} });
    expect(request("followChanges", {}, { asStream: true })).toMatchObject({
      streams: true,
      headers: { Accept: "text/event-stream" },
    });
    expect(request("watch")).toMatchObject({ streams: true, headers: {} });
    expect(request("getUser", {}, { asStream: true }).streams).toBe(false);
  });
});

describe("the API key", () => {
  test("is in a header, and nowhere else", () => {
    const example = request("getUser");
    expect(headersOf(example, " secret ")).toEqual({ Authorization: "Bearer secret" });
    expect(JSON.stringify(example)).not.toContain("secret");
    expect(curlOf(example)).toContain('"Authorization: Bearer $KEY"');
  });

  test("may be missing", () => {
    expect(headersOf(request("getUser"), "  ")).toEqual({});
  });

  test("is refused without being repeated if no header can have it", () => {
    expect(() => headersOf(request("getUser"), "se cret")).toThrow(/^An API key has no spaces/);
    expect(() => headersOf(request("getUser"), "sécret")).toThrow(/^An API key has no spaces/);
  });
});

describe("the curl command", () => {
  test("shows method, headers and body, quoted for a shell", () => {
    expect(curlOf(request("setStatus", { "path userId": "o'hara" }, { body: '{\n "status": "busy", "text": "it\'s"\n}' }))).toBe(
      `curl -X PUT '${ORIGIN}/api/v1/users/o'\\''hara/status' -H "Authorization: Bearer $KEY" ` +
        `-d '{"status":"busy","text":"it'\\''s"}'`,
    );
    expect(curlOf(request("followChanges", {}, { asStream: true }))).toBe(
      `curl -N '${ORIGIN}/api/v1/changes' -H "Authorization: Bearer $KEY" -H 'Accept: text/event-stream'`,
    );
    expect(curlOf(request("announce", {}, { body: "{nonsense" }))).toContain("-d '{nonsense'");
  });
});

describe("operations", () => {
  test("that end or delete something ask first", () => {
    const asking = OPERATIONS.filter((one) => one.isDestructive).map((one) => `${one.method} ${one.path}`);
    expect(asking).toEqual([
      "POST /users/{userId}/disconnect",
      "DELETE /users/{userId}/status",
      "DELETE /users/{userId}/claims/{source}",
      "DELETE /users/{userId}",
      "POST /users/{userId}/revoke",
    ]);
    expect(OPERATIONS.filter((one) => one.method === "DELETE" && !one.isDestructive)).toEqual([]);
  });

  test("have their parameters as fields of a table", () => {
    expect(parameterFields(operation("getUser"))[0]).toMatchObject({
      name: "userId",
      type: "path: string, 1 to 128 characters",
      needed: true,
    });
  });
});

describe("the response", () => {
  test("is described by its status, duration and size", () => {
    expect(outcomeOf({ status: 200, statusText: "OK" }, 12.4, 1345)).toBe("200 OK · 12 ms · 1,345 bytes");
    expect(outcomeOf({ status: 404, statusText: "" }, 0.4, 1)).toBe("404 · 0 ms · 1 byte");
  });

  test("shows the headers of interest only", () => {
    const headers = new Headers({ "X-Other": "1", ETag: '"x"', "Content-Type": "application/json" });
    expect(shownHeaders(headers)).toEqual([
      ["content-type", "application/json"],
      ["etag", '"x"'],
    ]);
  });

  test("is indented if it is JSON", () => {
    expect(prettyBody('{"a":1}', "application/problem+json")).toBe('{\n  "a": 1\n}');
    expect(prettyBody('{"a":1}', "text/plain")).toBe('{"a":1}');
    expect(prettyBody("{nonsense", "application/json")).toBe("{nonsense");
  });

  test("is cut at a bound, which is said", () => {
    const shown = prettyBody("x".repeat(MAX_SHOWN + 5), "text/plain");
    expect(shown.endsWith("\n… 5 more characters")).toBe(true);
    expect(shown.length).toBeLessThan(MAX_SHOWN + 30);
  });

  test("of a long stream shows its end, from the beginning of a line", () => {
    expect(endOf("one\n", "two\n", 100)).toBe("one\ntwo\n");
    expect(endOf("one\ntwo\n", "three\n", 9)).toBe("three\n");
  });
});
