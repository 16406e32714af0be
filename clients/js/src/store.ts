/** A value that changes, for rendering: read it with `get`, and `subscribe` to learn of changes. */
export interface Store<T> {
  /** Return the value: the same object until something changes. */
  get(): T;
  /** Call `listener` after each change, until the returned function is called. */
  subscribe(listener: () => void): () => void;
}

export interface Listeners<A extends unknown[]> {
  add(call: (...args: A) => void): () => void;
  notify(...args: A): void;
  size(): number;
}

/** Functions to call. An error in one of them must not stop the others, nor the connection. */
export function createListeners<A extends unknown[] = []>(): Listeners<A> {
  const entries = new Set<[(...args: A) => void]>();
  return {
    add(call) {
      const entry: [(...args: A) => void] = [call]; // the same function may be added twice
      entries.add(entry);
      return () => entries.delete(entry);
    },
    notify(...args) {
      for (const [call] of [...entries]) guarded(() => call(...args));
    },
    size: () => entries.size,
  };
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

export interface Value<T> extends Store<T> {
  set(value: T): void;
}

/** A store that holds its value. */
export function createValue<T>(value: T): Value<T> {
  const { add, notify } = createListeners();
  return {
    get: () => value,
    subscribe: add,
    set(next) {
      if (next === value) return;
      value = next;
      notify();
    },
  };
}

/** Return whether two JSON values are equal. */
export function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || !a || !b || Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => key in b && same(a[key as keyof typeof a], b[key as keyof typeof b]))
  );
}

/** Return a function that does nothing when it is called again. */
export function once(call: () => void): () => void {
  let next: (() => void) | undefined = call;
  return () => {
    next?.();
    next = undefined;
  };
}
