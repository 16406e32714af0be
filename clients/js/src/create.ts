/** `createPresence`: puts the parts of a client together. */

import { Activity } from "./activity.js";
import { deferred } from "./calls.js";
import type { Events, PresenceClient, PresenceOptions, Wire } from "./client.js";
import { Connector } from "./connector.js";
import { COUNT, DesiredState, EVERYONE, FULL, JOIN, ROOM, USER } from "./desired-state.js";
import { PresenceError } from "./error.js";
import { Everyone } from "./everyone.js";
import type { Host } from "./host.js";
import { webHost } from "./host-web.js";
import type { Message } from "./outbox.js";
import type { Presence, RecordOf, UserId } from "./presence.js";
import { Reload } from "./reload.js";
import type { Membership } from "./room.js";
import { type Choice, choiceInUrl } from "./self.js";
import { Session } from "./session.js";
import { Listeners, once, type Store } from "./store.js";
import { Trace } from "./trace.js";
import { socketAddress, withParameters } from "./url.js";
import { VERSION } from "./version.js";

/** Milliseconds for which the connection outlives its last user, so that a component may mount again. */
const RELEASE_MS = 1_000;
const LINGER_S = 30;

/** Create a client. It opens nothing until `connect`, so this is safe during render and on a server. */
export function createPresence(options: PresenceOptions = {}): PresenceClient {
  const host: Host = { ...webHost, ...options.host };
  const trace = new Trace(() => host.now(), options.log);
  const desired = new DesiredState(host, (options.linger ?? LINGER_S) * 1_000, () => session.outbox.plan());
  const session = new Session(host, desired);
  const everyone = new Everyone(host, session.roster);
  const activity = new Activity(host, options.activity || {}, (state) => {
    session.ownStatus.activity = state;
    session.outbox.plan();
  });
  const stopped = new Listeners<[PresenceError]>();
  const messages = new Listeners<[Message]>();
  let clockOffset = 0;
  let users = 0;
  let cancelRelease: (() => void) | undefined;
  let cancelForget: (() => void) | undefined;
  let reload: Reload | undefined;
  let ready: ReturnType<typeof deferred<void>> | undefined;

  const connector = new Connector(host, options.token, trace, {
    url() {
      const address = socketAddress(options.url);
      reload ??= new Reload(host, address, String(options.userId ?? ""));
      if (!session.sessionId) {
        const saved = reload.take();
        if (saved) session.restore(saved);
      }
      return withParameters(address, {
        userId: options.userId === undefined ? undefined : String(options.userId),
        device: options.device,
        watch: "none",
        activity: session.ownStatus.activity,
        session: session.sessionId,
        position: session.position,
        ...choiceInUrl(session.lastSelf, now()),
      });
    },
    opened(message, send) {
      cancelForget?.();
      clockOffset = message.serverTime - host.now();
      session.opened(message, session.ownStatus.activity, send);
    },
    received(message) {
      if ("id" in message || message.type === "ERROR") session.outbox.answered(message as unknown as Message);
      session.received(message);
      messages.notify(message as unknown as Message);
    },
    lost() {
      const isFirst = session.caughtUp.get() || connector.state === "open";
      session.lost();
      if (!isFirst) return;
      cancelForget?.();
      const after = options.forgetAfter ?? session.resumeWindow;
      cancelForget = host.schedule(after * 1_000, () => session.forget());
    },
    newSession: () => session.end(),
    renew(token) {
      session.outbox.sendNow(
        { type: "AUTH", token },
        {
          accepted() {
            session.subscriptions.requests.forgive(); // this token may allow more
            session.outbox.plan();
          },
        },
      );
    },
    save: () => reload?.save(session.save()),
    ping() {
      const sentAt = host.now();
      session.outbox.sendNow(
        { type: "PING" },
        {
          accepted({ serverTime }) {
            const latency = host.now() - sentAt;
            clockOffset = Number(serverTime) + latency / 2 - host.now();
            connector.setLatency(latency);
          },
        },
      );
    },
    stopped(error) {
      session.abandon(error);
      ready?.reject(error);
      ready = undefined;
      stopped.notify(error);
    },
  });

  const updateStale = () => {
    connector.setCurrent(session.caughtUp.get() && !session.settling.get());
    if (session.caughtUp.get()) ready?.resolve();
  };
  session.caughtUp.subscribe(updateStale);
  session.settling.subscribe(updateStale);
  session.roster.apply((options.initial?.users ?? []) as readonly RecordOf[]);

  const now = () => host.now() + clockOffset;

  /** Reject at once what the client cannot send any more. */
  const refusal = (): PresenceError | null => {
    const { state, error } = connector.connection.get();
    if (state === "failed") return error;
    if (state !== "closed") return null;
    return new PresenceError("CLOSED", "the client is closed", { hint: "Call connect or retry." });
  };

  const release = () => {
    users -= 1;
    if (users) return;
    cancelRelease = host.schedule(RELEASE_MS, () => {
      activity.stop();
      connector.close("idle");
      session.end();
    });
  };

  /** A store that subscribes on the server while it has readers. */
  const reading = <T>(scopes: readonly string[], bit: number, store: Store<T>): Store<T> => ({
    get: store.get,
    subscribe(listener) {
      const stop = store.subscribe(listener);
      const end = desired.retain(scopes, bit);
      return once(() => {
        stop();
        end();
      });
    },
  });

  const usersStore = (ids: readonly UserId[]): Store<ReadonlyMap<string, Presence>> => {
    let map: ReadonlyMap<string, Presence> | undefined;
    const get = () => {
      const current = ids.map((id) => [String(id), session.roster.get(id)] as const);
      if (!map || current.some(([key, user]) => map?.get(key) !== user)) map = new Map(current);
      return map;
    };
    return { get, subscribe: (listener) => session.roster.subscribe(ids, listener) };
  };

  const join = (room: string, data: unknown): Membership => {
    const scope = ROOM + room;
    const end = desired.retain([scope], JOIN);
    const set = (value: unknown) => {
      const call = deferred<void>();
      desired.setData(scope, value);
      const refused = refusal();
      if (refused) call.reject(refused);
      else session.subscriptions.awaitMember(room, call);
      session.outbox.plan();
      return call;
    };
    const call = set(data);
    const leave = once(() => {
      end();
      call.reject(new PresenceError("LEFT", "this client left before the server answered"));
    });
    return { joined: call.promise, setData: (value) => set(value).promise, leave };
  };

  const wire: Wire = {
    request: (message, signal) =>
      called<Message>(
        signal,
        (call) => session.calls.add(message as Message, call),
        (call) => session.calls.withdraw(call),
      ),
    get limits() {
      return { ...session.established?.limits };
    },
    get modules() {
      const { modules = {} } = (session.established ?? {}) as { modules?: Record<string, unknown> };
      return modules;
    },
    on: (type, listener) => messages.add((message) => message.type === type && listener(message)),
  };

  /** Return a promise for the answer to a call that waits, until the signal aborts it. */
  const called = <T>(
    signal: AbortSignal | undefined,
    add: (call: ReturnType<typeof deferred<T>>) => void,
    withdraw: (call: ReturnType<typeof deferred<T>>) => void,
  ): Promise<T> => {
    const call = deferred<T>();
    const refused = refusal();
    if (signal?.aborted) call.reject(signal.reason);
    else if (refused) call.reject(refused);
    else add(call);
    signal?.addEventListener("abort", () => {
      withdraw(call);
      call.reject(signal.reason);
    });
    session.outbox.plan();
    return call.promise;
  };

  const on = <K extends keyof Events>(event: K, listener: (event: Events[K]) => void): (() => void) => {
    const listen = listener as (event: unknown) => void;
    if (event === "rejected") return session.rejected.add(listen);
    if (event === "reconnected") return session.reconnected.add((outcome) => listen({ outcome }));
    return connector.connection.subscribe(() => listen(connector.connection.get()));
  };

  return {
    connect() {
      users += 1;
      cancelRelease?.();
      if (options.activity !== false) activity.start();
      connector.connect();
      return once(release);
    },
    close() {
      cancelRelease?.();
      cancelForget?.();
      activity.stop();
      connector.close("closed");
      session.reset(new PresenceError("CLOSED", "the client was closed"));
      reload?.forget();
    },
    retry: () => connector.retry(),
    ready() {
      ready ??= deferred<void>();
      const refused = refusal();
      if (session.caughtUp.get()) ready.resolve();
      else if (refused) ready.reject(refused);
      return ready.promise;
    },
    now,
    connection: connector.connection,
    self: session.self,
    everyone: reading([EVERYONE], FULL, everyone),
    user: (id) =>
      reading([USER + id], FULL, {
        get: () => session.roster.get(id),
        subscribe: (listener) => session.roster.subscribe([id], listener),
      }),
    users(ids) {
      const list = [...ids];
      return reading(
        list.map((id) => USER + id),
        FULL,
        usersStore(list),
      );
    },
    room: (name) =>
      reading([ROOM + name], FULL, {
        get: () => session.rooms.get(name),
        subscribe: (listener) => session.rooms.subscribe(name, listener),
      }),
    count(scope) {
      const key = scope === EVERYONE ? EVERYONE : ROOM + scope.room;
      return reading([key], COUNT, session.counts.of(key));
    },
    watch(ids, listener) {
      const list = [...ids];
      const stop = session.roster.watch(list, listener);
      const end = desired.retain(
        list.map((id) => USER + id),
        FULL,
      );
      return once(() => {
        stop();
        end();
      });
    },
    join,
    setActive: (active) => activity.force(active === "auto" ? null : active),
    setStatus: (choice: Choice, signal) =>
      called<void>(
        signal,
        (call) => session.ownStatus.choose(choice, call),
        (call) => session.ownStatus.withdraw(call),
      ),
    on,
    wire,
    explain: () => ({
      version: VERSION,
      connection: connector.connection.get(),
      session: { epoch: session.established?.epoch, position: session.position, knownUsers: session.roster.size },
      desired: Object.fromEntries(desired.scopes),
      agreed: Object.fromEntries(session.subscriptions.requests.agreed),
      activity: session.ownStatus.activity,
      log: trace.entries,
    }),
  };
}
