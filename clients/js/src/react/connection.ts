"use client";

import type { PresenceClient } from "../client.js";
import type { Connection } from "../connection.js";
import { useStore } from "./store.js";

/** Return the state of the connection, or what `select` makes of it. */
export function useConnection<T = Connection>(select?: (connection: Connection) => T): T {
  return useStore(connection, select);
}

const connection = (client: PresenceClient) => client.connection;
