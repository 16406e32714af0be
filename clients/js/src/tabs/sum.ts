/**
 * The sum of what all tabs ask for, as one session of the server.
 *
 * Requests are passed on, if they change the sum: `UNWATCH` when the last tab ends a subscription, `LEAVE` when the last
 * member leaves, `ACTIVITY` when the person is at none of the tabs. Answers go to the tab that asked, and all other
 * messages of the server to every tab. Each picks what concerns it.
 */

import type { Host } from "../host.js";
import type { Message } from "../outbox.js";
import { bitsOf, COUNT, EVERYONE, FULL, JOIN, nameOf, ROOM, setBits } from "../scope.js";
import type { Limits } from "../wire.js";
import { ACTIVE, type Agreement, type Bits } from "./channel.js";
import { createQueue } from "./queue.js";
import { scopesOf, unwatch, watch } from "./scopes.js";

/** Milliseconds for which a closed tab keeps its subscriptions and rooms, so that nobody notices a reload. */
const KEEP_MS = 3_000;

/** Users in one UNWATCH, so that it stays below any `maxMessageSize`. */
const BATCH = 200;

interface Tab {
  readonly bits: Map<string, number>;
  readonly data: Map<string, unknown>;
}

interface Hooks {
  /** A message for one tab, or for all. */
  deliver(message: Message, text: string, tab?: string): void;
  changed(changes: Bits): void;
}

export type Sum = ReturnType<typeof createSum>;

