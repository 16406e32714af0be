/** The client's log, and its last lines for bug reports. */
/** One line of the client's log. It never contains tokens. */
export interface LogEntry {
    /** Epoch milliseconds. */
    readonly at: number;
    readonly kind: "received" | "sent" | "state";
    readonly text: string;
}
/** State of the client, for bug reports. */
export type Report = Readonly<Record<string, unknown>>;
export declare function createTrace(now: () => number, log: ((entry: LogEntry) => void) | undefined): {
    entries: LogEntry[];
    add(kind: LogEntry["kind"], text: string): void;
};
