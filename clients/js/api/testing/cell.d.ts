import type { Store } from "../store.js";
/** A store with a settable value. It counts its readers. */
export declare class Cell<T> implements Store<T> {
    private value;
    private readonly listeners;
    constructor(value: T);
    get readers(): number;
    get: () => T;
    subscribe: (listener: () => void) => (() => void);
    /** Replace the value without notifying, so that several cells can change together. */
    replace(value: T): void;
    notify(): void;
    set(value: T): void;
}
/** Return a store computed from others. Reading it also reads them. */
export declare function derived<T>(sources: readonly Store<unknown>[], compute: () => T): Store<T>;
/** Return the cell of this key, created when it is first asked for. */
export declare function found<T>(cells: Map<string, Cell<T>>, key: string, initial: () => T): Cell<T>;
