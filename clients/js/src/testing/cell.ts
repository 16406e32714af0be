import type { Store } from "../store.js";

/** A store with a settable value. It counts its readers. */
export class Cell<T> implements Store<T> {
  private value: T;
  private readonly listeners = new Set<{ call: () => void }>();

  constructor(value: T) {
    this.value = value;
  }

  get readers(): number {
    return this.listeners.size;
  }

  get = (): T => this.value;

  subscribe = (listener: () => void): (() => void) => {
    const entry = { call: listener }; // an object of its own: the same function may subscribe twice
    this.listeners.add(entry);
    return () => {
      this.listeners.delete(entry);
    };
  };

  /** Replace the value without notifying, so that several cells can change together. */
  replace(value: T): void {
    this.value = value;
  }

  notify(): void {
    for (const { call } of [...this.listeners]) call();
  }

  set(value: T): void {
    if (value === this.value) return;
    this.value = value;
    this.notify();
  }
}

/** Return a store computed from others. Reading it also reads them. */
export function derived<T>(sources: readonly Store<unknown>[], compute: () => T): Store<T> {
  let inputs: readonly unknown[] | null = null;
  let value: T;
  return {
    get() {
      const current = sources.map((source) => source.get());
      if (!inputs?.every((input, index) => input === current[index])) value = compute();
      inputs = current;
      return value;
    },
    subscribe(listener) {
      const ends = sources.map((source) => source.subscribe(listener));
      return () => {
        for (const end of ends) end();
      };
    },
  };
}

/** Return the cell of this key, created when it is first asked for. */
export function found<T>(cells: Map<string, Cell<T>>, key: string, initial: () => T): Cell<T> {
  const cell = cells.get(key) ?? new Cell(initial());
  cells.set(key, cell);
  return cell;
}
