import { render } from "@testing-library/react";
import { type ReactNode, StrictMode } from "react";
import { vi } from "vitest";
import { PresenceProvider } from "../../src/react/index.js";
import { type FakePresence, fakePresence } from "../../src/testing/index.js";

/** Render below a provider of this client. */
export function renderWith(client: FakePresence, children: ReactNode, options: { strict?: boolean } = {}) {
  const wrap = (inner: ReactNode) => {
    const tree = <PresenceProvider client={client}>{inner}</PresenceProvider>;
    return options.strict ? <StrictMode>{tree}</StrictMode> : tree;
  };
  const result = render(wrap(children));
  return { ...result, rerender: (next: ReactNode) => result.rerender(wrap(next)) };
}

/** Return a component that calls a hook, and a record of what the hook returned in each render. */
export function probe<T>(useHook: () => T): { Probe: () => null; results: T[] } {
  const results: T[] = [];
  const record = vi.fn((value: T) => {
    results.push(value);
  });
  function Probe() {
    "use no memo"; // the compiler would leave out a call whose result is not used
    record(useHook());
    return null;
  }
  return { Probe, results };
}

export { fakePresence };
