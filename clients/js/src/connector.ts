/**
 * Keeps one connection open: the state machine, its attempts, and the signals of the page.
 *
 *     idle -- connect() --> connecting -- CONNECTION_ESTABLISHED --> open -- lost --> waiting --> connecting
 *     any state -- final code --> failed      any state -- close() --> closed
 *     failed, closed -- connect(), retry() --> connecting
 *
 * A signal never reopens a client that was closed deliberately. After every `await`, the attempt must still be the
 * current one: `attempt` counts them.
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
import { createValue } from "./store.js";
import { createTokens, tokenSubprotocol } from "./token.js";
import type { createTrace } from "./trace.js";
import type { ConnectionEstablished, ServerMessage } from "./wire.js";

const PROTOCOL = "presenced.v1";

/** Milliseconds for an attempt, from asking for a token to the first message. */
const CONNECT_TIMEOUT_MS = 20_000;

/** An attempt this old is abandoned when the page or the network returns. */
const OLD_ATTEMPT_MS = 2_000;

/** Maximum delay of an attempt that a signal starts, so that a thousand tabs do not connect at once. */
const SIGNAL_JITTER_MS = 250;

/** Minimum time between two attempts of a hidden page. */
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
  let attempt = 0;
  let attemptedAt = 0;
  let isHidden = false;
  let isOffline = false;
  let isFrozen = false;
  let isCurrent = false;
  let cancelTimer: (() => void) | undefined;
  let cancelStable: (() => void) | undefined;
  let stopSignals: (() => void) | undefined;

  const state = () => connection.get().state;
  const isTrying = () => state() === "connecting" || state() === "waiting";

  const set = (change: Partial<Connection>): void => {
    const before = connection.get();
    const next = { ...before, attempt: retry.attempt(), ...change };
    next.stale = next.state !== "open" || !isCurrent || isOffline;
    if (next.state !== before.state) {
      next.since = host.now();
      trace.add("state", next.error ? `${next.state}: ${next.error.code}` : next.state);
    }
    if ((Object.keys(next) as (keyof Connection)[]).some((key) => next[key] !== before[key])) connection.set(next);
  };

  /** Give up the socket and everything planned. Unless `code` says otherwise, the session goes on. */
  const abandon = (code = KEEP_SESSION): void => {
    attempt += 1;
    cancelTimer?.();
    cancelStable?.();
    heartbeat.stop();
    socket?.close(code);
    socket = undefined;
    hooks.lost(state() === "open");
  };

  const stop = (to: "closed" | "failed", error: PresenceError): void => {
    abandon(to === "closed" ? 1000 : undefined);
    set({ state: to, error, retryAt: 0 });
    hooks.stopped(error, to);
  };

  const signedOut = () => stop("closed", new PresenceError("SIGNED_OUT", "the token function returned no token"));

  /** Begin the next attempt after `delayMs`; not while offline or frozen, and rarely while hidden. */
  const wait = (delayMs: number, isHeld = isOffline || isFrozen): void => {
    cancelTimer?.();
    const now = host.now();
    const retryAt = Math.max(now + delayMs, isHidden ? attemptedAt + HIDDEN_PAUSE_MS : 0);
    set({ state: "waiting", retryAt: isHeld ? 0 : retryAt });
    if (!isHeld) cancelTimer = host.schedule(retryAt - now, start);
  };

  const decide = ({ isFinal, retryIn, error }: Decision): void => {
    if (isFinal && error) {
      stop("failed", error);
      return;
    }
    set({ state: "waiting", error });
    if (retryIn) wait(retryIn);
    else void start();
  };

  const lost = (code: number, reason: string): void => {
    const wasOpen = state() === "open";
    abandon();
    decide(retry.ended(code, reason, wasOpen, tokens.renew, hooks.newSession));
  };

  const start = async (): Promise<void> => {
    abandon();
    const current = attempt;
    attemptedAt = host.now();
    isFrozen = false;
    set({ state: "connecting", retryAt: 0 });
    cancelTimer = host.schedule(CONNECT_TIMEOUT_MS, () => lost(NO_CODE, "no answer"));
    let value: string | null | undefined;
    try {
      value = await tokens.get();
    } catch (error) {
      if (current === attempt) decide(retry.tokenFailed(error));
      return;
    }
    if (current !== attempt) return;
    if (value === null) signedOut();
    else open(value);
  };

  const open = (value: string | undefined): void => {
    const subprotocol = value && tokenSubprotocol(value);
    const authenticate = () => {
      if (value && !subprotocol) socket?.send(JSON.stringify({ type: "AUTH", token: value })); // not in the log
    };
    try {
      const protocols = subprotocol ? [PROTOCOL, subprotocol] : [PROTOCOL];
      socket = openSocket(host, hooks.url(), protocols, authenticate, received, lost);
    } catch (error) {
      const { code = "BAD_URL", message, hint = "" } = error as PresenceError;
      stop("failed", new PresenceError(code, message, { hint }));
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
    else if (message.type === "AUTH_EXPIRING") void renew();
    else hooks.received(message);
  };

  const established = (message: ConnectionEstablished): void => {
    cancelTimer?.();
    retry.opened();
    cancelStable = host.schedule(STABLE_MS, () => {
      retry.reset();
      set({});
    });
    heartbeat.start(message.heartbeatInterval * 1_000);
    isOffline = false;
    set({ state: "open", error: null });
    hooks.opened(message, (request) => {
      const json = JSON.stringify(request);
      trace.add("sent", request.type === "AUTH" ? '{"type":"AUTH"}' : json);
      socket?.send(json);
    });
  };

  const renew = async (): Promise<void> => {
    const current = attempt;
    if (!tokens.renew()) return; // the connection ends with 4401
    // If the function throws, the connection ends with 4401 when the token expires, and the next one fetches another.
    const value = await tokens.get().catch(() => undefined);
    if (current !== attempt) return;
    if (value === null) signedOut();
    else if (value) hooks.renew(value);
  };

  const signal = (name: Signal): void => {
    if (name === "hidden" || name === "visible") isHidden = name === "hidden";
    if (name === "online" || name === "offline") isOffline = name === "offline";
    if (state() !== "open" && !isTrying()) return;
    if (name === "leaving" || name === "frozen") hooks.save();
    if (name === "frozen") {
      isFrozen = true;
      abandon();
      wait(0);
    } else if (name === "restored") void start();
    else if (name === "visible" || name === "online") {
      if (state() === "open") heartbeat.probe();
      else if (state() === "waiting" || host.now() - attemptedAt > OLD_ATTEMPT_MS) {
        abandon();
        isFrozen = false;
        wait(host.random() * SIGNAL_JITTER_MS, false); // also while offline, once: browsers are not sure about that
      }
    } else if (state() === "waiting" && name !== "leaving") wait(connection.get().retryAt - host.now());
    set({}); // it may be stale now, or current
  };

  return {
    connection,
    /** Connect, unless there is a connection or an attempt. */
    connect() {
      stopSignals ??= host.onSignal(signal);
      isHidden = host.isHidden();
      if (state() === "open" || isTrying()) return;
      retry.reset();
      void start();
    },
    /** Connect at once. */
    retry() {
      if (state() === "open" || state() === "connecting") return;
      stopSignals ??= host.onSignal(signal);
      retry.reset();
      void start();
    },
    /** End the connection and all attempts. */
    close(to: "closed" | "idle") {
      abandon(1000);
      stopSignals = void stopSignals?.();
      isFrozen = isOffline = false;
      tokens.renew();
      retry.reset();
      set({ state: to, error: null, retryAt: 0 });
    },
    /** Say whether the shown state is current. */
    setCurrent(value: boolean) {
      isCurrent = value;
      set({});
    },
    setLatency: (latency: number) => set({ latency }),
  };
}
