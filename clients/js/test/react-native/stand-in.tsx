/** Takes the place of React Native, which is not installed here. The tests in `native/` run with the real one. */

import type { ReactNode } from "react";
import type { AppStateStatus } from "react-native";

type Listener = (state: AppStateStatus) => void;

const listeners = new Set<Listener>();

export const AppState = {
  currentState: "active" as AppStateStatus,
  addEventListener(_: "change", listener: Listener) {
    listeners.add(listener);
    return { remove: () => listeners.delete(listener) };
  },
};

/** Change the state of the application, as its user does. */
export function change(...states: AppStateStatus[]): void {
  for (const state of states) {
    AppState.currentState = state;
    for (const listener of [...listeners]) listener(state);
  }
}

export function listening(): number {
  return listeners.size;
}

export function View(props: { style?: unknown; accessibilityRole?: string; accessibilityLabel?: string }): ReactNode {
  return <i role={props.accessibilityRole} title={props.accessibilityLabel} data-style={JSON.stringify(props.style)} />;
}
