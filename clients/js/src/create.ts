/** `createPresence`: puts the parts of a client together. */

import { createActivity } from "./activity.js";
import { type AddCall, type Call, createWaiting } from "./calls.js";
import type { Events, PresenceClient, PresenceOptions } from "./client.js";
import { createConnector } from "./connector.js";
import { createDesiredState } from "./desired-state.js";
import { PresenceError } from "./error.js";
import { createEveryone } from "./everyone.js";
import { createExpiry } from "./expiry.js";
import type { Host } from "./host.js";
import { webHost } from "./host-web.js";
import { createMembership } from "./membership.js";
import type { Message } from "./outbox.js";
import type { RecordOf } from "./presence.js";
import { createReading } from "./reading.js";
import { takeSaved } from "./reload.js";
import { EVERYONE, FULL } from "./scope.js";
import { createSession } from "./session.js";
import { createListeners, once } from "./store.js";
import { createTrace } from "./trace.js";
import { socketAddress, withParameters } from "./url.js";
import { VERSION } from "./version.js";

/** Milliseconds for which the connection outlives its last holder, so that a component may mount again. */
const RELEASE_MS = 1_000;
const LINGER_S = 30;

const closed = () => new PresenceError("CLOSED", "the client is closed", { hint: "Call connect or retry." });

