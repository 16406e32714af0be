/** A limit of time for work that can be aborted, and that the caller may abort as well. */
export interface Deadline {
  /** Aborts when the time is over, when the caller's signal aborts, and at the `end`. */
  readonly signal: AbortSignal;
  /** Stop the time. The caller's signal still aborts. */
  stop(): void;
  /** Release everything, and abort what still runs. */
  end(): void;
}

/** Start a deadline. `AbortSignal.timeout` would not do, because nothing stops it when a stream has begun. */
export function deadline(seconds: number, outer: AbortSignal | undefined): Deadline {
  const controller = new AbortController();
  const abort = () => controller.abort(outer?.reason);
  const over = () => controller.abort(new Error(`nothing received for ${seconds} s`));
  const timer = setTimeout(over, seconds * 1000);
  const stop = () => clearTimeout(timer);
  if (outer?.aborted) abort();
  outer?.addEventListener("abort", abort);
  return {
    signal: controller.signal,
    stop,
    end() {
      stop();
      outer?.removeEventListener("abort", abort);
      controller.abort();
    },
  };
}

/** Resolve after a time. Reject with the signal's reason if it aborts. */
export async function sleep(seconds: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  const limit = deadline(seconds, signal);
  await new Promise((resolve) => {
    limit.signal.onabort = resolve;
  });
  limit.end();
  signal?.throwIfAborted();
}
