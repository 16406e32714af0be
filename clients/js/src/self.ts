import type { Registered } from "./index.js";
import { type Presence, type RecordOf, type Status, toPresence, type UserId } from "./presence.js";
import { same } from "./store.js";
import type { SelfMessage } from "./wire.js";

/** The user's own true state, on all of the user's devices. */
export interface Self extends Omit<Presence, "status" | "version"> {
  readonly status: Status | "invisible";
  /** Status that the user chose; `auto` if the status is detected. */
  readonly chosen: Choice["status"];
  /** Whether a backend's claim, such as that of a calendar, determines the status instead of the user. */
  readonly claimed: boolean;
  /** Details of the user's own choice, even while a claim overrides it. */
  readonly choice: { readonly text: string; readonly emoji: string; readonly until: number };
}

/** A status to choose. Omitted fields are empty: a choice replaces the one before as a whole. */
export interface Choice {
  status: "auto" | "online" | "away" | "busy" | "invisible";
  /** At most 140 characters. */
  text?: string;
  emoji?: string;
  /** Any JSON of at most 2 KB. */
  data?: Registered<"data">;
  /** Seconds until the previous permanent choice returns. */
  expiresIn?: number;
}

const ownChoice = (self: SelfMessage) => (self.claimed ? (self.choice ?? {}) : self);

/** Return whether two messages show the same choice. */
export function isSameChoice(a: SelfMessage, b: SelfMessage): boolean {
  const fields = ({ chosen, text, emoji, data, until, choice }: SelfMessage) => [
    chosen,
    text,
    emoji,
    data,
    until,
    choice,
  ];
  return same(fields(a), fields(b));
}

/** Return parameters of the next URL, which restore the choice on a server that knows nothing about the user. */
export function choiceInUrl(self: SelfMessage | undefined, now: number): Record<string, string | number> {
  if (!self) return {};
  const { text = "", emoji = "", until = 0 } = ownChoice(self);
  const isChosen = self.chosen !== "auto" || text || emoji;
  if (!isChosen || (until && until <= now)) return {};
  return { status: self.chosen, text, emoji, until };
}

/** Return the user's own state that a message describes. */
export function toSelf(userId: UserId, message: SelfMessage): Self {
  const { status, version: _, ...presence } = toPresence({ ...message, userId, status: "online" } as RecordOf);
  const { text = "", emoji = "", until = 0 } = ownChoice(message);
  return {
    ...presence,
    status: message.status,
    online: message.status !== "offline",
    chosen: message.chosen,
    claimed: Boolean(message.claimed),
    choice: { text, emoji, until },
  };
}

/** Return whether a choice is in force, so that it need not be sent again. */
export function isInForce(choice: Choice, self: SelfMessage): boolean {
  const now = [self.chosen, self.text ?? "", self.emoji ?? "", self.data, !self.until];
  return (
    !self.claimed && same(now, [choice.status, choice.text ?? "", choice.emoji ?? "", choice.data, !choice.expiresIn])
  );
}
