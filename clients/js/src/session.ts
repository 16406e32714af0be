/**
 * One session of presenced.v1, from the first connection until the client starts another session.
 *
 *     new session       the server knows nothing of this client: everything wanted is requested
 *     resumed           the server sends what was missed
 *     resynced          the same session, but the server sends everything again
 *
 * In all three cases the shown state stays, and changes only where the server says something else. The session has
 * *caught up* when everything requested is answered and known.
 */

import { createModuleRequests } from "./calls.js";
import type { DesiredState } from "./desired-state.js";
import type { PresenceError } from "./error.js";
import type { Host } from "./host.js";
import { createOutbox, type Message } from "./outbox.js";
import { createOwnStatus } from "./own-status.js";
import { createReplica } from "./replica.js";
import { createRequests } from "./requests.js";
import { bitsOf, COUNT, EVERYONE, FULL, JOIN, nameOf, ROOM, setBits, USER } from "./scope.js";
import { type Self, toSelf } from "./self.js";
import { createListeners, createValue } from "./store.js";
import { createSubscriptions } from "./subscriptions.js";
import type { ConnectionEstablished, SelfMessage, ServerMessage } from "./wire.js";

export type Outcome = "resumed" | "resynced" | "new-session";

/** State that survives a reload of the page. */
export interface SavedSession {
  readonly sessionId: string;
  readonly agreed: readonly (readonly [scope: string, bits: number])[];
  readonly data: readonly (readonly [scope: string, data: unknown])[];
  /** The next URL names the choice again, for a server that has restarted meanwhile. */
  readonly self: SelfMessage | undefined;
}

export type Session = ReturnType<typeof createSession>;

