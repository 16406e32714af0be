"use client";

import { useRouter } from "next/navigation";
import { useConnection } from "presenced/react";
import { type ReactNode, useEffect } from "react";

/** The contents of a page. While they may be old, dots fade. After a sign-out in another tab, the login is shown. */
export function Page({ children }: { children: ReactNode }) {
  const stale = useConnection((connection) => connection.stale);
  const isSignedOut = useConnection(({ error }) => error?.code === "SIGNED_OUT");
  const router = useRouter();
  useEffect(() => {
    if (isSignedOut) router.refresh();
  }, [isSignedOut, router]);
  return <main data-stale={stale}>{children}</main>;
}
