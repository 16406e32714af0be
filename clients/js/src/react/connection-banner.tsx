"use client";

import { type HTMLAttributes, type ReactNode, useEffect, useState } from "react";
import type { Connection } from "../connection.js";
import { useConnection } from "./connection.js";
import type { Labels } from "./labels.js";
import { useLabels } from "./provider.js";

export interface ConnectionBannerProps extends HTMLAttributes<HTMLSpanElement> {
  /** Seconds without a connection until the banner says so; default 5. */
  after?: number;
  labels?: Partial<Labels>;
}

/**
 * Says that what is shown may be old. It has no text while all is well, after `close()`, and in the first seconds.
 *
 * The element itself is always there, because screen readers announce only what changes within a live region.
 */
export function ConnectionBanner({ after = 5, labels, children, ...props }: ConnectionBannerProps): ReactNode {
  const { className = "", ...rest } = props;
  const trouble = useConnection(troubleOf);
  const texts = useLabels(labels);
  const [late, setLate] = useState(false);
  const isStale = trouble === "stale" || trouble === "settling"; // from one to the other, the time goes on
  useEffect(() => {
    if (!isStale) return;
    const timer = setTimeout(setLate, after * 1000, true);
    return () => {
      clearTimeout(timer);
      setLate(false);
    };
  }, [isStale, after]);
  const shown = trouble && (late || !isStale) ? trouble : "";
  return (
    <span role="status" {...rest} className={`presenced-banner ${className}`} data-state={shown}>
      {shown && (children ?? texts[shown])}
    </span>
  );
}

function troubleOf({ state, stale, error }: Connection): "failed" | "signedOut" | "stale" | "settling" | "" {
  if (state === "failed") return state;
  if (state === "closed" && error?.code === "SIGNED_OUT") return "signedOut";
  if (!stale || state === "closed") return "";
  return state === "open" ? "settling" : "stale";
}
