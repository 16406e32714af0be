/**
 * Keeps one connection open: the state machine, its attempts, and the signals of the page.
 *
 *     idle -- connect() --> connecting -- CONNECTION_ESTABLISHED --> open -- lost --> waiting --> connecting
 *     any state -- final code --> failed      any state -- close() --> closed
 *     failed, closed -- connect(), retry() --> connecting
 *
 * A signal never reopens a client that was closed deliberately. After every `await`, the attempt must still be the
 * current one: `#attempt` counts them.
 */

import type { PresenceOptions } from "./client.js";
import { KEEP_SESSION } from "./codes.js";
import type { Connection } from "./connection.js";
import { PresenceError } from "./error.js";
import { Heartbeat } from "./heartbeat.js";
import type { Host, Signal } from "./host.js";
import type { Message } from "./outbox.js";
import { type Decision, NO_CODE, Retry, STABLE_MS } from "./retry.js";
import { Socket } from "./socket.js";
import { Value } from "./store.js";
import { Tokens, tokenSubprotocol } from "./token.js";
import type { Trace } from "./trace.js";
import type { ConnectionEstablished, ServerMessage } from "./wire.js";

const PROTOCOL = "presenced.v1";

/** Milliseconds for an attempt, from opening the socket to the first message. */
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
  /** The connection ended; the session may be resumed. */
  lost(): void;
  /** The next connection begins a new session. */
  newSession(): void;
  /** Send a newer token on the open connection. */
  renew(token: string): void;
  /** The page may be unloaded. */
  save(): void;
  ping(): void;
  /** The client will not connect again by itself. */
  stopped(error: PresenceError): void;
}

export class Connector {
  readonly connection: Value<Connection>;
  readonly #host: Host;
  readonly #hooks: Hooks;
  readonly #trace: Trace;
  readonly #tokens: Tokens;
  readonly #retry = new Retry();
  readonly #heartbeat: Heartbeat;
  #socket: Socket | null = null;
  #attempt = 0;
  #attemptedAt = 0;
  #isOffline = false;
  #isFrozen = false;
  #isCurrent = false;
  #cancelTimer: (() => void) | undefined;
  #cancelStable: (() => void) | undefined;
  #stopSignals: (() => void) | undefined;

  constructor(host: Host, token: PresenceOptions["token"], trace: Trace, hooks: Hooks) {
    this.#host = host;
    this.#hooks = hooks;
    this.#trace = trace;
    this.#tokens = new Tokens(host, token);
    this.connection = new Value<Connection>({
      state: "idle",
      stale: true,
      error: null,
      since: host.now(),
      attempt: 0,
      retryAt: 0,
      latency: 0,
    });
    this.#heartbeat = new Heartbeat(host, { ping: () => hooks.ping(), lost: () => this.#lost(NO_CODE, "") });
  }

  get state(): Connection["state"] {
    return this.connection.get().state;
  }

  /** Connect, unless there is a connection or an attempt. */
  connect(): void {
    this.#stopSignals ??= this.#host.onSignal((signal) => this.#signal(signal));
    this.#heartbeat.isVisible = !this.#host.isHidden();
    if (this.state === "open" || this.state === "connecting" || this.state === "waiting") return;
    this.#retry.reset();
    void this.#start();
  }

  /** Connect at once. */
  retry(): void {
    if (this.state === "open" || this.state === "connecting") return;
    this.connect();
    if (this.state === "waiting") void this.#start();
  }

  /** End the connection and all attempts. */
  close(state: "closed" | "idle"): void {
    this.#abandon(1000);
    this.#stopSignals?.();
    this.#stopSignals = undefined;
    this.#isFrozen = this.#isOffline = false;
    this.#tokens.forget();
    this.#hooks.lost();
    this.#set({ state, error: null, retryAt: 0, attempt: 0 });
  }

  /** What is shown is current, or may be old. */
  setCurrent(isCurrent: boolean): void {
    this.#isCurrent = isCurrent;
    this.#set({});
  }

  setLatency(latency: number): void {
    this.#set({ latency });
  }

