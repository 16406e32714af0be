/**
 * The sum of what all tabs ask for, as one session of the server.
 *
 * Requests are passed on, if they change the sum: `UNWATCH` when the last tab ends a subscription, `LEAVE` when the last
 * member leaves, `ACTIVITY` when the person is at none of the tabs. Answers go to the tab that asked, and all other
 * messages of the server to every tab. Each picks what concerns it.
 */

import type { Host } from "../host.js";
import { createOutbox, type Message, type Post } from "../outbox.js";
import { bitsOf, COUNT, EVERYONE, FULL, JOIN, nameOf, ROOM, setBits } from "../scope.js";
import type { Limits } from "../wire.js";
import { ACTIVE, type Agreement, type Bits, tooMany } from "./channel.js";
import { scopesOf, unwatch, watch } from "./scopes.js";

/** Milliseconds for which a closed tab keeps its subscriptions and rooms, so that nobody notices a reload. */
const KEEP_MS = 3_000;

/** Maximum number of requests that wait to be sent. Further ones are refused with `RATE_LIMITED`. */
const MAX_QUEUE = 500;

/** Users in one UNWATCH, so that it stays below any `maxMessageSize`. */
const BATCH = 200;

interface Tab {
  readonly bits: Map<string, number>;
  readonly data: Map<string, unknown>;
}

/** A request, the tab that gets the answer if there is one, and what to do if the server refuses it. */
type Entry = readonly [request: Message, tab: string, undo?: (() => void) | undefined];

interface Hooks {
  /** A message for one tab, or for all. */
  deliver(message: Message, text: string, tab?: string): void;
  changed(changes: Bits): void;
}

export type Sum = ReturnType<typeof createSum>;

/** `union` has the subscriptions of the previous leader. Those that no tab wants end after `KEEP_MS`. */
export function createSum(host: Host, own: string, union: Map<string, number>, past: Agreement, hooks: Hooks) {
  const tabs = new Map<string, Tab>([["past", { bits: new Map(union), data: new Map() }]]);
  let queue: Entry[] = [];
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

  const answer = (tab: string, message: Message): void => hooks.deliver(message, JSON.stringify(message), tab);

  /** No answer comes before `send` returns, as from a server. */
  const answerSoon = (tab: string, message: Message): void => queueMicrotask(() => answer(tab, message));

  /** Send what waits. Without an answer, only requests that no tab waits for are sent again: clients repeat theirs. */
  const flush = (post: Post): boolean =>
    [...queue].every((entry) => {
      const [request, tab, undo] = entry;
      const answered = (message: Message) => {
        if (tab) answer(tab, { ...message, id: request.id });
        publish();
      };
      const isSent = post(request, {
        accepted: answered,
        failed(error) {
          if (error) {
            undo?.();
            answered({ type: "ERROR", code: error.numericCode, name: error.code, message: error.message });
          } else if (!tab) queue.unshift(entry);
        },
      });
      if (isSent) queue.shift();
      return isSent;
    });

  const outbox = createOutbox(
    host,
    [{ flush }],
    () => {},
    () => {},
  );

  const ask = (request: Message, tab = "", undo?: () => void): void => {
    if (tab && queue.length >= MAX_QUEUE) {
      undo?.();
      answerSoon(tab, tooMany(request));
      return;
    }
    // A tab whose PING waits takes the connection for dead.
    if (request.type === "PING") queue.unshift([request, tab, undo]);
    else queue.push([request, tab, undo]);
    outbox.plan();
  };

  /** The server sends no snapshot of what it sends already: end it and begin anew. Return what else to watch. */
  const watchAgain = (scopes: readonly string[]): string[] => {
    const again = new Set(scopes.filter((scope) => !scope.startsWith(ROOM) && sum(scope) & FULL));
    if (!again.size) return [...scopes];
    ask(unwatch([...again]));
    ask(watch([...again]));
    if (again.has(EVERYONE) && sum(EVERYONE) & COUNT) ask(watch([EVERYONE], { mode: "count" }));
    return scopes.filter((scope) => !again.has(scope));
  };

  const request = (id: string, message: Message): void => {
    const tab = tabs.get(id);
    if (!tab) return; // it has still to say hello
    const { type, room } = message;
    const scopes = scopesOf(message);
    const [scope = ACTIVE] = scopes;
    const before = scopes.map((each) => [each, of(tab, each)] as const);
    const undo = () => {
      if (type === "WATCH" || type === "JOIN") for (const [each, bits] of before) set(tab, each, bits);
    };
    let next: Message | undefined = message;
    let then: Message | undefined;
    if (type === "WATCH") {
      const isCount = message.mode === "count";
      const rest = isCount ? scopes : watchAgain(scopes);
      for (const each of scopes) set(tab, each, of(tab, each) | (isCount ? COUNT : FULL));
      if (!isCount) next = rest.length ? watch(rest) : undefined;
    } else if (type === "UNWATCH") {
      for (const each of scopes) set(tab, each, 0);
      const free = scopes.filter((each) => !sum(each));
      next = free.length ? unwatch(free) : undefined;
    } else if (type === "ACTIVITY") {
      const was = sum(ACTIVE);
      set(tab, ACTIVE, Number(message.state === "active"));
      if (sum(ACTIVE) === was) next = undefined;
    } else if (type === "LEAVE") {
      set(tab, scope, of(tab, scope) & COUNT);
      const other = [...tabs.values()].find((each) => of(each, scope) & JOIN);
      if (other) next = { type: "SET_MEMBER", room, data: other.data.get(scope) ?? null };
      else if (sum(scope) & FULL) then = watch([scope]);
    } else if (type === "JOIN" || type === "SET_MEMBER") {
      if (type === "JOIN" && sum(scope) & FULL) then = watch([scope]); // the server sends the room only once
      if (type === "JOIN") set(tab, scope, of(tab, scope) | JOIN | FULL);
      tab.data.set(scope, message.data);
    }
    const isAwaited = message.id !== undefined;
    if (next) ask({ ...next, id: message.id }, isAwaited ? id : "", undo);
    else if (isAwaited) answerSoon(id, { type: "ACK", id: message.id });
    if (then) ask(then);
    publish();
  };

  const publish = (): void => {
    if (changes.length) hooks.changed(changes);
    changes = [];
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

  /** A tab is gone, or begins anew. */
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
        queue = [];
      }
      for (const id of [...tabs.keys()]) if (!(continues && id === own)) retire(id);
      set(tabs.get(own) ?? join(own), ACTIVE, Number(active)); // the URL said so
      publish();
      outbox.open((message) => sendText(JSON.stringify(message)), limits);
    },
    /** The connection is gone. */
    lost() {
      queue = queue.filter(([, tab]) => !tab);
      outbox.close();
    },
    received(message: Message, text: string) {
      if ("id" in message) outbox.answered(message);
      else hooks.deliver(message, text, message.type === "AUTH_EXPIRING" ? own : undefined);
    },
    stop() {
      isStopped = true;
      outbox.close();
    },
  };
}
