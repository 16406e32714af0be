import { PresenceError } from "../error.js";
import type { ProblemDocument } from "./api.js";

/** Return the error that a problem document (RFC 9457) describes. `numericCode` is the HTTP status. */
export function problemError(problem: ProblemDocument, response: Response): PresenceError {
  const { code, title, status, detail, retry } = problem;
  if (!code) return foreign(response);
  return new PresenceError(code, `${title} ${detail}`, { numericCode: status, hint: detail, retryable: retry });
}

/** Return the error of a response without the expected JSON. It comes from something else, such as a proxy. */
export function foreign({ url, status }: Response): PresenceError {
  return new PresenceError("BAD_RESPONSE", `${url} is not presenced: status ${status}`, {
    numericCode: status,
    hint: "Is the url right, and do proxies forward /api?",
    retryable: status > 501, // gateways respond with 502 to 504 while the server restarts
  });
}

/** Return the error of a request without a response. */
export function unreachable(url: string, cause: unknown): PresenceError {
  const { message, cause: inner } = cause as { message?: string; cause?: { code?: string } };
  const reason = inner?.code ?? message; // Node hides ECONNREFUSED in the cause of "fetch failed"
  const hint = "Is the url right, and does the server run?";
  const error = new PresenceError("UNREACHABLE", `${url}: ${reason}`, { hint, retryable: true });
  return Object.assign(error, { cause });
}

/** Return the error of an argument that must not be sent. */
export function badParameter(message: string): PresenceError {
  return new PresenceError("BAD_PARAMETER", message);
}
