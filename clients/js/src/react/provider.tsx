"use client";

import { type Context, createContext, type ReactNode, useContext, useEffect, useMemo, useState } from "react";
import type { PresenceClient, PresenceOptions } from "../client.js";
import { createPresence } from "../index.js";
import { ENGLISH, type Labels } from "./labels.js";

export type PresenceProviderProps = {
  children?: ReactNode;
  /** Texts of all components below, such as those of another language. */
  labels?: Partial<Labels>;
} & ({ client: PresenceClient } | (PresenceOptions & { client?: never }));

/** Values that the hooks and components below a provider share. */
interface Shared {
  readonly client: PresenceClient;
  /** Return a client that knows only what the server rendered. Hydration reads it, and it never connects. */
  readonly rendered: () => PresenceClient;
  /** When the server read what it rendered, in epoch milliseconds; 0 if it rendered nothing. */
  readonly renderedAt: number;
  readonly labels: Labels;
}

// The ES and the CommonJS module of this file may both be loaded, and must share one context. A context of React 18
// is of no use to React 19, and a server may load both, so each copy of React has its own.
const KEY = Symbol.for("presenced.react");
const scope = globalThis as { [KEY]?: WeakMap<object, Context<Shared | null>> };
scope[KEY] ??= new WeakMap();
const context = scope[KEY].get(createContext) ?? createContext<Shared | null>(null);
scope[KEY].set(createContext, context);

/**
 * Share one client with everything below, and keep it connected while mounted.
 *
 * Options are read once. Another `client` or another `userId` starts a new client; for anything else, change the `key`.
 */
export function PresenceProvider({ children, labels, ...options }: PresenceProviderProps): ReactNode {
  const identity = options.client ?? String((options as PresenceOptions).userId);
  const [current, setCurrent] = useState(() => ({ identity, ...open(options) }));
  let shown = current;
  if (shown.identity !== identity) {
    shown = { identity, ...open(options) };
    setCurrent(shown);
  }
  const { client } = shown;
  // In an effect, because React may render without ever mounting. A release takes effect a second later, so that
  // the second mount of StrictMode keeps the connection of the first.
  useEffect(() => client.connect(), [client]);
  const texts = JSON.stringify(labels ?? {}); // compared by value: an inline object must not render everything again
  const shared = useMemo(() => ({ ...shown, labels: { ...ENGLISH, ...JSON.parse(texts) } }), [shown, texts]);
  return <context.Provider value={shared}>{children}</context.Provider>;
}

function open(options: Pick<PresenceProviderProps, "client"> & PresenceOptions): Omit<Shared, "labels"> {
  const { client, initial } = options;
  if (client) return { client, rendered: () => client, renderedAt: 0 };
  let rendered: PresenceClient | undefined;
  return {
    client: createPresence(options),
    rendered: () => {
      rendered ??= createPresence(initial ? { initial } : {});
      return rendered;
    },
    renderedAt: initial?.at ?? 0,
  };
}

export function useShared(): Shared {
  const shared = useContext(context);
  if (!shared) throw new Error("missing <PresenceProvider>");
  return shared;
}

/** Return the texts of the provider, overridden by those of a component. */
export function useLabels(own?: Partial<Labels>): Labels {
  return { ...useShared().labels, ...own };
}

/** Return the client, for everything that has no hook. */
export function usePresenceClient(): PresenceClient {
  return useShared().client;
}
