import type { AppStateStatus } from "react-native";
import type { Host, Signal } from "../host.js";

/** `AppState` of React Native. */
export interface AppStateLike {
  addEventListener(type: "change", listener: (state: AppStateStatus) => void): { remove(): void };
}

/** The default export of `@react-native-community/netinfo`. */
export interface NetInfoLike {
  addEventListener(listener: (state: { isConnected: boolean | null }) => void): () => void;
}

/**
 * Return the signals of an application, for `host.onSignal`.
 *
 * `inactive` gives none: iOS reports it for the app switcher and for an incoming call, while the person is still there.
 */
export function appSignals(appState: AppStateLike, netInfo?: NetInfoLike): Host["onSignal"] {
  return (listener) => {
    let connected = true;
    const subscription = appState.addEventListener("change", (state) => {
      const signal: Partial<Record<AppStateStatus, Signal>> = { active: "visible", background: "hidden" };
      if (signal[state]) listener(signal[state]);
    });
    const end = netInfo?.addEventListener(({ isConnected }) => {
      if (isConnected === null || isConnected === connected) return; // null: not known yet
      connected = isConnected;
      listener(connected ? "online" : "offline");
    });
    return () => {
      subscription.remove();
      end?.();
    };
  };
}
