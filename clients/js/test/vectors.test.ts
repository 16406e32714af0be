/** Every client of every conversation in `spec/vectors`: it must know what the lines `expect` say. */

import { describe, expect, test } from "vitest";

import type { PresenceClient } from "../src/index.js";
import type { Message } from "./support/fake-socket.js";
import { type Conversation, conversations, Participant, type Step } from "./support/vectors.js";

test("all conversations are found", () => {
  expect(conversations.length).toBeGreaterThan(25);
});

/** Fields of a record that the server omits if they are empty. */
const EMPTY = {
  lastSeen: 0,
  until: 0,
  text: "",
  emoji: "",
  cause: "",
  data: undefined,
  display: undefined,
  devices: [],
};

/** Return the messages ERROR that answer each step `send`, by the step. */
function refusals(steps: readonly Step[]): Map<Step, Message> {
  const result = new Map<Step, Message>();
  for (const [index, step] of steps.entries()) {
    if (step.do !== "send" || step.message?.id === undefined) continue;
    const answer = steps
      .slice(index + 1)
      .find(
        ({ client, message }) =>
          client === step.client && message && "id" in message && message.id === step.message?.id,
      );
    if (answer?.message?.type === "ERROR") result.set(step, answer.message);
  }
  return result;
}

/** Tokens that a client presents when it connects: with the handshake, or as its first message. */
function tokenOf(steps: readonly Step[], step: Step): string | undefined {
  if (step.token) return step.token;
  const later = steps.slice(steps.indexOf(step) + 1).filter(({ client }) => client === step.client);
  const first = later.find((next) => next.do === "hear" || next.do === "send" || next.do === "be closed");
  const message = first?.do === "send" ? first.message : undefined;
  return message?.type === "AUTH" ? String(message.token) : undefined;
}

function check(client: PresenceClient, { at, users = {}, rooms = {}, counts = {}, self = {}, stale }: Step): void {
  const where = `at ${at}`;
  for (const [id, { version, userId: _, certainty, ...record }] of Object.entries(users)) {
    const user = client.user(id).get();
    expect(String(user.userId), where).toBe(id);
    if (version === undefined) expect([id, user.status], where).toEqual([id, record.status]);
    else expect(user, `${id} ${where}`).toMatchObject({ ...EMPTY, ...record, certain: certainty !== "stale" });
    expect(user.online, where).toBe(record.status !== "offline");
  }
  for (const [name, { mode, count, members }] of Object.entries(rooms)) {
    const room = client.room(name).get();
    expect({ name, mode: room.mode, count: room.count }, where).toEqual({ name, mode, count });
    const known = Object.fromEntries([...room.members].map(([id, { data }]) => [id, data ?? null]));
    if (members) expect({ name, known: room.known, members: known }, where).toEqual({ name, known: true, members });
    else if (mode === "counts") expect(known, where).toEqual({});
    else expect(room.known, where).toBe(false);
  }
  if (counts.everyone !== undefined) expect(client.count("everyone").get(), where).toBe(counts.everyone);
  for (const [room, count] of Object.entries(counts.rooms ?? {})) {
    expect([room, client.count({ room }).get()], where).toEqual([room, count]);
  }
  if (stale) expect(client.connection.get().stale, where).toBe(true);
  const { claimed: _, choice: __, ...own } = self;
  expect(client.self.get(), where).toMatchObject({ ...EMPTY, ...own });
}

function checkUrl(own: Set<string>, step: Step, parameters: Readonly<Record<string, string>>): void {
  const query = Object.fromEntries(new URLSearchParams(step.query));
  if (step.syntheticPosition || (query.session && !own.has(query.session))) return;
  expect(parameters.watch).toBe("none");
  for (const name of ["userId", "device", "session", "position"]) {
    if (name === "device" && query.session) continue; // the session's device counts, not that of the URL
    expect([name, parameters[name]], `at ${step.at}`).toEqual([name, query[name]]);
  }
}

async function replay({ epochMs, steps }: Conversation, name: string): Promise<number> {
  const refused = refusals(steps);
  const sessions = new Set<string>();
  let participant = new Participant(epochMs);
  let checked = 0;
  for (const step of steps) {
    if (step.client !== name) continue;
    await participant.wait(step.at);
    const { message } = step;
    if (step.do === "connect") {
      const names = new URLSearchParams(step.query);
      const isForeign = names.has("session") && !sessions.has(names.get("session") ?? "");
      if (isForeign) return checked; // a duplicated tab knows what another client knew: see reload.test.ts
      // The same client in a new page: its last session was not resumed.
      if (!names.has("session") && participant.client) {
        participant.client.close();
        participant = new Participant(epochMs);
        await participant.wait(step.at);
      }
      checkUrl(sessions, step, await participant.connect(step, tokenOf(steps, step)));
    } else if (step.do === "hear" && message) {
      if (message.type === "CONNECTION_ESTABLISHED") sessions.add(String(message.sessionId));
      await participant.hear(message);
    } else if (step.do === "send" && message) await participant.send(message, refused.get(step));
    else if (step.do === "close") await participant.close(step.code ?? 1000);
    else if (step.do === "lose") await participant.closed(1006);
    else if (step.do === "be closed") await participant.closed(step.code ?? 1006);
    else if (step.do === "expect" && participant.client) {
      check(participant.client, step);
      checked += 1;
    }
  }
  return checked;
}

describe.each(conversations)("$name", (conversation) => {
  const { steps } = conversation;
  const clients = new Set(steps.filter(({ subprotocol }) => subprotocol).map(({ client }) => client ?? ""));

  test.each([...clients])("%s", async (client) => {
    const own = steps.filter((step) => step.client === client);
    const expected = own.filter((step) => step.do === "expect").length;
    const isForeign = /session=/.test(own.find(({ query }) => query !== undefined)?.query ?? "");
    expect(await replay(conversation, client)).toBe(isForeign ? 0 : expected);
  });
});
