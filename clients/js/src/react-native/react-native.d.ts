/**
 * The part of React Native that this package uses.
 *
 * React Native is an optional peer of some 700 packages, so it is not installed here. The tests in `native/` check
 * these declarations against the real ones. The emitted declarations refer to the application's own React Native.
 */
declare module "react-native" {
  import type { ReactNode } from "react";

  export type AppStateStatus = "active" | "background" | "inactive" | "unknown" | "extension";

  export const AppState: {
    readonly currentState: AppStateStatus;
    addEventListener(type: "change", listener: (state: AppStateStatus) => void): { remove(): void };
  };

  export interface ViewProps {
    style?: unknown;
    testID?: string;
    accessibilityLabel?: string;
  }

  export function View(
    props: ViewProps & { accessible?: boolean; accessibilityRole?: "image"; children?: ReactNode },
  ): ReactNode;
}
