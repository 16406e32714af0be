/**
 * Keeps one connection open: the state machine, its attempts, and the signals of the page.
 *
 *     idle -- connect() --> connecting -- CONNECTION_ESTABLISHED --> open -- lost --> waiting --> connecting
 *     any state -- final code --> failed      any state -- close() --> closed
 *     failed, closed -- connect(), retry() --> connecting
 *
 * A signal never reopens a client that was closed deliberately. After every `await`, and after every call of listeners,
 * the attempt must still be the current one: `attempt` counts them.
 */

import type { PresenceOptions } from "./client.js";
import { KEEP_SESSION } from "./codes.js";
import type { Connection } from "./connection.js";
import { PresenceError } from "./error.js";
import { createHeartbeat } from "./heartbeat.js";
import type { Host, Signal } from "./host.js";
import type { Message } from "./outbox.js";
import { createRetry, type Decision, NO_CODE, STABLE_MS } from "./retry.js";
import { openSocket, type Socket } from "./socket.js";
import { createValue, same } from "./store.js";
import { createTokens, tokenSubprotocol } from "./token.js";
import type { createTrace } from "./trace.js";
import type { ConnectionEstablished, ServerMessage } from "./wire.js";

const PROTOCOL = "presenced.v1";

/** Milliseconds for an attempt, from asking for a token to the first message. */
const CONNECT_TIMEOUT_MS = 20_000;

/** Age in milliseconds at which an attempt is abandoned when the page or the network returns. */
const OLD_ATTEMPT_MS = 2_000;

/** Maximum delay in milliseconds of an attempt after a signal, so that a thousand tabs do not connect at once. */
const SIGNAL_JITTER_MS = 250;

/** Minimum number of milliseconds between two attempts of a hidden page. */
const HIDDEN_PAUSE_MS = 60_000;

interface Hooks {
  /** Return the URL of the next connection. */
  url(): string;
  opened(message: ConnectionEstablished, send: (message: Message) => void): void;
  received(message: ServerMessage): void;
  /** The connection, or an attempt, ended. The session may be resumed. */
  lost(wasOpen: boolean): void;
  /** The next connection begins a new session. */
  newSession(): void;
  /** Send a newer token on the open connection. */
  renew(token: string): void;
  /** The page may be unloaded. */
  save(): void;
  ping(): void;
  /** The client does not connect again by itself. */
  stopped(error: PresenceError, state: "closed" | "failed"): void;
}

