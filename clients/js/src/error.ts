/** Anything that the server or the client refuses. Distinguish errors by `code`. */
export class PresenceError extends Error {
  /** Name from codes.json, such as `ROOM_FULL`. */
  readonly code: string;
  /** Close code or number of the error; 0 if the client itself refused. */
  readonly numericCode: number;
  /** Advice: how to fix it. */
  readonly hint: string;
  /** Whether the same may succeed later, unchanged. */
  readonly retryable: boolean;
  readonly docsUrl: string;

  constructor(
    code: string,
    message: string,
    details: { numericCode?: number; hint?: string; retryable?: boolean } = {},
  ) {
    super(message);
    this.name = "PresenceError";
    this.code = code;
    this.numericCode = details.numericCode ?? 0;
    this.hint = details.hint ?? "";
    this.retryable = details.retryable ?? false;
    this.docsUrl = ""; // the address of the page of codes, from codes.ts
  }
}
