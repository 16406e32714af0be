/// <reference types="node" />
import { createHmac } from "node:crypto";
import { expect, test } from "vitest";
import { signToken } from "../../src/server/index.js";

const SECRET = "a secret of forty characters, or nearly so";
const decode = (part: string | undefined) => JSON.parse(Buffer.from(part ?? "", "base64url").toString());

test("a token has the signature of HS256 and the claims that the server reads", async () => {
  const presence = { watch: [7, "bo"], display: { name: "Ada Ünïcode 🙂" } };
  const token = await signToken(
    { userId: 7, expiresIn: 60, presence, issuer: "app", audience: "presence", tokenId: "t1" },
    SECRET,
  );
  const [head, body, signature] = token.split(".");
  expect(signature).toBe(createHmac("sha256", SECRET).update(`${head}.${body}`).digest("base64url"));
  expect(decode(head)).toEqual({ alg: "HS256", typ: "JWT" });
  const { iat, exp, ...claims } = decode(body);
  expect(claims).toEqual({ sub: "7", iss: "app", aud: "presence", jti: "t1", presence });
  expect(Math.abs(iat - Date.now() / 1000)).toBeLessThan(5);
  expect(exp - iat).toBe(60);
});

test("a token lasts an hour by default, and has no claim without a value", async () => {
  const { sub, iat, exp, ...rest } = decode((await signToken({ userId: "ada" }, SECRET)).split(".")[1]);
  expect([sub, exp - iat, rest]).toEqual(["ada", 3600, {}]);
});

test("white space around the secret is ignored, as by the server", async () => {
  const [head, body, signature] = (await signToken({ userId: "ada" }, ` ${SECRET}\n`)).split(".");
  expect(signature).toBe(createHmac("sha256", SECRET).update(`${head}.${body}`).digest("base64url"));
});

test.each([
  [{ userId: "ada", expiresIn: 86_401 }, SECRET, "expiresIn"],
  [{ userId: "ada", expiresIn: 0 }, SECRET, "expiresIn"],
  [{ userId: "ada", expiresIn: Number.NaN }, SECRET, "expiresIn"],
  [{ userId: "" }, SECRET, "userId"],
  [{ userId: undefined as unknown as string }, SECRET, "userId"],
  [{ userId: "ada" }, "too short", "secret"],
  [{ userId: "ada" }, undefined as unknown as string, "secret"],
])("%j with the secret %j names the wrong argument", async (claims, secret, name) => {
  await expect(signToken(claims, secret)).rejects.toThrow(name);
});
