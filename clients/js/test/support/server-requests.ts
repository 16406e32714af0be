/** How the server in memory handles requests. */

import type { Message } from "./fake-socket.js";
import type { Link } from "./link.js";
import type { MemoryServer } from "./server.js";

interface Request {
  readonly users?: readonly (string | number)[];
  readonly rooms?: readonly string[];
  readonly everyone?: boolean;
  readonly room?: string;
  readonly data?: unknown;
  readonly mode?: string;
  readonly status?: string;
  readonly state?: string;
}

/** Handle a request as a real server does. A refusal that a client must not cause is a violation. */
export function handle(server: MemoryServer, link: Link, { type, id, ...fields }: Message): void {
  const { session } = link;
  if (!session) return;
  if (!link.isAllowed()) {
    server.violations.push(`RATE_LIMITED ${type}`);
    link.send({ type: "ERROR", code: 120, name: "RATE_LIMITED", message: "slower", id });
    return;
  }
  const { users = [], rooms = [], everyone = false, room = "", data, mode, status, state } = fields as Request;
  const refuse = (code: number, name: string) => {
    if (code !== 112) server.violations.push(`${name} ${type}`);
    link.send({ type: "ERROR", code, name, message: "", id });
  };
  const accept = () => link.send({ type: "ACK", id });
  if (type === "PING") link.send({ type: "PONG", id, serverTime: server.host.time });
  else if (type === "WATCH" && mode === "count") {
    const counted = [...(everyone ? ["everyone"] : []), ...rooms];
    for (const scope of counted) session.counts.add(scope);
    accept();
    server.counts(link, counted);
  } else if (type === "WATCH") {
    const added = users.map(String).filter((user) => !session.users.has(user));
    if (session.users.size + added.length > server.limits.maxWatchedUsers) {
      refuse(110, "TOO_MANY_WATCHED");
      return;
    }
    for (const user of added) session.users.add(user);
    for (const name of rooms) session.rooms.add(name);
    const isNew = everyone && !session.everyone;
    session.everyone ||= everyone;
    accept();
    server.snapshots(link, isNew, added, rooms);
    server.changes(link, []);
  } else if (type === "UNWATCH") {
    session.everyone &&= !everyone;
    if (everyone) session.counts.delete("everyone");
    for (const user of users) session.users.delete(String(user));
    for (const name of rooms) {
      session.counts.delete(name);
      if (!session.joined.has(name)) session.rooms.delete(name);
    }
    accept();
  } else if (type === "JOIN") {
    accept();
    session.rooms.add(room);
    server.inRoom(room, "ada", () => session.joined.set(room, data));
    server.snapshots(link, false, [], [room]);
    server.changes(link, []);
  } else if (type === "SET_MEMBER" || type === "LEAVE") {
    if (!session.joined.has(room)) {
      refuse(112, "NOT_A_MEMBER");
      return;
    }
    accept();
    if (type === "LEAVE") session.rooms.delete(room);
    server.inRoom(room, "ada", () => (type === "LEAVE" ? session.joined.delete(room) : session.joined.set(room, data)));
  } else if (type === "SET_STATUS" || type === "ACTIVITY") {
    accept();
    if (status) server.chosen = status;
    else session.isIdle = state === "idle";
    server.own(link);
  } else refuse(101, "BAD_REQUEST");
}
