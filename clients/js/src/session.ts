/**
 * One session of presenced.v1: what the server has sent, and what it is asked for.
 *
 *     new session       the server knows nothing of this client: everything wanted is requested
 *     resumed           the server sends what was missed
 *     resynced          the same session, but the server sends everything again
 *
 * In all three cases what is shown stays, and changes only where the server says something else. The session has
 * *caught up* when everything requested is answered and known.
 */

import { Calls } from "./calls.js";
import { Counts } from "./counts.js";
import { COUNT, type DesiredState, EVERYONE, FULL, JOIN, ROOM, USER } from "./desired-state.js";
import type { PresenceError } from "./error.js";
import type { Host } from "./host.js";
import { type Message, Outbox } from "./outbox.js";
import { OwnStatus } from "./own-status.js";
import { nameOf } from "./requests.js";
import { Rooms } from "./rooms.js";
import { Roster } from "./roster.js";
import { type Self, toSelf } from "./self.js";
import { Listeners, Value } from "./store.js";
import { Subscriptions } from "./subscriptions.js";
import type { ConnectionEstablished, MemberRecord, SelfMessage, ServerMessage, UserRecord } from "./wire.js";

export type Outcome = "resumed" | "resynced" | "new-session";

/** What survives a reload of the page. */
export interface SavedSession {
  readonly sessionId: string;
  readonly agreed: readonly (readonly [scope: string, bits: number])[];
  readonly data: readonly (readonly [scope: string, data: unknown])[];
}

export class Session {
  readonly roster = new Roster();
  readonly rooms = new Rooms();
  readonly counts = new Counts();
  readonly self = new Value<Self | null>(null);
  readonly calls = new Calls();
  readonly ownStatus: OwnStatus;
  readonly subscriptions: Subscriptions;
  readonly outbox: Outbox;
  /** Whether all that is wanted is known, since the connection opened. */
  readonly caughtUp = new Value(false);
  /** Whether a server that has just started does not know yet which of the known users return. */
  readonly settling = new Value(false);
  readonly reconnected = new Listeners<[Outcome]>();
  readonly rejected = new Listeners<[PresenceError]>();
  sessionId = "";
  position = "";
  resumeWindow = 0;
  established: ConnectionEstablished | null = null;
  lastSelf: SelfMessage | null = null;
  readonly #host: Host;
  readonly #desired: DesiredState;
  #outcome: Outcome | null = null;
  #cancelSettling: (() => void) | undefined;
  #hasChanges = false;
  #knowsEveryone = false;
  /** Records of the pages of incomplete snapshots, by what they are of. */
  readonly #pages = new Map<string, (UserRecord | MemberRecord)[]>();

