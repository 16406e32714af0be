/** Every field of a status reaches every place of the client. A function that forgets a field fails here. */

import { describe, expect, test } from "vitest";

import type { Choice, Presence, Self } from "../src/index.js";
import { toPresence } from "../src/presence.js";
import { choiceInUrl, isInForce, isSameChoice, toSelf } from "../src/self.js";
import { presenceOf, selfOf } from "../src/testing/values.js";
import type { OverruledChoice, SelfMessage, SetStatus, UserRecord } from "../src/wire.js";

/** Fields of a type of the protocol that the client's type lacks. */
type Lacking<Wire, Own> = Exclude<keyof Wire, keyof Own>;

/** If a field is lacking, this does not compile, and the error names the field. */
const lacking: Record<
  | Lacking<Omit<UserRecord, "certainty">, Presence>
  | Lacking<Omit<SelfMessage, "type">, Self>
  | Lacking<OverruledChoice, Self["choice"]>
  | Lacking<Omit<SetStatus, "type" | "id">, Choice>,
  never
> = {};

// Each of these has every field, or it does not compile.
const details = { text: "in a meeting", emoji: "📅", data: { room: 12 }, until: 5_000 } satisfies Required<
  Omit<OverruledChoice, "data"> & Pick<SelfMessage, "data">
>;
const user = {
  userId: "ada",
  status: "busy",
  since: 1,
  version: 2,
  lastSeen: 3,
  devices: ["web"],
  display: { name: "Ada" },
  cause: "choice",
  ...details,
} satisfies Required<Omit<UserRecord, "certainty">>;
const choice = {
  status: "busy",
  text: details.text,
  emoji: details.emoji,
  data: details.data,
  expiresIn: 5,
} satisfies Required<Choice>;
const self: SelfMessage = { type: "SELF", status: "busy", chosen: "busy", ...details };

const names = Object.keys(details) as (keyof typeof details)[];
const inUrl = names.filter((name) => name !== "data");
const pick = (from: object, fields: readonly string[]) =>
  Object.fromEntries(fields.map((name) => [name, (from as Record<string, unknown>)[name]]));

test("the types of the client have every field of the protocol", () => {
  expect(lacking).toEqual({});
});

test("the presence of a user has every field", () => {
  expect(toPresence(user)).toMatchObject(user);
  expect(presenceOf("ada", { status: "busy", ...details }, 1)).toMatchObject(details);
});

test("the own state has every field, and those of the own choice", () => {
  expect(toSelf("ada", self)).toMatchObject({ ...details, choice: pick(details, inUrl) });
  const claimed = toSelf("ada", { ...self, text: "call", claimed: true, choice: pick(details, inUrl) });
  expect(claimed.choice).toEqual(pick(details, inUrl));
  expect(selfOf("ada", choice, 0)).toMatchObject({ ...details, choice: pick(details, inUrl) });
});

test("the next URL has every field of the own choice except data", () => {
  const expected = { status: "busy", ...pick(details, inUrl) };
  expect(choiceInUrl(self, 0)).toEqual(expected);
  expect(choiceInUrl({ ...self, text: "call", claimed: true, choice: pick(details, inUrl) }, 0)).toEqual(expected);
});

describe.each(names)("if %s differs", (name) => {
  const other = { ...self, [name]: name === "until" ? 0 : "another" };

  test("the choice is not in force", () => {
    expect(isInForce(choice, self)).toBe(true);
    expect(isInForce(choice, other)).toBe(false);
  });

  test("two messages show different choices", () => {
    expect(isSameChoice(self, { ...self })).toBe(true);
    expect(isSameChoice(self, other)).toBe(false);
  });

  test("a choice with this field alone is in the URL", () => {
    const alone: SelfMessage = { type: "SELF", status: "online", chosen: "auto", [name]: details[name] };
    const isChosen = name !== "until" && name !== "data";
    expect(choiceInUrl(alone, 0)).toEqual(isChosen ? expect.objectContaining({ [name]: details[name] }) : {});
  });
});
