/** Use the built package, as `node smoke.mjs PACKAGE URL`, also with Bun and Deno. It prints "ok" at the end. */

const [folder, url] = globalThis.Deno?.args ?? process.argv.slice(2);
const { presenceServer, signToken, verifyWebhook } = await import(`${folder}/index.js`);

function check(condition, what) {
  if (!condition) throw new Error(`${what} failed`);
}

/** Return the error that a promise rejects with. */
const failure = (promise) =>
  promise.then(
    () => undefined,
    (error) => error,
  );

const secret = `whsec_${btoa("a secret of thirty-two characters")}`;
const content = '{"type":"presence.batch","data":{"events":[{"type":"room.occupied","data":{"room":"é🙂"}}]}}';
const time = Math.floor(Date.now() / 1000);
const bytes = new TextEncoder();
const hmac = { name: "HMAC", hash: "SHA-256" };
const key = await crypto.subtle.importKey("raw", bytes.encode("a secret of thirty-two characters"), hmac, false, [
  "sign",
]);
const signature = await crypto.subtle.sign("HMAC", key, bytes.encode(`msg_1.${time}.${content}`));
const signed = (body) =>
  new Request("http://localhost/", {
    method: "POST",
    headers: {
      "webhook-id": "msg_1",
      "webhook-timestamp": `${time}`,
      "webhook-signature": `v1,${btoa(String.fromCharCode(...new Uint8Array(signature)))}`,
    },
    body,
  });
check((await verifyWebhook(signed(content), secret)).events[0].data.room === "é🙂", "verifying a webhook");
check((await failure(verifyWebhook(signed(`${content} `), secret)))?.code === "BAD_SIGNATURE", "refusing a webhook");

check(/^[\w-]+\.[\w-]+\.[\w-]+$/.test(await signToken({ userId: "ada" }, "x".repeat(32))), "signing a token");

const presence = presenceServer({ url, apiKey: "pk_secret", retries: 0 });
check((await presence.getUser({ userId: "ada" })).status === "online", "a request");
check((await presence.snapshot(["ada"])).users.length === 1, "a snapshot");
check((await failure(presence.getCounts()))?.code === "CONFLICT", "a problem");
for await (const change of presence.changes()) {
  check(change.userId === "ada", "a change");
  break;
}
const chunks = (await presence.watch({ everyone: true })).getReader();
check(new TextDecoder().decode((await chunks.read()).value).startsWith("event: snapshot"), "a stream");
await chunks.cancel();

const nobody = presenceServer({ url: "http://127.0.0.1:9", retries: 0 });
check((await failure(nobody.getCounts()))?.code === "UNREACHABLE", "a server that is down");
const slow = await failure(presence.listRooms({}, { timeout: 0.05 }));
check(slow?.code === "UNREACHABLE" && slow.message.includes("nothing received"), "a timeout");
const reason = new Error("the user left");
check((await failure(presence.listRooms({}, { signal: AbortSignal.abort(reason) }))) === reason, "an abort");
console.log("ok");
