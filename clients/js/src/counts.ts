/** Numbers of online users, by scope: `everyone`, or a room. */

import { KeyedListeners, type Store } from "./store.js";

export class Counts {
  readonly #counts = new Map<string, number>();
  readonly #listeners = new KeyedListeners();

  get(scope: string): number | null {
    return this.#counts.get(scope) ?? null;
  }

  /** Return the store of a scope's number, which is null while it is unknown. */
  of(scope: string): Store<number | null> {
    return { get: () => this.get(scope), subscribe: (listener) => this.#listeners.add(scope, listener) };
  }

  set(scope: string, online: number): void {
    if (this.#counts.get(scope) === online) return;
    this.#counts.set(scope, online);
    this.#listeners.notify(scope);
  }

  forget(isForgotten: (scope: string) => boolean = () => true): void {
    for (const scope of [...this.#counts.keys()].filter(isForgotten)) {
      this.#counts.delete(scope);
      this.#listeners.notify(scope);
    }
  }
}
