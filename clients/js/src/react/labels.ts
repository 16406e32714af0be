import type { Presence } from "../presence.js";

/** Texts of the components. They are plain strings, so that server components can pass them. */
export interface Labels {
  /** Language of times, as in `Intl`: "en", "de-AT". */
  language: string;
  /** Time of a user who left within the last minute. Empty: "just now", or the word of `Intl` in other languages. */
  now: string;
  online: string;
  away: string;
  busy: string;
  offline: string;
  unknown: string;
  /** Name of a facepile; `{count}` stands for the number of people. */
  count: string;
  /** People that a facepile leaves out. */
  more: string;
  /** Text of the banner while there is no connection. */
  stale: string;
  /** Text of the banner while the connection is open, but the state may be old: `connection.stale` says when. */
  settling: string;
  /** Text of the banner when the client has given up. */
  failed: string;
  /** Text of the banner when the token function has returned null. */
  signedOut: string;
}

export const ENGLISH: Labels = {
  language: "en",
  now: "",
  online: "Online",
  away: "Away",
  busy: "Busy",
  offline: "Offline",
  unknown: "Unknown",
  count: "{count} online",
  more: "+{count}",
  stale: "No connection. This may be out of date.",
  settling: "This may be out of date.",
  failed: "Could not connect. This may be out of date.",
  signedOut: "You are signed out.",
};

const UNITS = [
  ["year", 525_600],
  ["month", 43_200],
  ["day", 1_440],
  ["hour", 60],
  ["minute", 1],
] as const;

const formats: Record<string, Intl.RelativeTimeFormat> = {}; // creating one takes longer than using it

/** Return a number of full minutes as words, such as "5 minutes ago". */
export function ago(minutes: number, { language, now }: Labels): string {
  formats[language] ??= new Intl.RelativeTimeFormat(language, { numeric: "auto" });
  for (const [unit, length] of UNITS) {
    if (minutes >= length) return formats[language].format(-Math.floor(minutes / length), unit);
  }
  // "now" beside the dot of a user who is offline would contradict it.
  return now || formats[language].format(0, "second").replace(/^now$/, "just now");
}

export function counted(label: string, count: number): string {
  return label.replace("{count}", String(count));
}

/** Return the name in a user's display data, or else the id. */
export function nameOf({ display, userId }: Presence): string {
  const name = (display as { name?: unknown } | undefined)?.name;
  return typeof name === "string" && name ? name : String(userId);
}
