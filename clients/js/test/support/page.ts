/** A client on a fake host, and the steps that many tests begin with. */

import type { PresenceClient, PresenceOptions } from "../../src/index.js";
import { FakeHost, settle } from "./fake-host.js";
import type { FakeSocket, Message } from "./fake-socket.js";

export interface Page {
  readonly host: FakeHost;
  readonly client: PresenceClient;
}

/** A client that has begun to connect: its socket awaits the handshake. */
export async function connecting(options: PresenceOptions = {}, host = new FakeHost()): Promise<Page> {
  const client = host.client(options);
  client.connect();
  await settle();
  return { host, client };
}

/** A client that is connected, and whose requests are all accepted. */
export async function connected(options: PresenceOptions = {}, host = new FakeHost()): Promise<Page> {
  const page = await connecting(options, host);
  await establish(host);
  return page;
}

/** The server takes the newest connection, and accepts its requests. */
export async function establish(
  host: FakeHost,
  fields: Readonly<Record<string, unknown>> = {},
  snapshots: readonly Message[] = [],
): Promise<FakeSocket> {
  const { socket } = host;
  socket.establish(fields, host.time, snapshots).acceptAll();
  await settle();
  return socket;
}

/** The newest connection ends. */
export async function drop(host: FakeHost, code = 1006, reason = ""): Promise<void> {
  host.socket.drop(code, reason);
  await settle();
}

/** Milliseconds until the next attempt; -1 if none is planned. */
export function wait({ host, client }: Page): number {
  const { state, retryAt } = client.connection.get();
  return state === "waiting" && retryAt ? retryAt - host.time : -1;
}

/** Let time pass until the client opens its next socket. */
export async function nextAttempt(page: Page): Promise<FakeSocket> {
  const { host } = page;
  const { length } = host.sockets;
  await host.advance(Math.max(0, wait(page)));
  if (host.sockets.length !== length + 1) throw new Error(`${host.sockets.length - length} attempts instead of one`);
  return host.socket;
}