export function createConnector(
  host: Host,
  token: PresenceOptions["token"],
  trace: ReturnType<typeof createTrace>,
  hooks: Hooks,
) {
  const connection = createValue<Connection>({
    state: "idle",
    stale: true,
    error: null,
    since: 0, // reading the clock during a render would keep Next.js from prerendering the page
    attempt: 0,
    retryAt: 0,
    latency: 0,
  });
  const tokens = createTokens(host, token);
  const retry = createRetry(host);
  const heartbeat = createHeartbeat(
    host,
    () => !isHidden,
    hooks.ping,
    () => lost(NO_CODE, ""),
  );
  let socket: Socket | undefined;
  /** Number of the current attempt. */
  let attempt = 0;
  /** When the current attempt began. */
  let attemptedAt = 0;
  let isHidden = false;
  let isOffline = false;
  let isFrozen = false;
  /** Whether the session has caught up and settled, and the server is not stale, as `setCurrent` says. */
  let isCurrent = false;
  /** Cancels the end of the attempt, the next attempt, or the time until an open connection is stable. */
  let cancelTimer: (() => void) | undefined;
  let stopSignals: (() => void) | undefined;

  const state = () => connection.get().state;

  /**
   * Publish a change of the connection, with the fields that follow from others. Return whether the attempt is still the
   * current one: a listener may have called `close` or `retry`.
   */
  const set = (change: Partial<Connection>): boolean => {
    const current = attempt;
    const before = connection.get();
    const next = { ...before, attempt: retry.attempt(), ...change };
    next.stale = next.state !== "open" || !isCurrent || isOffline;
    if (next.state !== before.state) {
      next.since = host.now();
      trace.add("state", next.error ? `${next.state}: ${next.error.code}` : next.state);
    }
    // Without these lines, the mistakes of a first attempt leave an empty console and dots that never change.
    if (next.error && next.error !== before.error) {
      const { code, message, hint } = next.error;
      const print =
        next.state === "failed"
          ? console.error
          : code === "TOKEN_FAILED" && before.error?.code !== code // once, although each attempt fails
            ? console.warn
            : undefined;
      print?.(`presenced: ${code}: ${message}. ${hint}`);
    }
    if (!same(next, before)) connection.set(next);
    return current === attempt;
  };

  /**
   * Give up the socket and everything planned. Unless `code` says otherwise, the session goes on. Return false if a
   * listener has called `close` or `retry`.
   */
  const abandon = (code = KEEP_SESSION): boolean => {
    attempt += 1;
    const current = attempt;
    cancelTimer?.();
    heartbeat.stop();
    socket?.close(code);
    socket = undefined;
    hooks.lost(state() === "open");
    return current === attempt;
  };

  /** End the connection and all attempts. A client that has failed may still resume its session. */
  const end = (to: "idle" | "closed" | "failed", error: PresenceError | null): void => {
    if (abandon(to === "failed" ? KEEP_SESSION : 1000)) set({ state: to, error, retryAt: 0 });
  };

  /** End, and let the session know that the client does not connect again by itself. */
  const stop = (to: "closed" | "failed", error: PresenceError): void => {
    end(to, error);
    hooks.stopped(error, to);
  };

  /** Begin the next attempt after `delayMs`; not while offline or frozen, and rarely while hidden. */
  const wait = (delayMs: number, isHeld = isOffline || isFrozen): void => {
    cancelTimer?.();
    const now = host.now();
    const retryAt = Math.max(now + delayMs, isHidden ? attemptedAt + HIDDEN_PAUSE_MS : 0);
    if (set({ state: "waiting", retryAt: isHeld ? 0 : retryAt }) && !isHeld)
      cancelTimer = host.schedule(retryAt - now, start);
  };

  /** Do what `retry.ts` decided after the end of a connection. */
  const decide = ({ retryIn, error }: Decision): void => {
    if (retryIn === undefined) stop("failed", error);
    else if (set({ state: "waiting", error })) {
      if (retryIn) wait(retryIn);
      else start();
    }
  };

  /** Call one of the functions with the result of the token function, unless the attempt is over by then. */
  const withToken = (use: (token: string | undefined) => void, failed: (error: unknown) => void): void => {
    const current = attempt;
    tokens.get().then(
      (token) => {
        if (current !== attempt) return;
        if (token === null) stop("closed", new PresenceError("SIGNED_OUT", "the token function returned no token"));
        else use(token);
      },
      (error) => current === attempt && failed(error),
    );
  };

  const lost = (code: number, reason: string): void => {
    const wasOpen = state() === "open";
    if (abandon()) decide(retry.ended(code, reason, wasOpen, tokens.renew, hooks.newSession));
  };

  const start = (): void => {
    if (!abandon()) return;
    attemptedAt = host.now();
    isFrozen = false;
    if (!set({ state: "connecting", retryAt: 0 })) return;
    cancelTimer = host.schedule(CONNECT_TIMEOUT_MS, () => lost(NO_CODE, "no answer"));
    withToken(open, (error) => decide(retry.tokenFailed(error)));
  };

  const open = (token: string | undefined): void => {
    const subprotocol = token && tokenSubprotocol(token);
    const authenticate = () => {
      if (token && !subprotocol) socket?.send(JSON.stringify({ type: "AUTH", token })); // not in the log
    };
    try {
      const protocols = subprotocol ? [PROTOCOL, subprotocol] : [PROTOCOL];
      const current = attempt;
      const url = hooks.url(); // it restores the rooms of the page before its reload
      if (current === attempt) socket = openSocket(host, url, protocols, authenticate, received, lost);
    } catch (error) {
      stop("failed", error instanceof PresenceError ? error : new PresenceError("BAD_URL", (error as Error).message));
    }
  };

  const received = (text: string): void => {
    heartbeat.heard();
    trace.add("received", text.replace(/("sessionId":")[^"]*/, "$1…")); // it is a secret of this client
    let message: ServerMessage;
    try {
      message = JSON.parse(text);
    } catch {
      return; // not of a presenced server
    }
    if (!message?.type) return;
    if (message.type === "CONNECTION_ESTABLISHED") established(message);
    else if (message.type === "GOING_AWAY") retry.goingAway(message.retryAfter);
    else if (message.type === "AUTH_EXPIRING") renew();
    else hooks.received(message);
  };

  const established = (message: ConnectionEstablished): void => {
    cancelTimer?.();
    retry.opened();
    cancelTimer = host.schedule(STABLE_MS, () => {
      retry.reset();
      set({});
    });
    heartbeat.start(message.heartbeatInterval * 1_000);
    isOffline = false;
    if (!set({ state: "open", error: null })) return;
    hooks.opened(message, (request) => {
      const json = JSON.stringify(request);
      trace.add("sent", request.type === "AUTH" ? '{"type":"AUTH"}' : json);
      socket?.send(json);
    });
  };

  /** Without another token, the connection ends with 4401. The next one asks the token function again. */
  const renew = (): void => {
    if (tokens.renew())
      withToken(
        (token) => token && hooks.renew(token),
        () => {},
      );
  };

  const signal = (name: Signal): void => {
    isHidden = name === "hidden" || (isHidden && name !== "visible");
    isOffline = name === "offline" || (isOffline && name !== "online");
    if (!["open", "connecting", "waiting"].includes(state())) return;
    if (name === "leaving" || name === "frozen") hooks.save();
    if (name === "frozen") {
      isFrozen = true;
      if (abandon()) wait(0);
    } else if (name === "restored") start();
    else if (name === "visible" || name === "online") {
      if (state() === "open") heartbeat.probe();
      else if (state() === "waiting" || host.now() - attemptedAt > OLD_ATTEMPT_MS) {
        isFrozen = false;
        // Also while offline, once: browsers are not sure about that.
        if (abandon()) wait(host.random() * SIGNAL_JITTER_MS, false);
      }
    } else if (state() === "waiting" && name !== "leaving") wait(connection.get().retryAt - host.now());
    set({}); // it may be stale now, or current
  };

  const connect = (): void => {
    if (["open", "connecting"].includes(state())) return;
    stopSignals ??= host.onSignal(signal);
    isHidden = host.isHidden();
    retry.reset();
    start();
  };

  return {
    connection,
    /** Connect, unless there is a connection or an attempt. */
    connect: () => state() === "waiting" || connect(),
    /** Connect now, instead of waiting. */
    retry: connect,
    /** End the connection and all attempts. */
    close(to: "closed" | "idle") {
      stopSignals = void stopSignals?.();
      isFrozen = isOffline = false;
      tokens.renew();
      retry.reset();
      end(to, null);
    },
    /** Say whether the shown state is current. */
    setCurrent(value: boolean) {
      isCurrent = value;
      set({});
    },
    setLatency: (latency: number) => set({ latency }),
  };
}
