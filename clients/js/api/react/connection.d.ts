import type { Connection } from "../connection.js";
/** Return the state of the connection, or what `select` makes of it. */
export declare function useConnection<T = Connection>(select?: (connection: Connection) => T): T;