  constructor(host: Host, desired: DesiredState) {
    this.#host = host;
    this.#desired = desired;
    this.ownStatus = new OwnStatus(host);
    const rejected = (error: PresenceError) => this.rejected.notify(error);
    this.subscriptions = new Subscriptions(desired, {
      ended: () => this.#forgetUncovered(),
      joined: (room, isMember) => this.rooms.setJoined(room, isMember),
      rejected,
    });
    const sources = [this.subscriptions, this.ownStatus, this.calls];
    this.outbox = new Outbox(host, sources, rejected, () => this.#checkCaughtUp());
  }

  /** A connection opened. `activity` is what its URL said. */
  opened(message: ConnectionEstablished, activity: "active" | "idle", send: (message: Message) => void): void {
    const isSame = message.sessionId === this.sessionId;
    const hadSession = this.sessionId !== "";
    this.#outcome = !hadSession ? null : message.resumed ? "resumed" : isSame ? "resynced" : "new-session";
    this.established = message;
    this.sessionId = message.sessionId;
    this.resumeWindow = message.resumeWindow;
    this.subscriptions.limits = message.limits;
    this.ownStatus.toldActivity = activity;
    this.#hasChanges = false;
    if (!isSame) this.subscriptions.requests.clear();
    if (!message.resumed) {
      this.position = "";
      this.#knowsEveryone = false;
      this.roster.expectAll(message.settling > 0);
      this.#settle(this.roster.size > 0 ? message.settling : 0);
    }
    this.outbox.open(send, message.limits);
  }

  /** The connection ended. The session may be resumed. */
  lost(): void {
    this.#pages.clear();
    this.outbox.close();
    this.caughtUp.set(false);
  }

  /** The next connection begins a new session. What is known stays. */
  end(): void {
    this.sessionId = this.position = "";
    this.subscriptions.requests.clear();
  }

  /** Forget whom and what is known. */
  forget(): void {
    this.roster.forget();
    this.rooms.forget();
    this.counts.forget();
    this.#knowsEveryone = false;
  }

  /** Reject all calls that wait. */
  abandon(error: PresenceError): void {
    for (const waiting of [this.calls, this.ownStatus, this.subscriptions]) waiting.abandon(error);
  }

  /** Forget everything, because the user signed out. */
  reset(error: PresenceError): void {
    this.#settle(0);
    this.end();
    this.abandon(error);
    this.forget();
    this.lastSelf = null;
    this.self.set(null);
  }

  save(): SavedSession {
    const { agreed, sentData } = this.subscriptions.requests;
    return { sessionId: this.sessionId, agreed: [...agreed], data: [...sentData] };
  }

  /** Go on with the session of the page before its reload. Without a position, the server sends everything again. */
  restore({ sessionId, agreed, data }: SavedSession): void {
    this.sessionId = sessionId;
    for (const [scope, bits] of agreed) this.subscriptions.requests.agreed.set(scope, bits);
    for (const [scope, value] of data) this.subscriptions.requests.sentData.set(scope, value);
  }

  received(message: ServerMessage): void {
    switch (message.type) {
      case "PRESENCE_SNAPSHOT": {
        const users = this.#page(message.watch, message, message.users);
        if (users && message.watch === EVERYONE) {
          this.#knowsEveryone = true;
          this.roster.replaceAll(users);
        } else if (users) this.roster.apply(users);
        break;
      }
      case "PRESENCE_CHANGES":
        this.position = message.position;
        this.#hasChanges = true;
        this.roster.apply(message.users);
        break;
      case "PRESENCE_COUNT":
        if (message.watch !== "users") this.counts.set(message.room ? ROOM + message.room : EVERYONE, message.online);
        break;
      case "ROOM_SNAPSHOT": {
        const members = this.#page(ROOM + message.room, message, message.members);
        if (!members) break;
        this.roster.apply(members.map(({ presence }) => presence));
        this.rooms.replace({ ...message, members });
        break;
      }
      case "ROOM_CHANGES":
        this.roster.apply((message.members ?? []).map(({ presence }) => presence));
        if (this.rooms.change(message)) {
          this.subscriptions.requests.requestAgain(ROOM + message.room);
          this.outbox.plan();
        }
        if (message.left?.length || message.mode === "counts") this.#forgetUncovered();
        break;
      case "SELF":
        this.lastSelf = message;
        this.ownStatus.selfChanged(message);
        this.self.set(toSelf(this.established?.userId ?? "", message));
        break;
    }
    this.#checkCaughtUp();
  }

  /** Collect a page. Return the records of all pages with the last one: they appear together. */
  #page<T extends UserRecord | MemberRecord>(
    key: string,
    { page, pages }: { page: number; pages: number },
    records: readonly T[],
  ): T[] | null {
    const all = [...(page === 1 ? [] : ((this.#pages.get(key) as T[] | undefined) ?? [])), ...records];
    if (page < pages) this.#pages.set(key, all);
    else this.#pages.delete(key);
    return page < pages ? null : all;
  }

  #settle(seconds: number): void {
    this.#cancelSettling?.();
    this.settling.set(seconds > 0);
    if (!seconds) return;
    this.#cancelSettling = this.#host.schedule(seconds * 1_000, () => {
      this.settling.set(false);
      if (this.caughtUp.get()) this.roster.settled();
    });
  }

  #checkCaughtUp(): void {
    if (this.caughtUp.get() || !this.#hasChanges || !this.outbox.isDone) return;
    for (const [scope, bits] of this.subscriptions.requests.agreed) if (!this.#isKnown(scope, bits)) return;
    if (!this.settling.get()) this.roster.settled();
    this.#forgetUncovered();
    this.caughtUp.set(true);
    const outcome = this.#outcome;
    this.#outcome = null;
    if (outcome) this.reconnected.notify(outcome);
  }

  #isKnown(scope: string, bits: number): boolean {
    const name = nameOf(scope);
    if (bits & COUNT && this.counts.get(scope) === null) return false;
    if (!(bits & FULL)) return true;
    if (scope === EVERYONE) return this.#knowsEveryone;
    return scope.startsWith(USER) ? this.roster.isKnown(name) : this.rooms.get(name).known;
  }

  /**
   * Forget users and rooms of which the server sends no changes any more. Whoever is wanted and not yet requested
   * again, in a new session, stays as known.
   */
  #forgetUncovered(): void {
    const { agreed } = this.subscriptions.requests;
    const { scopes } = this.#desired;
    const has = (scope: string, bit: number) => (((agreed.get(scope) ?? 0) | (scopes.get(scope) ?? 0)) & bit) !== 0;
    this.rooms.forget((name) => !has(ROOM + name, FULL | JOIN));
    this.counts.forget((scope) => !has(scope, COUNT));
    if (has(EVERYONE, FULL)) return;
    this.#knowsEveryone = false;
    this.roster.forget((key) => !has(USER + key, FULL) && !this.rooms.hasMember(key));
  }
}