export function createSession(host: Host, desired: DesiredState) {
  const self = createValue<Self | null>(null);
  const caughtUp = createValue(false);
  const settling = createValue(false);
  const reconnected = createListeners<[{ outcome: Outcome }]>();
  const rejected = createListeners<[PresenceError]>();
  const reject = (error: PresenceError) => {
    if (rejected.size()) rejected.notify(error);
    else console.warn(`presenced: ${error.message} (${error.code})`); // otherwise nobody would notice
  };

  const requests = createRequests(desired);
  const replica = createReplica(desired, requests, () => outbox.plan());
  const { rooms } = replica;
  const subscriptions = createSubscriptions(desired, requests, replica, () => requestAll(), reject);
  const ownStatus = createOwnStatus(host);
  const moduleRequests = createModuleRequests();
  const outbox = createOutbox(host, [subscriptions, ownStatus, moduleRequests], reject, () => checkCaughtUp());

  let established: ConnectionEstablished | undefined;
  let sessionId = "";
  /** Place in the journal up to which this client has everything; "" if the server must send everything again. */
  let position = "";
  /** How this connection began. Undefined for the first one, and once `reconnected` has been called. */
  let outcome: Outcome | undefined;
  /** Whether the first PRESENCE_CHANGES of this connection has arrived. It ends what the server sends on its own. */
  let hasChanges = false;
  /** What the resynced session has agreed to, until the server has sent everything again. */
  let resynced: Map<string, number> | undefined;
  /** What the server has sent of the resynced session. */
  const resent = new Map<string, number>();
  /** What this page was about to end or to request again when the connection opened. */
  let unsure = new Map<string, number>();
  let cancelSettling: (() => void) | undefined;

  const requestAll = (): void => {
    position = "";
  };

  const checkCaughtUp = (): void => {
    if (caughtUp.get() || !hasChanges || !outbox.isDone()) return;
    if (![...requests.agreed].every(([scope, bits]) => replica.isKnown(scope, bits))) return;
    replica.forgetNotAgreed();
    if (!settling.get()) replica.settled();
    caughtUp.set(true);
    if (outcome) reconnected.notify({ outcome });
    outcome = undefined;
  };

  /** Wait for the server to settle; 0 ends the wait. */
  const waitToSettle = (seconds: number): void => {
    cancelSettling?.();
    settling.set(seconds > 0);
    if (seconds) cancelSettling = host.schedule(seconds * 1_000, settled);
  };

  const settled = (): void => {
    if (caughtUp.get()) replica.settled(); // otherwise it follows when the session has caught up
    waitToSettle(0);
  };

  /** Note what the server sends of a resynced session. */
  const noteResent = (message: ServerMessage): void => {
    const note = (scope: string, bits: number) => setBits(resent, scope, bitsOf(resent, scope) | bits);
    if (message.type === "ROOM_SNAPSHOT") {
      // A session that is no member cannot LEAVE. Members of a large room are not listed.
      const isMember = message.members.some(({ userId }) => userId === established?.userId);
      note(ROOM + message.room, isMember || message.mode === "counts" ? JOIN | FULL : FULL);
    } else if (message.type === "PRESENCE_COUNT") {
      note(message.room === undefined ? message.watch : ROOM + message.room, COUNT);
    } else if (message.type === "PRESENCE_SNAPSHOT") {
      if (message.watch === EVERYONE) note(EVERYONE, FULL);
      else for (const { userId } of message.users) note(USER + userId, FULL);
    }
  };

  /**
   * Compare what a resynced session has agreed to with what the server has sent.
   *
   * Request what is missing again: the server did not receive the request, or ended the room and the message was lost.
   * End what nobody wants: an UNWATCH or LEAVE before a reload got no answer, or another page continued the session
   * while this one was in the back/forward cache.
   */
  const compareResent = (): void => {
    if (!resynced) return;
    for (const [scope, bits] of resynced) if (!replica.isKnown(scope, bits)) requests.forget(scope);
    for (const [scope, bits] of resent) {
      const extra = bits & ~(bitsOf(resynced, scope) | bitsOf(unsure, scope) | replica.coveredBits(scope));
      setBits(requests.unsure, scope, bitsOf(requests.unsure, scope) | extra);
    }
    resynced = undefined;
    resent.clear();
    outbox.plan();
  };

  /** Let the next connection begin a new session. The known state stays. */
  const end = (): void => {
    sessionId = position = "";
    requests.clear();
  };

  /** Forget all users, rooms and counts. If the session can still be resumed, the server must send all of them again. */
  const forget = (): void => {
    replica.forgetAll();
    requestAll();
  };

  return {
    replica,
    self,
    /** Whether everything wanted is known, since the connection opened. */
    caughtUp,
    /** Whether a server that has just started does not know yet which of the known users return. */
    settling,
    reconnected,
    rejected,
    requests,
    subscriptions,
    ownStatus,
    moduleRequests,
    outbox,
    end,
    forget,
    established: () => established,
    sessionId: () => sessionId,
    position: () => position,

    /** A connection opened. */
    opened(message: ConnectionEstablished, send: (message: Message) => void) {
      const isSame = message.sessionId === sessionId;
      outcome = !sessionId ? undefined : message.resumed ? "resumed" : isSame ? "resynced" : "new-session";
      if (established && established.epoch !== message.epoch) ownStatus.restarted();
      established = message;
      sessionId = message.sessionId;
      hasChanges = false;
      resynced = isSame && !message.resumed ? new Map(requests.agreed) : undefined;
      resent.clear();
      unsure = new Map(requests.unsure);
      if (!isSame) {
        requests.clear();
        // A member who left meanwhile sends no LEAVE.
        for (const name of rooms.joined())
          if (!(bitsOf(desired.scopes, ROOM + name) & JOIN)) rooms.setJoined(name, false);
      }
      if (!message.resumed) {
        requests.refused.clear(); // the token may allow more
        requestAll();
        replica.expectAll(message.settling > 0);
        waitToSettle(replica.roster.known.size + rooms.known.size ? message.settling : 0);
      }
      outbox.open(send, message.limits);
    },

    /** The connection ended. The session may be resumed. */
    lost() {
      outbox.close();
      caughtUp.set(false);
    },

    /** Forget everything, because the user signed out. */
    reset() {
      waitToSettle(0);
      end();
      for (const name of rooms.joined()) rooms.setJoined(name, false);
      forget();
      ownStatus.reset();
      self.set(null);
    },

    save: (): SavedSession => ({
      sessionId,
      agreed: [...requests.agreed],
      data: [...requests.sentData],
      self: ownStatus.shown(),
    }),

    /** Go on with the session of the page before its reload. Without a position, the server sends everything again. */
    restore(saved: SavedSession) {
      sessionId = saved.sessionId;
      ownStatus.restore(saved.self);
      for (const [scope, bits] of saved.agreed) {
        requests.agreed.set(scope, bits);
        if (bits & JOIN) rooms.setJoined(nameOf(scope), true);
      }
      for (const [scope, data] of saved.data)
        for (const map of [requests.sentData, requests.acceptedData]) map.set(scope, data ?? undefined); // JSON has null
    },

    received(message: ServerMessage) {
      if (message.type === "PRESENCE_CHANGES") {
        position = message.position;
        hasChanges = true;
        compareResent();
      } else if (message.type === "SELF") {
        ownStatus.selfChanged(message);
        self.set(toSelf(established?.userId ?? "", message));
      } else if (resynced) noteResent(message);
      replica.received(message);
      checkCaughtUp();
      if (settling.get() && caughtUp.get() && replica.isConfirmed()) settled();
    },
  };
}
