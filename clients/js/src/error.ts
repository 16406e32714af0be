/** Anything that the server or the client refuses. Distinguish errors by `code`. */
export class PresenceError extends Error {
  /** Name from codes.json, such as `ROOM_FULL`. */
  declare readonly code: string;
  /** Close code or number of the error; 0 if the client itself refused. */
  declare readonly numericCode: number;
  /** Advice: how to fix it. */
  declare readonly hint: string;
  /** Whether the same may succeed later, unchanged. */
  declare readonly retryable: boolean;
  declare readonly docsUrl: string;

  constructor(
    code: string,
    message: string,
    details: { numericCode?: number; hint?: string; retryable?: boolean } = {},
  ) {
    super(message);
    const defaults = { name: "PresenceError", numericCode: 0, hint: "", retryable: false, docsUrl: "" };
    Object.assign(this, defaults, details, { code });
  }
}
