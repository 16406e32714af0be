/**
 * The session over a reload of the page.
 *
 * It is deleted as soon as it is read: a duplicated tab copies the storage, and must not take over the session.
 */

import type { Host } from "./host.js";
import type { SavedSession } from "./session.js";

export class Reload {
  readonly #host: Host;
  readonly #key: string;

  constructor(host: Host, address: string, userId: string) {
    this.#host = host;
    this.#key = `presenced ${address} ${userId}`;
  }

  save(session: SavedSession): void {
    if (session.sessionId) this.#host.save(this.#key, JSON.stringify(session));
  }

  take(): SavedSession | null {
    const text = this.#host.load(this.#key);
    if (text === null) return null;
    this.forget();
    try {
      const saved = JSON.parse(text) as SavedSession;
      return typeof saved.sessionId === "string" && Array.isArray(saved.agreed) && Array.isArray(saved.data)
        ? saved
        : null;
    } catch {
      return null; // not written by this client
    }
  }

  forget(): void {
    this.#host.save(this.#key, null);
  }
}
