/** One connection: a socket that reports its end exactly once. */

import type { Host } from "./host.js";
import { NO_CODE } from "./retry.js";

export interface Socket {
  send(text: string): void;
  /** Close, and report nothing afterwards. */
  close(code: number): void;
}

/** Open a socket. Errors of `openSocket` of the host pass through. */
export function openSocket(
  host: Host,
  url: string,
  protocols: string[],
  opened: () => void,
  received: (text: string) => void,
  ended: (code: number, reason: string) => void,
): Socket {
  const socket = host.openSocket(url, protocols);
  const detach = () => {
    // Not null: some hosts print an error that nobody handles.
    socket.onopen = socket.onmessage = socket.onclose = socket.onerror = () => {};
  };
  socket.onopen = opened;
  socket.onmessage = ({ data }: { data: unknown }) => received(String(data));
  socket.onerror = () => {}; // `onclose` follows
  socket.onclose = ({ code = NO_CODE, reason = "" }: { code?: number; reason?: string }) => {
    detach();
    ended(code, reason);
  };
  return {
    send(text) {
      if (socket.readyState === 1) socket.send(text);
    },
    close(code) {
      detach();
      socket.close(code);
    },
  };
}
