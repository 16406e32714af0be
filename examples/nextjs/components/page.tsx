"use client";

import { useRouter } from "next/navigation";
import { useConnection } from "presenced/react";
import { type ReactNode, useEffect } from "react";

/** All that is on a page. While it may be old, dots fade. After a sign-out in another tab, the login is shown. */
export function Page({ children }: { children: ReactNode }) {
  const stale = useConnection((connection) => connection.stale);
  const isSignedOut = useConnection(({ error }) => error?.code === "SIGNED_OUT");
  const router = useRouter();
  useEffect(() => {
    if (isSignedOut) router.refresh();
  }, [isSignedOut, router]);
  return <div data-stale={stale}>{children}</div>;
}
