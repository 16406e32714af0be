/** Helpers of the tests of desired state and of what is shown. */

import type { PresenceClient } from "../../src/index.js";
import { type FakeHost, settle } from "./fake-host.js";
import { connected } from "./page.js";
import { receive, record, snapshot } from "./records.js";

export const read = (client: PresenceClient, ...ids: readonly (string | number)[]) =>
  ids.map((id) => client.user(id).subscribe(() => {}));

export const status = (client: PresenceClient, id: string | number) => client.user(id).get().status;

/** Requests on the newest connection, as "WATCH bob,carl". */
export const requests = (host: FakeHost) =>
  host.socket.sent
    .filter(({ type }) => type !== "PING")
    .map(({ type, everyone, users, rooms, room, mode, data, status: chosen }) =>
      [type, everyone && "everyone", users, rooms, room, mode, data !== undefined && JSON.stringify(data), chosen]
        .filter((part) => part)
        .join(" "),
    );

/** A client that knows these users to be online. */
export async function knowing(ids: readonly string[], options = {}) {
  const page = await connected(options);
  const ends = read(page.client, ...ids);
  await settle();
  const records = ids.map((id) => record(id, "online", 1));
  await receive(page.host, snapshot("users", records));
  return { ...page, ends };
}
