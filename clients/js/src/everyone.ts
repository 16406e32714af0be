/** Everyone who is not offline, as a store. The map is built at most ten times a second: copying 10,000 takes 4 ms. */

import type { Host } from "./host.js";
import type { Presence } from "./presence.js";
import type { Roster } from "./roster.js";
import { Listeners, type Store } from "./store.js";

const PAUSE_MS = 100;

export class Everyone implements Store<ReadonlyMap<string, Presence>> {
  readonly #host: Host;
  readonly #roster: Roster;
  readonly #listeners = new Listeners();
  #map: ReadonlyMap<string, Presence> | null = null;
  #publishedAt = Number.NEGATIVE_INFINITY;
  #isPlanned = false;

  constructor(host: Host, roster: Roster) {
    this.#host = host;
    this.#roster = roster;
    roster.changed.add(() => this.#changed());
  }

  get = (): ReadonlyMap<string, Presence> => {
    this.#map ??= new Map(
      [...this.#roster.known].filter(({ online }) => online).map((user) => [String(user.userId), user]),
    );
    return this.#map;
  };

  subscribe = (listener: () => void): (() => void) => this.#listeners.add(listener);

  #changed(): void {
    if (this.#isPlanned) return;
    const wait = this.#publishedAt + PAUSE_MS - this.#host.now();
    this.#isPlanned = wait > 0;
    if (this.#isPlanned) this.#host.schedule(wait, () => this.#publish());
    else this.#publish();
  }

  #publish(): void {
    this.#isPlanned = false;
    this.#publishedAt = this.#host.now();
    this.#map = null;
    this.#listeners.notify();
  }
}
