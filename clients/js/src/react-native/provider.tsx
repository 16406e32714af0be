"use client";

import { type ReactNode, useEffect } from "react";
import { AppState } from "react-native";
import {
  PresenceProvider as BaseProvider,
  type PresenceProviderProps as BaseProviderProps,
  usePresenceClient,
} from "../react/provider.js";
import { appSignals, type NetInfoLike } from "./signals.js";

export type PresenceProviderProps = BaseProviderProps & {
  /** In the background, the user is idle at once. With "close", the user is offline at once. */
  background?: "idle" | "close";
  /** `@react-native-community/netinfo`, if you use it: reconnects as soon as there is a network. */
  netInfo?: NetInfoLike;
};

// A phone reports no touches to this package, so while the application is active, so is its person. This is 23 days,
// the longest time that a timer takes.
const NEVER_S = 2_000_000;

/** Share one client with everything below. It follows the state of the application. */
export function PresenceProvider({ background, netInfo, children, ...props }: PresenceProviderProps): ReactNode {
  return (
    <BaseProvider {...(props.client ? props : { ...props, ...native(props, netInfo) })}>
      {background === "close" && <CloseInBackground />}
      {children}
    </BaseProvider>
  );
}

function native(props: Extract<BaseProviderProps, { url?: string }>, netInfo: NetInfoLike | undefined) {
  const { activity, host } = props;
  return {
    activity: activity === false ? (false as const) : { idleAfter: NEVER_S, hiddenAfter: 0, ...activity },
    host: {
      onSignal: appSignals(AppState, netInfo),
      onInput: () => () => {}, // `window` of React Native has no events
      isHidden: () => AppState.currentState === "background",
      ...host,
    },
  };
}

function CloseInBackground(): ReactNode {
  const client = usePresenceClient();
  useEffect(() => {
    let closed = false; // only what this closed is opened again, not what `close()` of the application did
    const subscription = AppState.addEventListener("change", (state) => {
      if (state === "background" && client.connection.get().state !== "closed") {
        closed = true;
        client.close();
      }
      if (state === "active" && closed) {
        closed = false;
        client.retry();
      }
    });
    return () => subscription.remove();
  }, [client]);
  return null;
}