  async #start(): Promise<void> {
    this.#abandon();
    const attempt = this.#attempt;
    this.#attemptedAt = this.#host.now();
    this.#isFrozen = false;
    this.#set({ state: "connecting", retryAt: 0 });
    let token: string | null | undefined;
    try {
      token = await this.#tokens.get();
    } catch (error) {
      if (attempt === this.#attempt) this.#decided(this.#retry.tokenFailed(error, this.#host.random()));
      return;
    }
    if (attempt !== this.#attempt) return;
    if (token === null) this.#stop("closed", new PresenceError("SIGNED_OUT", "the token function returned no token"));
    else this.#open(token);
  }

  #open(token: string | undefined): void {
    const subprotocol = token === undefined ? null : tokenSubprotocol(token);
    const protocols = subprotocol ? [PROTOCOL, subprotocol] : [PROTOCOL];
    this.#cancelTimer = this.#host.schedule(CONNECT_TIMEOUT_MS, () => this.#lost(NO_CODE, "no answer"));
    try {
      this.#socket = new Socket(this.#host, this.#hooks.url(), protocols, {
        opened: () => {
          // Left out of the log, like everything with a token.
          if (token !== undefined && !subprotocol) this.#socket?.send(JSON.stringify({ type: "AUTH", token }));
        },
        received: (text) => this.#received(text),
        ended: (code, reason) => this.#lost(code, reason),
      });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#stop("failed", error instanceof PresenceError ? error : new PresenceError("BAD_URL", reason));
    }
  }

  #received(text: string): void {
    this.#heartbeat.heard();
    this.#trace.add("received", text);
    let message: ServerMessage;
    try {
      message = JSON.parse(text);
    } catch {
      return; // not of a presenced server
    }
    if (message.type === "CONNECTION_ESTABLISHED") this.#established(message);
    else if (message.type === "GOING_AWAY") this.#retry.goingAwayMs = Math.max(1, message.retryAfter * 1_000);
    else if (message.type === "AUTH_EXPIRING") void this.#renew();
    else this.#hooks.received(message);
  }

  #established(message: ConnectionEstablished): void {
    this.#cancelTimer?.();
    this.#retry.opened();
    this.#cancelStable = this.#host.schedule(STABLE_MS, () => {
      this.#retry.reset();
      this.#set({});
    });
    this.#heartbeat.start(message.heartbeatInterval * 1_000);
    this.#isOffline = false;
    this.#set({ state: "open", error: null });
    this.#hooks.opened(message, (request) => this.send(request));
  }

  send(message: Message): void {
    const text = JSON.stringify(message);
    this.#trace.add("sent", message.type === "AUTH" ? '{"type":"AUTH"}' : text);
    this.#socket?.send(text);
  }

  async #renew(): Promise<void> {
    const attempt = this.#attempt;
    if (!this.#tokens.canRenew) return; // the connection ends with 4401
    this.#tokens.forget();
    try {
      const token = await this.#tokens.get();
      if (attempt !== this.#attempt) return;
      if (token) this.#hooks.renew(token);
      else this.#stop("closed", new PresenceError("SIGNED_OUT", "the token function returned no token"));
    } catch {
      // The connection ends with 4401 when the token expires, and the next one fetches another.
    }
  }

  /** The connection, or the attempt, ended. */
  #lost(code: number, reason: string): void {
    const wasOpen = this.state === "open";
    this.#abandon();
    this.#hooks.lost();
    const { canRenew } = this.#tokens;
    const now = this.#host.now();
    this.#decided(this.#retry.ended({ code, reason, wasOpen, canRenewToken: canRenew, now }, this.#host.random()));
  }

  #decided(decision: Decision): void {
    if ("failed" in decision) {
      this.#stop("failed", decision.failed);
      return;
    }
    if (decision.freshToken) this.#tokens.forget();
    if (decision.newSession) this.#hooks.newSession();
    this.#set({ state: "waiting", error: decision.error });
    if (decision.retryIn) this.#wait(decision.retryIn);
    else void this.#start();
  }

  /** Begin the next attempt after `delayMs`; not while offline or frozen, and rarely while hidden. */
  #wait(delayMs: number): void {
    this.#cancelTimer?.();
    const now = this.#host.now();
    const earliest = this.#heartbeat.isVisible ? 0 : this.#attemptedAt + HIDDEN_PAUSE_MS;
    const retryAt = Math.max(now + delayMs, earliest);
    const waits = this.#isOffline || this.#isFrozen;
    this.#set({ state: "waiting", retryAt: waits ? 0 : retryAt });
    if (!waits) this.#cancelTimer = this.#host.schedule(retryAt - now, () => void this.#start());
  }

  #stop(state: "closed" | "failed", error: PresenceError): void {
    this.#abandon();
    this.#hooks.lost();
    this.#set({ state, error, retryAt: 0 });
    this.#hooks.stopped(error);
  }

  /** Give up the socket and everything planned. */
  #abandon(code?: number): void {
    this.#attempt += 1;
    this.#cancelTimer?.();
    this.#cancelStable?.();
    this.#heartbeat.stop();
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(code);
  }

  #signal(signal: Signal): void {
    if (signal === "hidden" || signal === "visible") this.#heartbeat.isVisible = signal === "visible";
    if (signal === "online" || signal === "offline") this.#isOffline = signal === "offline";
    const { state } = this;
    if (state !== "open" && state !== "connecting" && state !== "waiting") return;
    switch (signal) {
      case "visible":
      case "online":
        if (state === "open") this.#heartbeat.probe();
        else if (state === "waiting" || this.#host.now() - this.#attemptedAt > OLD_ATTEMPT_MS) this.#connectSoon();
        this.#set({});
        break;
      case "restored":
        if (state === "open") this.#hooks.lost();
        void this.#start();
        break;
      case "offline":
      case "hidden":
        if (state === "waiting") this.#wait(this.connection.get().retryAt - this.#host.now());
        else this.#set({});
        break;
      case "leaving":
        this.#hooks.save();
        break;
      case "frozen":
        this.#hooks.save();
        this.#isFrozen = true;
        this.#abandon(KEEP_SESSION);
        this.#hooks.lost();
        this.#set({ state: "waiting", retryAt: 0 });
        break;
    }
  }

  #connectSoon(): void {
    this.#abandon();
    this.#isFrozen = false;
    this.#isOffline = false;
    this.#wait(this.#host.random() * SIGNAL_JITTER_MS);
  }

  #set(change: Partial<Connection>): void {
    const before = this.connection.get();
    const state = change.state ?? before.state;
    const stale = state !== "open" || !this.#isCurrent || this.#isOffline;
    const attempt = state === "idle" || state === "closed" ? 0 : this.#retry.attempt;
    const since = state === before.state ? before.since : this.#host.now();
    const after = { ...before, attempt, ...change, stale, since };
    const isChanged = (Object.keys(after) as (keyof Connection)[]).some((key) => after[key] !== before[key]);
    if (!isChanged) return;
    if (state !== before.state) this.#trace.add("state", after.error ? `${state}: ${after.error.code}` : state);
    this.connection.set(after);
  }
}