/** Create a client. It opens nothing until `connect`, so this is safe during render and on a server. */
export function createPresence(options: PresenceOptions = {}): PresenceClient {
  const ownHost: Host = { ...webHost, ...options.host };
  const shared = () => ({ connection, ...requests, hasMember: replica.rooms.hasMember });
  const host = options.tabs?.attach(ownHost, shared) ?? ownHost;
  const trace = createTrace(host.now, options.log);
  const desired = createDesiredState(host, (options.linger ?? LINGER_S) * 1_000, () => session.outbox.plan());
  const session = createSession(host, desired);
  const { replica, requests, subscriptions, outbox, ownStatus, caughtUp, settling } = session;
  const { roster } = replica;
  const expiry = createExpiry(host, session, options.forgetAfter);
  roster.apply((options.initial?.users ?? []) as readonly RecordOf[]);
  const everyone = createEveryone(host, roster);
  const { reading, ...stores } = createReading(desired, replica);
  const activity = createActivity(host, options.activity || {}, (state) => {
    ownStatus.setActivity(state);
    outbox.plan();
  });
  const waiting = createWaiting();
  const messages = createListeners<[Message]>();
  const userId = String(options.userId ?? "");
  // A program without a page has no person who could be idle.
  const detectsActivity = options.activity !== false && (host.onInput !== webHost.onInput || "window" in globalThis);
  /** The address as the application wrote it: each origin has its own storage, and `close` works with a wrong one, too. */
  const storageKey = `presenced ${options.url} ${userId}`;
  /** Milliseconds that the server's clock is ahead of this machine's. */
  let clockOffset = 0;
  /** Whether the server has lost the store that it shares with other servers. */
  let isServerStale = false;
  /** Number of `connect` calls that are not released. */
  let holders = 0;
  let cancelRelease: (() => void) | undefined;
  let ready: Call<void> | undefined;

  const now = () => host.now() + clockOffset;

  const stopped = (error: PresenceError, state: "closed" | "failed") => {
    waiting.abandon(error);
    ready = undefined;
    if (state === "failed") return;
    expiry.stop();
    session.reset(); // the user signed out
    host.save(storageKey, null);
  };

  const { connection, ...connector } = createConnector(host, options.token, trace, {
    url() {
      const saved = session.sessionId() ? undefined : takeSaved(host, storageKey);
      // A token may be of another user by now, who must not get the choice of the user before.
      if (saved) session.restore(userId ? saved : { ...saved, self: undefined });
      expiry.dialed();
      return withParameters(socketAddress(options.url), {
        userId,
        device: options.device,
        watch: "none",
        activity: ownStatus.activityInUrl(),
        session: session.sessionId(),
        position: session.position(),
        ...ownStatus.choiceInUrl(now()),
      });
    },
    opened(message, send) {
      expiry.opened();
      host.save(storageKey, null); // what was saved when the page froze is older
      clockOffset = message.serverTime - host.now();
      session.opened(message, send);
      setServerStale(!!message.staleSince);
    },
    received(message) {
      if ("id" in message || message.type === "ERROR") outbox.answered(message as unknown as Message);
      session.received(message);
      if (message.type === "CERTAINTY") setServerStale(message.certainty === "stale");
      messages.notify(message as unknown as Message);
    },
    lost(wasOpen) {
      session.lost();
      expiry.lost(wasOpen);
    },
    newSession: session.end,
    renew: (token) =>
      outbox.sendNow({ type: "AUTH", token }, () => {
        requests.refused.clear(); // this token may allow more
        outbox.plan();
      }),
    save() {
      if (session.sessionId()) host.save(storageKey, JSON.stringify(session.save()));
    },
    ping() {
      const sentAt = host.now();
      outbox.sendNow({ type: "PING" }, ({ serverTime }) => {
        const latency = host.now() - sentAt;
        clockOffset = Number(serverTime) + latency / 2 - host.now();
        connector.setLatency(latency);
      });
    },
    stopped,
  });

  const progress = () => {
    everyone.flush(); // an application that learns that the client is up to date may read it at once
    connector.setCurrent(caughtUp.get() && !settling.get() && !isServerStale);
    if (caughtUp.get()) ready?.resolve();
  };
  const setServerStale = (isStale: boolean) => {
    isServerStale = isStale;
    if (!isStale) roster.assure();
    progress();
  };
  caughtUp.subscribe(progress);
  settling.subscribe(progress);

  const call: AddCall = <T>(add: (call: Call<T>) => void, signal?: AbortSignal) => {
    const added = waiting.add<T>();
    const { state, error } = connection.get();
    const abort = () => added.reject(signal?.reason);
    if (state === "failed" || state === "closed") added.reject(error ?? closed());
    else if (signal?.aborted) abort();
    else add(added);
    if (signal) {
      signal.addEventListener("abort", abort);
      const settled = () => signal.removeEventListener("abort", abort); // one signal may serve many calls
      added.promise.then(settled, settled);
    }
    outbox.plan();
    return added;
  };

  return {
    ...stores,
    join: (room, data) => createMembership(desired, subscriptions, call, room, data),
    now,
    connection,
    self: session.self,
    everyone: reading([EVERYONE], FULL, everyone.get, everyone.subscribe),
    connect() {
      holders += 1;
      cancelRelease?.();
      if (detectsActivity) activity.start();
      connector.connect();
      return once(() => {
        holders -= 1;
        if (holders) return;
        cancelRelease = host.schedule(RELEASE_MS, () => {
          if (connection.get().state === "closed") return;
          activity.stop();
          connector.close("idle");
          session.end();
        });
      });
    },
    close() {
      cancelRelease?.();
      activity.stop();
      connector.close("closed");
      stopped(closed(), "closed");
    },
    retry() {
      if (detectsActivity) activity.start(); // `close` has stopped it
      connector.retry();
    },
    ready() {
      const asked = ready ?? call<void>(() => {});
      if (asked.isWaiting()) ready = asked; // one that was rejected at once is not kept
      if (caughtUp.get()) asked.resolve();
      return asked.promise;
    },
    setActive: (active) => activity.force(active === "auto" ? undefined : active),
    setStatus: (choice, signal) => call<void>((added) => ownStatus.choose(choice, added), signal).promise,
    on<K extends keyof Events>(event: K, listener: (event: Events[K]) => void) {
      const listen = listener as (event: unknown) => void;
      if (event === "connection") return connection.subscribe(() => listen(connection.get()));
      return session[event as "rejected" | "reconnected"].add(listen);
    },
    wire: {
      request: (message, signal) =>
        call<Message>((added) => session.moduleRequests.add(message as Message, added), signal).promise,
      get limits() {
        return { ...session.established()?.limits };
      },
      get modules() {
        return { ...(session.established() as { modules?: Record<string, unknown> } | undefined)?.modules };
      },
      on: (type, listener) => messages.add((message) => message.type === type && listener(message)),
    },
    explain: () => ({
      version: VERSION,
      connection: connection.get(),
      epoch: session.established()?.epoch,
      position: session.position(),
      knownUsers: roster.known.size,
      activity: ownStatus.activity(),
      desired: Object.fromEntries(desired.scopes),
      agreed: Object.fromEntries(requests.agreed),
      log: trace.entries,
    }),
  };
}
