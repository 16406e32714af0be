/** A value that changes, for rendering: read it with `get`, and `subscribe` to learn of changes. */
export interface Store<T> {
  /** Return the value: the same object until something changes. */
  get(): T;
  /** Call `listener` after each change, until the returned function is called. */
  subscribe(listener: () => void): () => void;
}

/** Functions to call. An error in one of them must not stop the others, nor the connection. */
export class Listeners<A extends unknown[] = []> {
  readonly #entries = new Set<{ call: (...args: A) => void }>();

  get size(): number {
    return this.#entries.size;
  }

  add(call: (...args: A) => void): () => void {
    const entry = { call }; // the same function may be added twice
    this.#entries.add(entry);
    return () => this.#entries.delete(entry);
  }

  notify(...args: A): void {
    for (const { call } of [...this.#entries]) guarded(() => call(...args));
  }
}

/** Call a function of the application. Its error is reported like any uncaught one, and the caller goes on. */
export function guarded(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** A store that holds its value. */
export class Value<T> implements Store<T> {
  #value: T;
  readonly #listeners = new Listeners();

  constructor(value: T) {
    this.#value = value;
  }

  get = (): T => this.#value;

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    this.#listeners.notify();
  }

  subscribe = (listener: () => void): (() => void) => this.#listeners.add(listener);
}

/** Listeners by key. A key without listeners takes no memory. */
export class KeyedListeners {
  readonly #keys = new Map<string, Listeners>();

  has(key: string): boolean {
    return this.#keys.has(key);
  }

  add(key: string, listener: () => void): () => void {
    const listeners = this.#keys.get(key) ?? new Listeners();
    this.#keys.set(key, listeners);
    const remove = listeners.add(listener);
    return () => {
      remove();
      if (!listeners.size && this.#keys.get(key) === listeners) this.#keys.delete(key);
    };
  }

  notify(key: string): void {
    this.#keys.get(key)?.notify();
  }
}

/** Return whether two JSON values are equal. */
export function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || !a || !b || Array.isArray(a) !== Array.isArray(b)) return false;
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const keys = Object.keys(left);
  return keys.length === Object.keys(right).length && keys.every((key) => key in right && same(left[key], right[key]));
}

/** Return a function that does nothing when it is called again. */
export function once(call: () => void): () => void {
  let called = false;
  return () => {
    if (called) return;
    called = true;
    call();
  };
}