/** `union` has the subscriptions of the previous leader. Subscriptions that no tab wants end after `KEEP_MS`. */
export function createSum(host: Host, own: string, union: Map<string, number>, past: Agreement, hooks: Hooks) {
  const tabs = new Map<string, Tab>([["past", { bits: new Map(union), data: new Map() }]]);
  let changes: [string, number][] = [];
  let lastPast = 0;
  let isStopped = false;

  const sum = (scope: string): number => bitsOf(union, scope);
  const of = (tab: Tab, scope: string): number => bitsOf(tab.bits, scope);

  const set = (tab: Tab, scope: string, bits: number): void => {
    setBits(tab.bits, scope, bits);
    let all = 0;
    for (const other of tabs.values()) all |= of(other, scope);
    if (all === sum(scope)) return;
    setBits(union, scope, all);
    changes.push([scope, all]);
  };

  const publish = (): void => {
    if (changes.length) hooks.changed(changes);
    changes = [];
  };

  const queue = createQueue(host, hooks.deliver, publish);

  /** The server sends no snapshot of what it sends already: end it and watch it again. Return what else to watch. */
  const watchAgain = (scopes: readonly string[]): string[] => {
    const again = new Set(scopes.filter((scope) => !scope.startsWith(ROOM) && sum(scope) & FULL));
    if (!again.size) return [...scopes];
    queue.add(unwatch([...again]));
    queue.add(watch([...again]));
    if (again.has(EVERYONE) && sum(EVERYONE) & COUNT) queue.add(watch([EVERYONE], { mode: "count" }));
    return scopes.filter((scope) => !again.has(scope));
  };

  /** Change what a tab wants. Return the request to pass on, if there is one, and a request that follows it. */
  const apply = (tab: Tab, message: Message, scopes: readonly string[]): [next?: Message, then?: Message] => {
    const { type, room } = message;
    const [scope = ACTIVE] = scopes;
    const before = sum(scope);
    switch (type) {
      case "WATCH": {
        const isCount = message.mode === "count";
        const rest = isCount ? scopes : watchAgain(scopes);
        for (const each of scopes) set(tab, each, of(tab, each) | (isCount ? COUNT : FULL));
        if (isCount) return [message];
        return rest.length ? [watch(rest)] : [];
      }
      case "UNWATCH": {
        for (const each of scopes) set(tab, each, 0);
        const free = scopes.filter((each) => !sum(each));
        return free.length ? [unwatch(free)] : [];
      }
      case "JOIN":
        set(tab, scope, of(tab, scope) | JOIN | FULL);
        tab.data.set(scope, message.data);
        return before & FULL ? [message, watch([scope])] : [message]; // WATCH makes the server send the room again
      case "SET_MEMBER":
        tab.data.set(scope, message.data);
        return [message];
      case "LEAVE": {
        set(tab, scope, of(tab, scope) & COUNT);
        const other = [...tabs.values()].find((each) => of(each, scope) & JOIN);
        if (other) return [{ type: "SET_MEMBER", room, data: other.data.get(scope) ?? null }];
        return sum(scope) & FULL ? [message, watch([scope])] : [message];
      }
      case "ACTIVITY":
        set(tab, ACTIVE, Number(message.state === "active"));
        return sum(ACTIVE) === before ? [] : [message];
      default:
        return [message];
    }
  };

  const request = (id: string, message: Message): void => {
    const tab = tabs.get(id);
    if (!tab) return; // it has still to say hello
    const scopes = scopesOf(message);
    const before = scopes.map((scope) => [scope, of(tab, scope)] as const);
    const undo = () => {
      if (message.type === "WATCH" || message.type === "JOIN")
        for (const [scope, bits] of before) set(tab, scope, bits);
    };
    const [next, then] = apply(tab, message, scopes);
    const isAwaited = message.id !== undefined;
    if (next) queue.add({ ...next, id: message.id }, isAwaited ? id : "", undo);
    else if (isAwaited) queue.answerSoon(id, { type: "ACK", id: message.id });
    if (then) queue.add(then);
    publish();
  };

  /** End everything of a tab. */
  const remove = (id: string): void => {
    const tab = tabs.get(id);
    if (!tab || isStopped) return;
    for (const [scope, bits] of tab.bits) if (bits & JOIN) request(id, { type: "LEAVE", room: nameOf(scope) });
    const rest = [...tab.bits.keys()].filter((scope) => of(tab, scope) && scope !== ACTIVE);
    while (rest.length) request(id, unwatch(rest.splice(0, BATCH)));
    request(id, { type: "ACTIVITY", state: "idle" });
    tabs.delete(id);
  };

  /** A tab is gone, or begins a new session. */
  const retire = (id: string): void => {
    const tab = tabs.get(id);
    if (!tab) return;
    lastPast += 1;
    const past = `past ${lastPast}`;
    tabs.delete(id);
    tabs.set(past, tab);
    host.schedule(KEEP_MS, () => remove(past));
  };

  const join = (id: string, agreement?: Agreement): Tab => {
    retire(id);
    const tab: Tab = { bits: new Map(), data: new Map(agreement?.data) };
    tabs.set(id, tab);
    for (const [scope, bits] of agreement?.bits ?? []) set(tab, scope, bits);
    return tab;
  };

  join(own, past);

  return {
    request,
    remove,
    retire,
    join(id: string, active: boolean, agreement?: Agreement) {
      join(id, agreement);
      request(id, { type: "ACTIVITY", state: active ? "active" : "idle" });
    },
    /** Whether other tabs may listen. After a takeover, they have still to say hello. */
    isShared: () => tabs.size > 1,
    /** Number of connected tabs besides the leader and this one. */
    others: (than = own) => [...tabs.keys()].filter((id) => id !== own && id !== than && !id.startsWith("past")).length,
    /** The connection is open. `isSame`: with the session as before. `continues`: the own client goes on. */
    opened(sendText: (text: string) => void, limits: Limits, active: boolean, isSame: boolean, continues: boolean) {
      if (!isSame) {
        for (const map of [tabs, union]) map.clear();
        queue.clear();
      }
      for (const id of [...tabs.keys()]) if (!(continues && id === own)) retire(id);
      set(tabs.get(own) ?? join(own), ACTIVE, Number(active)); // the URL said so
      publish();
      queue.open(sendText, limits);
    },
    /** The connection is gone. */
    lost: queue.lost,
    received(message: Message, text: string) {
      if ("id" in message) queue.answered(message);
      else hooks.deliver(message, text, message.type === "AUTH_EXPIRING" ? own : undefined);
    },
    stop() {
      isStopped = true;
      queue.stop();
    },
  };
}
