import type { Host } from "../host.js";
import type { Message } from "../outbox.js";
import type { Agreement, TabMessage } from "./channel.js";

/** Functions that `tab.ts` offers to its two roles, leader and follower. */
export interface Tab {
  readonly host: Host;
  readonly name: string;
  id: string;
  /** Where the client wants to connect. */
  url: string;
  protocols: string[];
  /** The session that the client may go on with; empty if it must begin a new session. */
  given: string;
  /** The last position and the last SELF that this tab received. */
  position: string;
  self: string;
  isActive: boolean;
  post(message: TabMessage): void;
  agreement(): Agreement;
  /** Whether the client waits for its socket to open. */
  isOpening(): boolean;
  /** Whether the client waits before its next attempt. */
  isWaiting(): boolean;
  /** Whether the last attempt of the client ended because its token function failed. */
  hasNoToken(): boolean;
  open(): void;
  /** The first message. */
  begin(text: string): void;
  deliver(message: Message, text: string): void;
  end(code: number, reason: string): void;
  /** Let the client connect again at once. */
  restart(): void;
  /** Connect without the other tabs. */
  connectAlone(): void;
}
