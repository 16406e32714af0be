/** The part of a WebSocket that the client uses. It keeps DOM types out of the public types. */
export interface SocketLike {
    readonly readyState: number;
    send(text: string): void;
    close(code?: number): void;
    onopen: unknown;
    onmessage: unknown;
    onclose: unknown;
    onerror: unknown;
}
/**
 * Event in the life of the page or application. `restored`: it runs again, and its sockets are dead. `leaving`: it may
 * be unloaded. `frozen`: it stops running, and may return.
 */
export type Signal = "visible" | "hidden" | "online" | "offline" | "restored" | "leaving" | "frozen";
/** The client's only access to its environment. Tests substitute another. */
export interface Host {
    openSocket(url: string, protocols: string[]): SocketLike;
    /** Return the time in epoch milliseconds. */
    now(): number;
    /** Return a number from 0 to below 1. */
    random(): number;
    /** Call `callback` once after `delayMs`. The returned function cancels it. */
    schedule(delayMs: number, callback: () => void): () => void;
    /** Return the text saved under this key by the page before a reload, or null. */
    load(key: string): string | null;
    /** Save a text; null deletes the key. */
    save(key: string, value: string | null): void;
    /** Call `listener` when the page or application appears, disappears, or changes its network. */
    onSignal(listener: (signal: Signal) => void): () => void;
    /** Call `listener` when the person touches the page, at most once a second. */
    onInput(listener: () => void): () => void;
    /** Whether the page is hidden now. */
    isHidden(): boolean;
}
