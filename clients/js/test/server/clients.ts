/// <reference types="node" />
/** Clients of the real server. */

/** Connect a client with a token, and let it join a room. */
export async function join(url: string, token: string, room: string): Promise<void> {
  const { default: WebSocket } = await import("ws" as string); // it has no types
  const headers = { authorization: `Bearer ${token}` };
  const socket = new WebSocket(`${url.replace("http", "ws")}ws-online-status?device=test`, "presenced.v1", {
    headers,
  });
  socket.on("open", () => socket.send(JSON.stringify({ type: "JOIN", id: 1, room, data: { role: "host" } })));
  await new Promise<void>((resolve, reject) => {
    socket.on("error", reject);
    socket.on("message", (text: Buffer) => JSON.parse(text.toString()).type === "ACK" && resolve());
  });
}

/** Read an event stream until it contains the text, and close it. */
export async function readUntil(stream: ReadableStream<Uint8Array>, text: string): Promise<string> {
  const decoder = new TextDecoder();
  let read = "";
  for await (const part of stream as unknown as AsyncIterable<Uint8Array>) {
    read += decoder.decode(part, { stream: true });
    if (read.includes(text)) return read;
  }
  throw new Error(`it ended without ${text}: ${read}`);
}
