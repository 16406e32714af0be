/** The leader's part: it has the real socket, and serves the followers. */

import { KEEP_SESSION } from "../codes.js";
import type { Message } from "../outbox.js";
import { NO_CODE } from "../retry.js";
import { openSocket, type Socket } from "../socket.js";
import type { ConnectionEstablished } from "../wire.js";
import { ACTIVE, type ToLeader } from "./channel.js";
import type { Tab } from "./shared-tab.js";
import { createSum } from "./sum.js";

/** Maximum number of followers. Further tabs have a connection of their own. */
const MAX_FOLLOWERS = 50;

/** Milliseconds without a message of the server, after which the complaint of a follower counts. */
const SILENT_MS = 2_000;

export type Leader = ReturnType<typeof createLeader>;

/** `union` is what the leader before asked for. `whenGone` calls back when the tab with this id is gone. */
export function createLeader(tab: Tab, union: Map<string, number>, whenGone: (id: string, call: () => void) => void) {
  const { host, id, post } = tab;
  /** Followers whose end this tab waits for. */
  const watched = new Set<string>();
  let real: Socket | undefined;
  let established: (ConnectionEstablished & { staleSince?: number }) | undefined;
  let establishedAt = 0;
  let heardAt = 0;

  const sum = createSum(host, id, union, tab.agreement(), {
    deliver(message, text, to) {
      if (to === undefined || to === id) tab.deliver(message, text);
      if (to !== id && (to || sum.isShared())) post({ kind: "text", by: id, text, ...(to ? { to } : {}) });
    },
    changed: (changes) => post({ kind: "union", by: id, changes }),
  });

  /** Return the first message for a client that begins a session, as far as it can tell. */
  const welcome = (first: ConnectionEstablished): string => {
    const elapsed = host.now() - establishedAt;
    return JSON.stringify({
      ...first,
      sessionId: `${first.sessionId}~${host.random()}`,
      resumed: false,
      serverTime: first.serverTime + elapsed,
      settling: Math.max(0, first.settling - elapsed / 1_000),
    });
  };

  const lost = (): void => {
    real = established = undefined;
    sum.lost();
  };

  const down = (code: number, reason: string): void => post({ kind: "down", by: id, code, reason });

  const opened = (first: ConnectionEstablished, asked: string, position: string): void => {
    const { sessionId, resumed, limits } = first;
    if (String(first.userId) !== tab.name) {
      tab.connectAlone(); // tabs of other users must not get what this one sees
      return;
    }
    if (!resumed) tab.position = tab.self = "";
    const continues = resumed && tab.given !== "" && asked === tab.given;
    established = first;
    establishedAt = heardAt;
    sum.opened((text) => real?.send(text), limits, tab.isActive, asked.split("~")[0] === sessionId, continues);
    post({ kind: "leads", by: id, ...(resumed ? { resumed: `${sessionId} ${position}` } : {}) });
    const certainty = first.staleSince ? "stale" : "live";
    post({ kind: "text", by: id, text: JSON.stringify({ type: "CERTAINTY", certainty }) }); // some get no first message
    tab.begin(continues ? JSON.stringify({ ...first, sessionId: asked }) : welcome(first));
  };

  return {
    dial() {
      const [asked, position] = [parameter(tab.url, "session"), parameter(tab.url, "position")];
      let url = tab.url.replace(/(session=[^&~]*)[^&]*/, "$1");
      // The person may be at another tab.
      if (union.has(ACTIVE)) url = url.replace("activity=idle", "activity=active");
      const received = (text: string) => {
        heardAt = host.now();
        const message = JSON.parse(text) as Message;
        if (message.type === "CONNECTION_ESTABLISHED") opened(message as never, asked, position);
        else sum.received(message, text);
        if (established && message.type === "CERTAINTY") established.staleSince = message.since as number;
      };
      real = openSocket(host, url, tab.protocols, tab.open, received, (code, reason) => {
        lost();
        down(code, reason);
        tab.end(code, reason);
      });
    },
    send(request: Message, text: string) {
      if (established) sum.request(id, request);
      else real?.send(text); // AUTH, before the server has answered
    },
    /** The client has given up its connection. Its session goes on for the other tabs. */
    close(code: number) {
      if (!real) return;
      const socket = real;
      const isShared = sum.others() > 0;
      lost();
      if (code === KEEP_SESSION) down(NO_CODE, ""); // otherwise another tab leads at once
      socket.close(isShared ? KEEP_SESSION : code);
    },
    /** The next leader goes on. */
    stop() {
      real?.close(KEEP_SESSION);
      real = undefined;
      sum.stop();
    },
    received(message: ToLeader) {
      const { kind, from } = message;
      if (message.kind === "request") sum.request(from, message.request);
      else if (kind === "bye") sum.remove(from);
      else if (kind === "silence") {
        if (established && host.now() - heardAt > SILENT_MS) tab.restart();
      } else if (message.kind !== "hello") return;
      else if (!established) {
        // The follower has a token: if this tab gets none, the follower leads a few seconds later.
        if (!tab.hasNoToken()) post({ kind: "wait", by: id, to: from });
        if (tab.isWaiting()) tab.restart(); // the follower may be visible, and has waited long enough
      } else if (sum.others(from) >= MAX_FOLLOWERS) post({ kind: "full", by: id, to: from });
      else {
        sum.join(from, message.active, message.agreement);
        if (!watched.has(from)) whenGone(from, () => sum.retire(from));
        watched.add(from);
        if (message.agreement) return;
        const { position } = tab;
        const changes = position && JSON.stringify({ type: "PRESENCE_CHANGES", position, users: [] });
        post({
          kind: "welcome",
          by: id,
          to: from,
          texts: [welcome(established), tab.self, changes],
          union: [...union],
        });
      }
    },
  };
}

/** Return a parameter of a URL, or "". */
function parameter(url: string, name: string): string {
  return decodeURIComponent(new RegExp(`[?&]${name}=([^&]*)`).exec(url)?.[1] ?? "");
}
