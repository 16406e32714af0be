import type { Connection } from "../connection.js";
import type { Presence, UserId } from "../presence.js";
import type { Member, Room } from "../room.js";
import type { Choice, Self } from "../self.js";

/** A status, or a status with details. Omitted details are empty. */
export type FakeUser = Presence["status"] | (Partial<Omit<Presence, "userId" | "online">> & Pick<Presence, "status">);

/** The ids of members, or details of the room. */
export type FakeRoom =
  | readonly UserId[]
  | (Partial<Omit<Room, "name" | "members">> & {
      members?: readonly (UserId | (Partial<Member> & { userId: UserId }))[];
    });

/** Return the id as servers send it: an integer is a number. */
export function userIdOf(id: UserId): UserId {
  const number = Number(id);
  return Number.isSafeInteger(number) && String(number) === String(id) ? number : String(id);
}

export function presenceOf(id: UserId, user: FakeUser, version: number): Presence {
  const details = typeof user === "string" ? { status: user } : user;
  return {
    since: 0,
    lastSeen: 0,
    until: 0,
    text: "",
    emoji: "",
    cause: "",
    data: undefined,
    display: undefined,
    devices: [],
    version,
    certain: true,
    ...details,
    userId: userIdOf(id),
    online: details.status !== "offline" && details.status !== "unknown",
  };
}

export function selfOf(id: UserId, choice: Choice, now: number): Self {
  const { version: _, ...presence } = presenceOf(id, "online", 0);
  const { text = "", emoji = "", expiresIn } = choice;
  const own = { text, emoji, until: expiresIn ? now + expiresIn * 1000 : 0 };
  return {
    ...presence,
    ...own,
    status: choice.status === "auto" ? "online" : choice.status,
    chosen: choice.status,
    claimed: false,
    choice: own,
    data: choice.data,
  };
}

export function roomOf(name: string, room: FakeRoom): Room {
  const { members: listed = [], ...details } = "length" in room ? { members: room } : room;
  const members = new Map<string, Member>();
  for (const entry of listed) {
    const member = typeof entry === "object" ? entry : { userId: entry };
    members.set(String(member.userId), { joinedAt: 0, data: undefined, ...member, userId: userIdOf(member.userId) });
  }
  return { known: true, joined: false, mode: "full", count: members.size, ...details, name, members };
}

export function connectionOf(state: Connection["state"], since: number): Connection {
  return { state, stale: state !== "open", error: null, since, attempt: 0, retryAt: 0, latency: 0 };
}
