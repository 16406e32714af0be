"use client";

import { useConnection } from "presenced/react";
import type { ReactNode } from "react";

/** The contents of a page. While they may be old, dots fade. */
export function Page({ children }: { children: ReactNode }) {
  const stale = useConnection((connection) => connection.stale);
  return <main data-stale={stale}>{children}</main>;
}
