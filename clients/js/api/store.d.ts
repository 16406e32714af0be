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
export declare function createListeners<A extends unknown[] = []>(): Listeners<A>;
/** Call a function of the application. Its error is reported like any uncaught one, and the caller goes on. */
export declare function guarded(call: () => void): void;
export interface Value<T> extends Store<T> {
    set(value: T): void;
}
/** A store that holds its value. */
export declare function createValue<T>(value: T): Value<T>;
/** Return whether two JSON values are equal. */
export declare function same(a: unknown, b: unknown): boolean;
/** Return a function that does nothing when it is called again. */
export declare function once(call: () => void): () => void;
