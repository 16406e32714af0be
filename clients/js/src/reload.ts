/**
 * The session that survives a reload of the page.
 *
 * It is deleted from the storage as soon as it is read. A duplicated tab copies the storage, and must not take over the
 * session.
 */

import type { Host } from "./host.js";
import type { SavedSession } from "./session.js";

/** Return the session that the page saved before its reload, once. */
export function takeSaved(host: Host, key: string): SavedSession | undefined {
  const text = host.load(key);
  if (text === null) return undefined;
  host.save(key, null);
  try {
    const saved: SavedSession = JSON.parse(text);
    // The spread throws if one of them is not a list, so that nobody iterates over something else later.
    return saved.sessionId && [...saved.agreed, ...saved.data] ? saved : undefined;
  } catch {
    return undefined; // not written by this client
  }
}
