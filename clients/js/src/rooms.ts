/**
 * Rooms as far as they are known: members and their number.
 *
 * A server that has just started does not know yet which members return. Earlier members whom it does not name are
 * *unconfirmed*: they stay until they return, leave, or the server has settled.
 */

import { createKeyed } from "./keyed.js";
import type { Member, Room } from "./room.js";
import type { RoomChanges, RoomSnapshot } from "./wire.js";

type Changes = Pick<RoomChanges, "room" | "mode" | "count" | "members" | "left">;

export type Rooms = ReturnType<typeof createRooms>;

export function createRooms() {
  const joined = new Set<string>();
  /** Unconfirmed members, by room. */
  const unconfirmed = new Map<string, Set<string>>();
  const rooms = createKeyed<Room>((name) => ({
    name,
    known: false,
    joined: joined.has(name),
    mode: "full",
    count: 0,
    members: new Map(),
  }));

  const set = (message: Changes, before: Room["members"], known: boolean): void => {
    const { room: name, mode, count } = message;
    const members = new Map<string, Member>(mode === "counts" ? [] : before);
    const kept = new Set(mode === "counts" ? [] : unconfirmed.get(name));
    for (const { userId, joinedAt, data } of message.members ?? []) {
      members.set(String(userId), { userId, joinedAt, data: data as Member["data"] });
      kept.delete(String(userId));
    }
    for (const userId of message.left ?? []) {
      members.delete(String(userId));
      kept.delete(String(userId));
    }
    unconfirmed.set(name, kept);
    rooms.update([[name, { name, known, joined: joined.has(name), mode, count: count + kept.size, members }]]);
  };

  return {
    ...rooms,
    hasMember: (key: string) => [...rooms.known.values()].some(({ members }) => members.has(key)),
    /** Expect that the server sends everything again. `settling`: members whom it does not name stay for now. */
    expectAll(settling: boolean) {
      unconfirmed.clear();
      if (settling) for (const [name, { members }] of rooms.known) unconfirmed.set(name, new Set(members.keys()));
    },
    /** Apply a snapshot with the members of all its pages. Unconfirmed members stay. */
    replace(message: RoomSnapshot) {
      const kept = unconfirmed.get(message.room);
      set(message, new Map([...rooms.get(message.room).members].filter(([key]) => kept?.has(key))), true);
    },
    /** Whether no member is unconfirmed. */
    isConfirmed: () => [...unconfirmed.values()].every(({ size }) => !size),
    /** Remove unconfirmed members: the server knows who has returned. */
    settled() {
      for (const [name, kept] of unconfirmed) {
        if (!kept.size) continue;
        const { mode, count, members, known } = rooms.get(name);
        set({ room: name, mode, count: count - kept.size, left: [...kept] }, members, known);
      }
      unconfirmed.clear();
    },
    /** Apply changes. Return whether the room has left mode `counts`: its members must be requested again. */
    change(message: RoomChanges): boolean {
      const { known, mode, members } = rooms.get(message.room);
      if (!known) return false; // the room was left meanwhile
      const returns = mode === "counts" && message.mode !== "counts";
      set(message, members, !returns);
      return returns;
    },
    joined: () => [...joined],
    setJoined(name: string, isMember: boolean) {
      if (isMember === joined.has(name)) return;
      if (isMember) joined.add(name);
      else joined.delete(name);
      rooms.update([[name, { ...rooms.get(name), joined: isMember }]]);
    },
    /** Forget rooms, so that they are unknown again. */
    forget(isForgotten: (name: string) => boolean) {
      for (const name of [...unconfirmed.keys()].filter(isForgotten)) unconfirmed.delete(name);
      rooms.forget(isForgotten);
    },
  };
}
